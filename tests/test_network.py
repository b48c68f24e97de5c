"""The flat network: which tensors are gated, how they lie, and that it computes what a plain network does."""

import gc
import weakref

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


@pytest.mark.parametrize("initialiser", seeding.INITIALISERS)
def test_forward_and_gradient_equal_those_of_a_plain_network(initialiser: str) -> None:
    """The oracle multiplies weight and gate layer by layer under autograd."""
    spec = resolve("lenet-5", classes=10, channels=1, input_size=28)
    flat = network.FlatNetwork(build(spec), 3, 0.5, CPU, initialiser)
    generator = torch.Generator().manual_seed(0)
    gate = torch.rand(flat.effective.shape, generator=generator)
    images = torch.randn(4, 1, 28, 28, generator=generator)
    flat.module.train()
    flat.set_gate(gate)
    logits = flat.module(images)
    flat.backward(logits[:, 0].exp().sum())

    plain = build(spec).train()
    network.freeze_ungated(plain, 3)
    gates = {}
    for slot, part in zip(flat.slots, flat.split(gate), strict=True):
        gates[slot.name] = part.view(slot.shape).clone().requires_grad_(True)
        values = seeding.INITIALISERS[initialiser](3, slot.name, slot.size) * np.float32(slot.scale)
        plain.get_parameter(slot.name).data = torch.from_numpy(values).view(slot.shape)
    effective = {name: plain.get_parameter(name).detach() * z for name, z in gates.items()}
    expected = torch.func.functional_call(plain, effective, (images,))
    expected[:, 0].exp().sum().backward()
    exact = initialiser == "signed-constant"  # times a gate and a scale, others are rounded in another order
    assert torch.equal(logits, expected) if exact else torch.allclose(logits, expected, rtol=1e-5, atol=1e-4)
    for slot, part in zip(flat.slots, flat.split(flat.gate_gradient()), strict=True):
        grad = gates[slot.name].grad
        assert grad is not None
        rtol, atol = (1e-5, 1e-6) if exact else (1e-3, 1e-5 * float(grad.abs().max()))
        assert torch.allclose(part.view(slot.shape), grad, rtol=rtol, atol=atol)


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
    for gate in (torch.zeros_like(flat.effective), torch.ones_like(flat.effective)):
        flat.set_gate(gate)
        for slot, view, free, locked in zip(flat.slots, *map(flat.split, (gate, flat.free, flat.locked)), strict=True):
            expected = whole.module.get_parameter(slot.name).flatten() * torch.where(free, view, locked.float())
            assert torch.equal(flat.module.get_parameter(slot.name).flatten(), expected)
        flat.backward(flat.module(torch.randn(4, 1, 28, 28)).square().sum())
        assert flat.grad[~flat.free].any()
        assert not flat.gate_gradient()[~flat.free].any()
    everything = torch.ones_like(flat.free)
    assert flat.sparsity(everything) == pytest.approx(1 - (flat.free_count + flat.locked_count) / flat.size)
    assert flat.sparsity(~everything) == pytest.approx(1 - flat.locked_count / flat.size)


def test_a_tensor_that_the_loss_does_not_depend_on_has_no_gradient() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.always, self.sometimes, self.both = nn.Linear(9, 7), nn.Linear(7, 5), True

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.always(images)
            return self.sometimes(out) if self.both else out

    module = Idle()
    flat = network.FlatNetwork(module, 0, 0.5, CPU)
    for both in (True, False, True):
        module.both = both
        flat.set_gate(torch.ones_like(flat.effective))
        flat.backward(flat.module(torch.randn(4, 9)).square().sum())
        always, sometimes = flat.split(flat.grad)
        assert always.all()
        assert sometimes.all() if both else not sometimes.any()


def test_a_shared_tensor_gets_the_gradient_of_all_its_uses() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
            self.second.weight = self.first.weight

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.second(self.first(images).relu())
            return out

    flat, images = network.FlatNetwork(Tied(), 0, 0.5, CPU), torch.randn(4, 6)
    weights = flat.module.get_parameter("first.weight").detach().clone().requires_grad_(True)
    ((images @ weights.T).relu() @ weights.T).square().sum().backward()  # type: ignore[no-untyped-call]
    flat.backward(flat.module(images).square().sum())
    assert weights.grad is not None
    assert torch.allclose(next(flat.split(flat.grad)), weights.grad.flatten(), rtol=1e-5)


def test_saturated_gates_leave_the_share_that_was_asked_for() -> None:
    flat = network.FlatNetwork(nn.Linear(8, 3), 0, 0.5, CPU)
    gate = torch.linspace(-1, 2, flat.effective.numel()).clamp_(0, 1)
    for now in (gate, gate.roll(5)):
        flat.remember_saturated(now)
        flat.grad.fill_(2.0)
        flat.damp_saturated(0.25)
        assert torch.equal(flat.grad, torch.where((now > 0) & (now < 1), 2.0, 0.5))


def test_a_network_that_nobody_uses_any_more_leaves_memory() -> None:
    flat = network.FlatNetwork(nn.Linear(8, 3), 0, 0.5, CPU)
    flat.backward(flat.module(torch.randn(4, 8)).square().sum())
    alive = weakref.ref(flat), weakref.ref(flat.module)
    del flat
    gc.collect()
    assert [reference() for reference in alive] == [None, None]
