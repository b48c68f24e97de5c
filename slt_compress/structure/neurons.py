"""The neurons of a network, in groups that are tied together: output channels, hidden units and attention heads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from slt_compress.errors import UnreachableError
from slt_compress.masking.parameters import gated_names
from slt_compress.structure.flow import Tracer
from slt_compress.structure.labels import FIXED
from slt_compress.structure.trace import trace

NO_NEURON = -1
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Axis:
    """An axis of a gated tensor whose slices belong to neurons.

    Attributes:
        tensor: name of the parameter.
        axis: of the tensor.
        neurons: the neuron of each slice, int64 (length of the axis,); `NO_NEURON` where a slice stays.
        reads: whether the slices are what the tensor reads of the neurons, or else what makes them.
    """

    tensor: str
    axis: int
    neurons: Places
    reads: bool

    def across(self, rank: int) -> list[int]:
        """Return the shape in which one value for each slice broadcasts to a tensor of so many dimensions."""
        lengths = [1] * rank
        lengths[self.axis] = len(self.neurons)
        return lengths


@dataclass(frozen=True)
class Group:
    """Neurons that stand side by side, such as the channels of all residual sums of a stage, or the heads of a block.

    Attributes:
        name: of the first gated tensor that makes some of them.
        first: the first of them; they are numbered one after the other.
        size: how many there are.
    """

    name: str
    first: int
    size: int


@dataclass(frozen=True)
class Structure:
    """All neurons that can go, each alone, without another part of the network being changed.

    A neuron is read by at least one gated tensor. When everything that reads it is zero, it has no effect.

    Attributes:
        groups: in the order of the network; a group has at least two neurons.
        axes: where the neurons lie.
    """

    groups: tuple[Group, ...]
    axes: tuple[Axis, ...]

    @property
    def size(self) -> int:
        """Number of neurons."""
        return sum(group.size for group in self.groups)


def find_neurons(module: nn.Module, examples: Sequence[torch.Tensor], name: str) -> Structure:
    """Return the neurons of a module in evaluation mode on the CPU.

    `examples` are inputs, of two examples each; `name` is the network's, for messages. What they are worth does not
    matter, only their shapes.

    Raises UnreachableError if torch cannot trace the network, or if none of its neurons can go.
    """
    gated = {id(module.get_parameter(one)): one for one in gated_names(module)}
    tracer = Tracer(trace(module, examples, name), gated)
    tracer.run(*(example[:1] for example in examples))
    found, _ = number(tracer, list(gated.values()))
    if not found.groups:
        raise UnreachableError(
            f"no neuron of {name} can go alone: whatever its layers make is also used in a way that ties it to the "
            "rest; `granularity=weight` works"
        )
    return found


def number(tracer: Tracer, names: Sequence[str]) -> tuple[Structure, dict[int, int]]:
    """Return the structure that a tracer has found, and the number of each neuron by its label, from 0."""
    made, read = (
        {
            (name, axis): tracer.labels.of(labels).numpy()
            for name in names
            if name in tracer.axes
            for axis, labels in (tracer.axes[name].inputs if reads else tracer.axes[name].outputs).items()
        }
        for reads in (False, True)
    )
    both = set(np.unique(np.concatenate([*made.values(), []]))) & set(np.unique(np.concatenate([*read.values(), []])))
    free = {int(label) for label in both if label > FIXED}
    numbers: dict[int, int] = {}
    groups = []
    for name, members in _side_by_side(made, free):
        if len(members) > 1:
            groups.append(Group(name, len(numbers), len(members)))
            numbers |= {label: len(numbers) + place for place, label in enumerate(members)}
    axes = []
    for reads, found in ((False, made), (True, read)):
        for (name, axis), labels in found.items():
            neurons = np.array([numbers.get(int(label), NO_NEURON) for label in labels], np.int64)
            if (neurons != NO_NEURON).any():
                axes.append(Axis(name, axis, neurons, reads))
    return Structure(tuple(groups), tuple(axes)), numbers


def _side_by_side(made: dict[tuple[str, int], Places], free: set[int]) -> Iterator[tuple[str, list[int]]]:
    """Yield the free labels in groups that share an axis, and what makes the first of them, in order."""
    groups: list[tuple[str, list[int]]] = []
    place: dict[int, int] = {}  # of a label's group
    for (name, _), labels in made.items():
        here = [int(label) for label in dict.fromkeys(labels.tolist()) if int(label) in free]
        known = sorted({place[label] for label in here if label in place})
        target = known[0] if known else len(groups)
        if not known:
            groups.append((name, []))
        for other in known[1:]:
            groups[target][1].extend(groups[other][1])
            groups[other][1].clear()
        groups[target][1].extend(label for label in here if label not in place)
        place |= dict.fromkeys(groups[target][1], target)
    yield from (group for group in groups if group[1])
