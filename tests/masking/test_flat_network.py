"""The flat network: how its tensors lie, which gates are searchable, and that it computes what a plain network does."""

import gc
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from slt_compress import prng
from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.masking.parameters import freeze_ungated
from slt_compress.models.registry import build_model, resolve_model
from slt_compress.prng import Freeze

CPU = torch.device("cpu")


def test_slots_are_aligned_and_do_not_overlap() -> None:
    flat = FlatNetwork(build_model(resolve_model("lenet-5", classes=10, channels=1, input_size=28)), 0, 0.5, CPU)
    end = 0
    for slot in flat.slots:
        assert slot.offset % 16 == 0
        assert slot.offset >= end
        end = slot.offset + slot.size
    assert flat.size == sum(slot.size for slot in flat.slots)
    assert int((flat.weights != 0).sum()) == int(flat.searchable.sum()) == flat.size == flat.searchable_count


@pytest.mark.parametrize("initialiser", prng.INITIALISERS)
def test_forward_and_gradient_equal_those_of_a_plain_network(initialiser: str) -> None:
    """The oracle multiplies weight and gate layer by layer under autograd."""
    spec = resolve_model("lenet-5", classes=10, channels=1, input_size=28)
    flat = FlatNetwork(build_model(spec), 3, 0.5, CPU, initialiser)
    generator = torch.Generator().manual_seed(0)
    gate = torch.rand(flat.effective.shape, generator=generator)
    images = torch.randn(4, 1, 28, 28, generator=generator)
    flat.module.train()
    flat.set_gate(gate)
    logits = flat.module(images)
    flat.backward(logits[:, 0].exp().sum())

    plain = build_model(spec).train()
    freeze_ungated(plain, 3)
    gates = {}
    for slot, part in zip(flat.slots, flat.split(gate), strict=True):
        gates[slot.name] = part.view(slot.shape).clone().requires_grad_(True)
        values = prng.INITIALISERS[initialiser](3, slot.name, slot.size) * np.float32(slot.scale)
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

    first, second = (FlatNetwork(kind(), 5, 0.5, CPU) for kind in (Forward, Backward))
    for name in ("one.weight", "two.weight"):
        signs = [flat.module.get_parameter(name).sign() for flat in (first, second)]
        assert torch.equal(*signs)  # their scales know which layer is the last


def test_fixed_gates_are_those_of_the_seed_and_no_gate_or_gradient_reaches_them() -> None:
    spec = resolve_model("lenet-5", classes=10, channels=1, input_size=28)
    flat = FlatNetwork(build_model(spec), 3, 0.5, CPU, freeze=Freeze(0.6, 0.2))
    whole = FlatNetwork(build_model(spec), 3, 0.5, CPU)
    for slot, searchable, locked in zip(flat.slots, flat.split(flat.searchable), flat.split(flat.locked), strict=True):
        kept, pruned = prng.fixed_gates(3, slot.name, slot.size, Freeze(0.6, 0.2))
        assert np.array_equal(locked.numpy(), kept)
        assert np.array_equal(searchable.numpy(), ~(kept | pruned))
    assert torch.equal(flat.not_searchable, (~flat.searchable).nonzero().squeeze(1))
    assert (flat.searchable_count, flat.locked_count) == (int(flat.searchable.sum()), int(flat.locked.sum()))
    flat.module.train()
    for gate in (torch.zeros_like(flat.effective), torch.ones_like(flat.effective)):
        flat.set_gate(gate)
        parts = zip(flat.slots, *map(flat.split, (gate, flat.searchable, flat.locked)), strict=True)
        for slot, view, searchable, locked in parts:
            expected = whole.module.get_parameter(slot.name).flatten() * torch.where(searchable, view, locked.float())
            assert torch.equal(flat.module.get_parameter(slot.name).flatten(), expected)
        flat.backward(flat.module(torch.randn(4, 1, 28, 28)).square().sum())
        assert flat.grad[~flat.searchable].any()
        assert not flat.gate_gradient()[~flat.searchable].any()
    everything = torch.ones_like(flat.searchable)
    assert flat.sparsity(everything) == pytest.approx(1 - (flat.searchable_count + flat.locked_count) / flat.size)
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
    flat = FlatNetwork(module, 0, 0.5, CPU)
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

    flat, images = FlatNetwork(Tied(), 0, 0.5, CPU), torch.randn(4, 6)
    weights = flat.module.get_parameter("first.weight").detach().clone().requires_grad_(True)
    ((images @ weights.T).relu() @ weights.T).square().sum().backward()  # type: ignore[no-untyped-call]
    flat.backward(flat.module(images).square().sum())
    assert weights.grad is not None
    assert torch.allclose(next(flat.split(flat.grad)), weights.grad.flatten(), rtol=1e-5)


def test_saturated_gates_leave_the_given_share() -> None:
    flat = FlatNetwork(nn.Linear(8, 3), 0, 0.5, CPU)
    gate = torch.linspace(-1, 2, flat.effective.numel()).clamp_(0, 1)
    for now in (gate, gate.roll(5)):
        flat.remember_saturated(now)
        flat.grad.fill_(2.0)
        flat.damp_saturated(0.25)
        assert torch.equal(flat.grad, torch.where((now > 0) & (now < 1), 2.0, 0.5))


def test_a_network_that_nobody_uses_any_more_leaves_memory() -> None:
    flat = FlatNetwork(nn.Linear(8, 3), 0, 0.5, CPU)
    flat.backward(flat.module(torch.randn(4, 8)).square().sum())
    alive = weakref.ref(flat), weakref.ref(flat.module)
    del flat
    gc.collect()
    assert [reference() for reference in alive] == [None, None]


@pytest.mark.parametrize("freeze", [Freeze(), Freeze(0.5, 0.1)])
@pytest.mark.parametrize("initialiser", ["signed-constant", "kaiming-normal"])
def test_the_scales_of_a_transformer_follow_the_gates(initialiser: str, freeze: Freeze) -> None:
    """Whatever the gates are, the effective weights have the energy that a share `density` of all has."""
    density = 0.2
    spec = resolve_model("test_vit", classes=10, channels=1, input_size=8)
    flat = FlatNetwork(build_model(spec), 0, density, CPU, initialiser, freeze)
    assert flat.has_branches
    generator = torch.Generator().manual_seed(0)
    soft = torch.rand(flat.effective.shape, generator=generator)
    for gate in (soft, (soft > 0.9).float(), torch.ones_like(soft)):
        flat.set_gate(gate)
        scales = flat.scales()
        for slot, part in zip(flat.slots, flat.split(flat.effective), strict=True):
            values = torch.from_numpy(prng.INITIALISERS[initialiser](0, slot.name, slot.size)).float()
            wanted = density * values.square().sum() * slot.scale**2
            assert float(part.square().sum()) == pytest.approx(float(wanted), rel=1e-4)
            weighed = (part != 0) * values * scales[slot.name]
            if gate is not soft:  # hard gates: what a ticket stores
                assert torch.allclose(part, weighed, rtol=1e-6, atol=0)


def test_the_factor_of_a_moment_is_a_constant_of_its_gradient() -> None:
    spec = resolve_model("test_vit", classes=10, channels=1, input_size=8)
    flat = FlatNetwork(build_model(spec), 0, 0.2, CPU)
    gate = torch.rand(flat.effective.shape, generator=torch.Generator().manual_seed(0))
    images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    flat.module.train()
    flat.set_gate(gate)
    scales = flat.scales()
    flat.backward(flat.module(images)[:, 0].exp().sum())
    by_weight = flat.grad.clone()
    found = flat.gate_gradient()
    for slot, part, through in zip(flat.slots, flat.split(found), flat.split(by_weight), strict=True):
        signs = torch.from_numpy(prng.INITIALISERS["signed-constant"](0, slot.name, slot.size)).float()
        assert torch.allclose(part, through * signs * scales[slot.name], rtol=1e-5, atol=0)


def test_a_tensor_with_no_open_gate_is_not_blown_up() -> None:
    spec = resolve_model("test_vit", classes=10, channels=1, input_size=8)
    flat = FlatNetwork(build_model(spec), 0, 0.2, CPU)
    flat.set_gate(torch.zeros_like(flat.effective))
    assert all(np.isfinite(value) for value in flat.scales().values())
    assert not flat.effective.any()


def test_scales_follow_only_where_no_batchnorm_undoes_them() -> None:
    """The last layer of a ResNet keeps far more of its weights than others do; its logits stay as large."""
    density = 0.2
    flat = FlatNetwork(build_model(resolve_model("resnet18", classes=10, channels=3, input_size=32)), 0, density, CPU)
    assert not flat.has_branches
    soft = torch.rand(flat.effective.shape, generator=torch.Generator().manual_seed(0))
    for gate in (soft, (soft > 0.9).float(), torch.ones_like(soft)):
        flat.set_gate(gate)
        scales = flat.scales()
        assert [slot.name for slot in flat.slots if scales[slot.name] != slot.scale] == ["fc.weight"]
        last, part = flat.slots[-1], flat.effective[flat.slots[-1].offset :][: flat.slots[-1].size]
        assert float(part.square().sum()) == pytest.approx(density * last.size * last.scale**2, rel=1e-4)
        for slot, values in list(zip(flat.slots, flat.split(flat.effective), strict=True))[:-1]:
            assert float(values.abs().max()) == pytest.approx(
                slot.scale * float(gate[slot.offset :][: slot.size].max())
            )


def test_a_network_without_norms_keeps_the_size_of_its_outputs_whatever_the_gates_are() -> None:
    layers = [nn.Sequential(nn.Linear(64, 64), nn.ReLU()) for _ in range(10)]
    flat = FlatNetwork(nn.Sequential(*layers, nn.Linear(64, 10)), 0, 0.1, CPU)
    generator = torch.Generator().manual_seed(0)
    images, draw = torch.randn(256, 64, generator=generator), torch.rand(flat.effective.shape, generator=generator)
    sizes = []
    for gate in ((draw > 0.9).float(), draw, torch.ones_like(draw)):
        flat.set_gate(gate)
        with torch.no_grad():
            sizes.append(float(flat.module(images).std()))
    assert max(sizes) < 4 * min(sizes)  # without it, ten layers of ten times as many weights: 10^5
