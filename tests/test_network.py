"""The flat network: which tensors are gated, how they lie, and that it computes what a plain network does."""

import numpy as np
import pytest
import torch
from torch import nn

from slt_compress import network, seeding
from slt_compress.errors import UsageError
from slt_compress.models import build, resolve
from slt_compress.ticket import Freeze

CPU = torch.device("cpu")


class Mixed(nn.Module):
    """One of each kind of parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.empty(1, 1, 8))
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.embedding = nn.Embedding(5, 8)
        self.gamma = nn.Parameter(torch.empty(8))
        self.first = nn.Linear(8, 8)
        self.second = nn.Linear(8, 8)
        self.second.weight = self.first.weight


def test_gated_are_the_weights_of_layers_only() -> None:
    assert network.gated_names(Mixed()) == [
        "conv.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "first.weight",
    ]


def test_statistics_are_the_running_ones() -> None:
    assert network.statistic_names(Mixed()) == ["norm.running_mean", "norm.running_var"]


def test_other_statistics_are_refused() -> None:
    module = nn.Sequential(nn.Linear(2, 2))
    module.register_buffer("average", torch.zeros(2))
    with pytest.raises(UsageError, match="cannot store, among average"):
        network.statistic_names(module)


def test_every_ungated_value_is_set() -> None:
    module = Mixed()
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data.fill_(77)
    network.freeze_ungated(module, seed=1)
    gated = set(network.gated_names(module))
    left = [name for name, tensor in module.state_dict().items() if (tensor == 77).any() and name not in gated]
    assert left == ["second.weight"]  # the same tensor as first.weight
    assert torch.equal(module.get_parameter("conv.bias"), torch.zeros(8))
    assert torch.equal(module.gamma, torch.ones(8))
    std = network.EMBEDDING_STD
    expected = seeding.uniform(1, "token", 8) * np.float32(3**0.5 * std)
    assert torch.equal(module.token.ravel(), torch.from_numpy(expected))


def test_constants_are_scaled_up_only_where_no_batchnorm_follows() -> None:
    module = nn.Sequential(nn.Linear(50, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    found = network.scales(module, "signed-constant", 0.25)
    assert found["0.weight"] == pytest.approx((2 / 50) ** 0.5)
    assert found["3.weight"] == pytest.approx((2 / 8) ** 0.5 * 2)
    assert all(float(np.float32(scale)) == scale for scale in found.values())


def test_slots_are_aligned_and_do_not_overlap() -> None:
    flat = network.FlatNetwork(build(resolve("lenet-5", classes=10, channels=1, input_size=28)), 0, 0.5, CPU)
    end = 0
    for slot in flat.slots:
        assert slot.offset % 16 == 0
        assert slot.offset >= end
        end = slot.offset + slot.size
    assert flat.size == sum(slot.size for slot in flat.slots)
    assert int((flat.weights != 0).sum()) == int(flat.free.sum()) == flat.size == flat.free_count


def test_forward_and_gradient_equal_those_of_a_plain_network() -> None:
    """The oracle multiplies weight and gate layer by layer under autograd."""
    spec = resolve("lenet-5", classes=10, channels=1, input_size=28)
    flat = network.FlatNetwork(build(spec), 3, 0.5, CPU)
    generator = torch.Generator().manual_seed(0)
    gate = torch.rand(flat.weights.shape, generator=generator)
    images = torch.randn(4, 1, 28, 28, generator=generator)
    flat.module.train()
    flat.set_gate(gate)
    flat.grad.zero_()
    logits = flat.module(images)
    logits.square().sum().backward()

    plain = build(spec).train()
    network.freeze_ungated(plain, 3)
    gates = {}
    for slot, part, weights in zip(flat.slots, flat.split(gate), flat.split(flat.weights), strict=True):
        gates[slot.name] = part.view(slot.shape).clone().requires_grad_(True)
        weights = weights.view(slot.shape)
        plain.get_parameter(slot.name).data = weights.clone()
    effective = {name: plain.get_parameter(name).detach() * z for name, z in gates.items()}
    expected = torch.func.functional_call(plain, effective, (images,))
    expected.square().sum().backward()
    assert torch.equal(logits, expected)
    gradient = flat.grad * flat.weights
    for slot, part in zip(flat.slots, flat.split(gradient), strict=True):
        grad = gates[slot.name].grad
        assert grad is not None
        assert torch.allclose(part.view(slot.shape), grad, rtol=1e-5, atol=1e-6)


def test_weights_do_not_depend_on_the_order_of_modules() -> None:
    class Forward(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(9, 7), nn.Linear(7, 5)

    class Backward(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.two, self.one = nn.Linear(7, 5), nn.Linear(9, 7)

    first, second = (network.FlatNetwork(kind(), 5, 0.5, CPU) for kind in (Forward, Backward))
    for name in ("one.weight", "two.weight"):
        assert torch.equal(first.module.get_parameter(name), second.module.get_parameter(name))


def test_frozen_gates_are_those_of_the_seed_and_no_gate_or_gradient_reaches_them() -> None:
    spec = resolve("lenet-5", classes=10, channels=1, input_size=28)
    flat = network.FlatNetwork(build(spec), 3, 0.5, CPU, freeze=Freeze(0.6, 0.2))
    whole = network.FlatNetwork(build(spec), 3, 0.5, CPU)
    for slot, free, locked in zip(flat.slots, flat.split(flat.free), flat.split(flat.locked), strict=True):
        kept, pruned = seeding.frozen(3, slot.name, slot.size, 0.6, 0.2)
        assert np.array_equal(locked.numpy(), kept)
        assert np.array_equal(free.numpy(), ~(kept | pruned))
    assert (flat.free_count, flat.locked_count) == (int(flat.free.sum()), int(flat.locked.sum()))
    flat.module.train()
    for gate in (torch.zeros_like(flat.weights), torch.ones_like(flat.weights)):
        flat.set_gate(gate)
        for slot, view, weights, free, locked in zip(
            flat.slots, *map(flat.split, (gate, whole.weights, flat.free, flat.locked)), strict=True
        ):
            expected = weights * torch.where(free, view, locked.float())
            assert torch.equal(flat.module.get_parameter(slot.name).flatten(), expected)
        flat.module(torch.randn(4, 1, 28, 28)).square().sum().backward()
        assert not (flat.grad * flat.weights)[~flat.free].any()
    everything = torch.ones_like(flat.free)
    assert flat.sparsity(everything) == pytest.approx(1 - (flat.free_count + flat.locked_count) / flat.size)
    assert flat.sparsity(~everything) == pytest.approx(1 - flat.locked_count / flat.size)
