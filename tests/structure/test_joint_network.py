"""Gates of neurons and weights together: a weight counts where all of its gates are open."""

import pytest
import torch
from torch.nn import functional as F

from slt_compress.errors import UnreachableError
from slt_compress.masking import topk
from slt_compress.methods.registry import METHODS, make
from slt_compress.pipeline.gates import Searched
from slt_compress.structure.joint_network import JointNetwork
from slt_compress.structure.neuron_network import NeuronNetwork
from tests.support.gates import make_target
from tests.support.neuron_tickets import gates_of
from tests.support.tickets import make_ticket

CASES = [("lenet-5", 28), ("conv2", 8), ("test_vit", 16)]


def joint(name: str, size: int, neuron_density: float = 0.5) -> tuple[Searched, JointNetwork, torch.Tensor]:
    ticket = make_ticket(name, 1.0, size=size)
    searched = gates_of(ticket, neuron_density, joint=True)
    assert isinstance(searched.gates, JointNetwork)
    images = ticket.provenance.preprocessing
    assert images
    return searched, searched.gates, torch.randn(8, images.channels, size, size, generator=generator())


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(("name", "size"), CASES)
def test_a_weight_is_multiplied_by_all_of_its_gates(name: str, size: int) -> None:
    searched, gates, _ = joint(name, size)
    gate = torch.rand(gates.weights.shape, generator=generator())
    gates.set_gate(gate.clone())
    assert searched.structure
    places: dict[int, int] = {}
    for group, slot in zip(searched.structure.groups, gates.neurons.slots, strict=True):
        places |= {group.first + index: slot.offset + index for index in range(group.size)}
    weights = {slot.name: slot for slot in gates.slots[len(gates.neurons.slots) :]}
    plain = gates.network.scales()
    for name_, slot in weights.items():
        expected = gate[slot.offset : slot.offset + slot.size].view(slot.shape).clone()
        for axis in searched.structure.axes:
            if axis.tensor == name_ and axis.reads:
                along = torch.tensor([gate[places[int(n)]] if n >= 0 else 1.0 for n in axis.neurons])
                shape = [1] * len(slot.shape)
                shape[axis.axis] = -1
                expected *= along.view(shape)
        found = gates.module.get_parameter(name_)
        assert torch.allclose(found.abs(), expected * plain[name_], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("name", "size"), CASES[:2])
def test_gradients_are_those_of_finite_differences(name: str, size: int) -> None:
    _, gates, images = joint(name, size)
    gates.module.eval()
    gate = torch.rand(gates.weights.shape, generator=generator()) * 0.5 + 0.5
    labels = torch.arange(8) % 10

    def loss(at: torch.Tensor) -> torch.Tensor:
        gates.set_gate(at.clone())
        return F.cross_entropy(gates.module(images), labels)

    gates.backward(loss(gate))
    gradient = gates.gate_gradient().clone()
    searchable = gates.searchable
    neurons = torch.arange(gates.first)[searchable[: gates.first]]
    largest = gradient[: gates.first].abs().argsort(descending=True)[:2]
    chosen = [*neurons[:2].tolist(), *largest.tolist(), int(gradient[gates.first :].abs().argmax()) + gates.first]
    for place in chosen:
        step = torch.zeros_like(gate)
        step[place] = 1e-2
        with torch.no_grad():
            difference = (loss(gate + step) - loss(gate - step)) / 2e-2
        assert gradient[place].item() == pytest.approx(difference.item(), rel=0.1, abs=3e-4)


@pytest.mark.parametrize("layered", [True, False])
@pytest.mark.parametrize(("name", "size"), CASES)
def test_a_mask_has_exactly_both_densities(name: str, size: int, layered: bool) -> None:
    searched, gates, _ = joint(name, size, 0.6)
    ranking = gates.ranking(0.2, layered=layered)
    scores = torch.randn(gates.weights.shape, generator=generator()).masked_fill(~gates.searchable, -1e6)
    for by_chance, mask in enumerate((ranking.mask(scores, generator()), ranking.random_mask(5))):
        assert round((1 - gates.sparsity(mask)) * gates.size) == topk.kept_count(gates.size, 0.2)
        neurons = mask[: gates.first]
        assert isinstance(gates.neurons, NeuronNetwork)
        if layered or by_chance:
            for slot, part in zip(gates.neurons.slots, gates.neurons.split(neurons), strict=True):
                assert int(part.sum()) == topk.kept_count(slot.size, 0.6)
        else:
            assert int(neurons.sum()) == topk.kept_count(gates.neurons.size, 0.6)
        assert not (mask[gates.first :] & gates.behind(neurons)).any()
    masks = {slot.name: part for slot, part in zip(gates.slots, gates.split(ranking.random_mask(5)), strict=True)}
    found = searched.neuron_sparsity(masks)
    assert found == pytest.approx(0.4, abs=0.15)


def test_what_the_neurons_rule_out_is_refused() -> None:
    _, gates, _ = joint("lenet-5", 28, 0.1)
    with pytest.raises(UnreachableError, match=r"sparsity 0\.1 cannot be reached: removing the neurons alone"):
        gates.ranking(0.9, layered=True)


@pytest.mark.parametrize("name", [name for name, entry in METHODS.items() if entry.optimises])
def test_every_method_ends_at_both_densities(name: str) -> None:
    _, gates, images = joint("conv2", 8)
    target = make_target(0.1, 12)
    method = make(name, gates, target, options={"scope": "layer"})
    optimiser = method.optimiser()
    gates.module.train()
    for step in range(12):
        gates.set_gate(method.gate(step))
        gates.backward(F.cross_entropy(gates.module(images), torch.arange(8) % 10))
        method.backward(step)
        method.parameter.grad = gates.grad
        optimiser.step()
    assert torch.isfinite(method.parameter[gates.searchable]).all()
    mask = method.mask()
    assert round((1 - gates.sparsity(mask)) * gates.size) == topk.kept_count(gates.size, 0.1)
    assert gates.sparsity(method.hard_gate()) == pytest.approx(0.9, abs=0.02)


def test_crbg_chooses_neurons_in_the_first_fifth() -> None:
    """And they stay, though all that it is told from then on is that the closed ones should be open."""
    _, gates, _ = joint("conv2", 8)
    method = make("crbg", gates, make_target(0.1, 100), options={"scope": "layer"})
    optimiser, first = method.optimiser(), gates.first
    masks = []
    for step in range(100):
        method.gate(step)
        opened = method.hard_gate()[:first]
        masks.append(opened)
        gates.grad.normal_(generator=generator())
        gates.grad[:first] = opened.float() - 0.5
        method.backward(step)
        method.parameter.grad = gates.grad
        for group in optimiser.param_groups:
            group["lr"] = 0.1  # more than a search has, so that neurons do change while they can
        optimiser.step()
    assert not torch.equal(masks[19], masks[0])
    assert all(torch.equal(one, masks[20]) for one in masks[20:])
    assert torch.equal(masks[-1], method.mask()[:first])
    for slot, part in zip(gates.neurons.slots, gates.neurons.split(masks[-1]), strict=True):
        assert int(part.sum()) == topk.kept_count(slot.size, 0.5)


def test_gates_of_neurons_have_no_noise_in_crbg() -> None:
    _, gates, _ = joint("conv2", 8)
    method = make("crbg", gates, make_target(0.1, 100))
    first, second = method.gate(0).clone(), method.gate(0).clone()
    assert torch.equal(first[: gates.first], second[: gates.first])
    assert not torch.equal(first[gates.first :], second[gates.first :])
