"""Neurons: what is found is tied together rightly, so that a closed one has no effect whatever makes it."""

import numpy as np
import pytest
import torch
from torch import nn

from slt_compress.errors import UnreachableError
from slt_compress.structure.neurons import NO_NEURON, find_neurons
from tests.support.families import FAMILIES, Attention, Family
from tests.support.neurons import close, difference, outputs, some_of_each, structure_of

SIZES = {  # of the groups, in the order of the layers
    "mlp": [12, 7],
    "cnn": [6, 8, 10],
    "resnet": [6, 6, 8, 8, 8],  # residual sums of a stage are one group
    "grouped": [2, 3, 3],  # channels of groups go together: all four firsts, and so on
    "inception": [6, 4, 5, 3, 6],
    "excitation": [8, 4],
    "unet": [6, 8, 5],
    "matmul": [3, 20],
    "fused": [3, 20],
    "einsum": [20],  # not known: the heads stay
    "halves": [8, 10, 4],
    "shared": [8, 5],
    "two": [8],
    "mixer": [8, 64],
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_closed_neuron_has_no_effect(name: str) -> None:
    family, structure = FAMILIES[name], structure_of(name)
    module, inputs = family.module(), family.inputs(3)
    before = outputs(module, inputs)
    for seed, share in enumerate((0.5, 0.9)):
        module, neurons = family.module(), some_of_each(structure, share, seed)
        close(module, structure, neurons)
        closed = outputs(module, inputs)
        assert difference(before, closed) > 1e-4
        close(module, structure, neurons, drawn=seed + 1)
        assert difference(closed, outputs(module, inputs)) < 1e-5


@pytest.mark.parametrize("name", FAMILIES)
def test_a_neuron_is_made_and_read(name: str) -> None:
    structure, module = structure_of(name), FAMILIES[name].module()
    everyone = np.arange(structure.size)
    for reads in (False, True):
        found = [axis.neurons for axis in structure.axes if axis.reads == reads]
        assert set(np.concatenate(found)) - {NO_NEURON} == set(everyone)
    assert sum(group.size for group in structure.groups) == structure.size
    assert [group.first for group in structure.groups] == np.cumsum([0, *(g.size for g in structure.groups)])[
        :-1
    ].tolist()
    assert all(group.size > 1 for group in structure.groups)
    assert len({group.name for group in structure.groups}) == len(structure.groups)
    for axis in structure.axes:
        assert len(axis.neurons) == module.get_parameter(axis.tensor).shape[axis.axis]


@pytest.mark.parametrize("name", SIZES)
def test_groups_are_those_of_the_layers(name: str) -> None:
    assert [group.size for group in structure_of(name).groups] == SIZES[name]


def test_a_head_is_one_neuron_with_its_queries_keys_and_values() -> None:
    structure = structure_of("matmul")
    made = next(axis for axis in structure.axes if axis.tensor == "qkv.weight" and not axis.reads)
    assert made.neurons.reshape(3, 3, 4).tolist() == [[[head] * 4 for head in range(3)]] * 3
    read = next(axis for axis in structure.axes if axis.tensor == "project.weight" and axis.reads)
    assert read.neurons.tolist() == np.repeat(range(3), 4).tolist()


@pytest.mark.parametrize(
    ("name", "inputs", "last"),
    [
        ("mlp", "1.weight", "5.weight"),
        ("two", "numbers.weight", "second.weight"),
        ("unet", "first.weight", "last.weight"),
    ],
)
def test_inputs_and_outputs_stay(name: str, inputs: str, last: str) -> None:
    axes = structure_of(name).axes
    assert not any(axis.tensor == inputs and axis.reads for axis in axes)
    assert not any(axis.tensor == last and not axis.reads for axis in axes)


def test_what_a_residual_sum_adds_goes_together() -> None:
    structure = structure_of("resnet")
    made = {axis.tensor: axis.neurons.tolist() for axis in structure.axes if not axis.reads}
    assert made["0.weight"] == made["1.second.weight"]
    assert made["2.way.weight"] == made["2.second.weight"] == made["3.second.weight"]


def test_the_values_of_the_examples_do_not_matter() -> None:
    family = FAMILIES["cnn"]
    found = [find_neurons(family.module(), family.inputs(2, seed), "cnn") for seed in (0, 1)]
    assert found[0].groups == found[1].groups
    assert all(np.array_equal(a.neurons, b.neurons) for a, b in zip(found[0].axes, found[1].axes, strict=True))


@pytest.mark.parametrize(
    "build", [lambda: nn.Linear(6, 4), lambda: nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4), nn.Linear(4, 2))]
)
def test_a_network_without_neurons_that_can_go_is_refused(build: type[nn.Module]) -> None:
    message = "no neuron of tiny can go alone: .*; `granularity=weight` works$"
    with pytest.raises(UnreachableError, match=message):
        find_neurons(Family(build).module(), (torch.zeros(2, 6),), "tiny")


def test_the_network_stays_as_it_is() -> None:
    module = Attention("fused").eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    find_neurons(module, (torch.zeros(2, 5, 6),), "attention")
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
