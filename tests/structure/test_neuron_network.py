"""Gates of neurons: a gate multiplies the neuron, and its gradient is that of the factor."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from slt_compress.masking.parameters import gated_names
from slt_compress.structure.neuron_network import NeuronNetwork, densities
from slt_compress.structure.neurons import NO_NEURON, Axis, Structure
from tests.support.families import FAMILIES, Family
from tests.support.neurons import difference, neuron_network, outputs, structure_of

ATTENTION = ("torchvision vit",)  # its layers are no modules that are called


def random_gate(network: NeuronNetwork, seed: int = 1) -> torch.Tensor:
    return torch.rand(network.weights.shape, generator=torch.Generator().manual_seed(seed)).add_(0.2)


def neurons_of(network: NeuronNetwork, flat: torch.Tensor) -> torch.Tensor:
    """Return the values of all neurons, in their order."""
    return torch.cat(list(network.split(flat)))


def loss_of(found: Any) -> torch.Tensor:
    leaves: list[torch.Tensor] = torch.utils._pytree.tree_leaves(found)
    return sum((leaf.sin().sum() for leaf in leaves), torch.zeros(()))


def multiplied(module: nn.Module, structure: Structure, factors: torch.Tensor) -> nn.Module:
    """Return a copy that multiplies all that its layers read by the factors of the neurons."""
    module = copy.deepcopy(module)
    opened = torch.cat([factors, torch.ones(1)])
    for name in {axis.tensor for axis in structure.axes if axis.reads}:
        axes = [axis for axis in structure.axes if axis.reads and axis.tensor == name]
        for layer in module.modules():
            if getattr(layer, "weight", None) is module.get_parameter(name):
                shift = opened[torch.from_numpy(axes[0].neurons)].repeat(getattr(layer, "groups", 1))
                planes = 0 if isinstance(layer, nn.Linear) else module.get_parameter(name).ndim - 2
                layer.register_forward_pre_hook(_multiplier(shift.view(-1, *(1,) * planes)))
    return module


def _multiplier(factors: torch.Tensor) -> Any:
    return lambda _, args: (args[0] * factors,)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in ATTENTION])
def test_a_gate_multiplies_its_neuron_and_has_the_gradient_of_the_factor(name: str) -> None:
    family, structure = FAMILIES[name], structure_of(name)
    inputs = family.inputs(3)
    network = neuron_network(family.module(), name)
    plain = copy.deepcopy(network.module)
    calm = network.network.scales()
    gate = random_gate(network)
    network.set_gate(gate)
    for slot, scale in network.network.scales().items():  # follows the gates in transformers, as a constant
        plain.get_parameter(slot).data *= scale / calm[slot]
    factors = neurons_of(network, gate).requires_grad_(True)
    found, expected = network.module(*inputs), multiplied(plain, structure, factors)(*inputs)
    leaves = [[leaf.detach() for leaf in torch.utils._pytree.tree_leaves(one)] for one in (found, expected)]
    assert difference(*leaves) < 1e-4
    network.backward(loss_of(found))
    loss_of(expected).backward()  # type: ignore[no-untyped-call]
    assert factors.grad is not None
    gradient = neurons_of(network, network.gate_gradient())
    assert torch.allclose(gradient, factors.grad, rtol=1e-3, atol=1e-4 * float(factors.grad.abs().max()))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_gradient_reaches_every_gate(name: str) -> None:
    network = neuron_network(FAMILIES[name].module(), name)
    network.set_gate(random_gate(network))
    reached = torch.zeros(network.size, dtype=torch.bool)
    for seed in range(4):  # a rectified neuron may be silent for some
        network.set_gate(random_gate(network))
        network.module.train()
        network.backward(loss_of(network.module(*FAMILIES[name].inputs(16, seed))))
        reached |= neurons_of(network, network.gate_gradient()) != 0
    assert reached.float().mean() > 0.9
    first = 0
    for slot in network.slots:
        assert reached[first : first + slot.size].any()
        first += slot.size
    assert not network.gate_gradient()[network.not_searchable].any()


def test_the_gradient_of_a_head_is_that_of_differences() -> None:
    """The head of torch's own attention is in a layer that is no module."""
    family = FAMILIES["torchvision vit"]
    network = neuron_network(family.module(), "torchvision vit")
    heads = next(slot for slot in network.slots if "in_proj" in slot.name)
    gate = random_gate(network)

    def loss_at(place: int, step: float) -> torch.Tensor:
        moved = gate.clone()
        moved[place] += step
        network.set_gate(moved)
        return loss_of(network.module(*family.inputs(4)))

    network.network._balance = None  # a constant in the gradient, but not in differences
    network.backward(loss_at(0, 0.0))
    gradient = network.gate_gradient().clone()
    for place in range(heads.offset, heads.offset + heads.size):
        with torch.no_grad():
            slope = float(loss_at(place, 1e-2) - loss_at(place, -1e-2)) / 2e-2
        assert float(gradient[place]) == pytest.approx(slope, rel=2e-2, abs=1e-3)


@pytest.mark.parametrize("name", ["cnn", "resnet20", "mobilenet", "vit", "swin", "convnext", "torchvision vit"])
def test_a_closed_gate_does_the_same_to_the_weights_that_make_the_neuron(name: str) -> None:
    """A 0/1 gate closes those too, and no scale follows from that."""
    network, inputs = neuron_network(FAMILIES[name].module(), name), FAMILIES[name].inputs(3)
    hard = random_gate(network) > 0.6
    network.set_gate(hard.float())
    soft, scales = outputs(network.module, inputs), network.network.scales()
    network.set_gate(hard)
    assert difference(soft, outputs(network.module, inputs)) < 1e-5
    assert network.network.scales() == scales
    opened = np.append(neurons_of(network, hard).numpy(), True)
    for axis in network.structure.axes:
        weight = network.module.get_parameter(axis.tensor).detach().movedim(axis.axis, 0)
        assert not weight[torch.from_numpy(~opened[axis.neurons])].any()


def test_open_gates_leave_the_network_as_it_is() -> None:
    network = neuron_network(FAMILIES["cnn"].module(), "cnn")
    before, inputs = copy.deepcopy(network.module), FAMILIES["cnn"].inputs(3)
    network.set_gate(random_gate(network))
    assert difference(outputs(before, inputs), outputs(network.module, inputs)) > 1e-3
    network.set_gate(torch.ones(network.weights.shape, dtype=torch.bool))
    assert difference(outputs(before, inputs), outputs(network.module, inputs)) == 0


def test_densities_are_the_shares_of_inputs_that_are_left() -> None:
    module = Family(lambda: nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3), nn.Linear(3, 2))).module()
    axes = (
        Axis("0.weight", 0, np.array([0, 1, NO_NEURON, NO_NEURON]), False),
        Axis("1.weight", 1, np.array([0, 1, NO_NEURON, NO_NEURON]), True),
    )
    found = densities(Structure((), axes), gated_names(module), 0.25)
    assert found == {"0.weight": 1.0, "1.weight": 0.5 * 1 + 0.5 * 0.25, "2.weight": 1.0}
