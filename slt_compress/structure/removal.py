"""Removal: the same network without its dead neurons, so that tensors, memory and work shrink.

A neuron is dead if all that reads it is zero, or only makes neurons that are dead. It is dead, too, if all that makes
it is zero or reads dead neurons, and it is zero itself: then it is the same whatever comes in, and a look at a few
examples is enough. The graph of the network is rewritten: tensors lose the slices of dead neurons, and what names a
size is told the new one. A dead neuron stays where what is left would be no rectangle, as of half the channels before a
shuffle: it does no harm.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn

from slt_compress.errors import VerificationError
from slt_compress.masking.parameters import gated_names
from slt_compress.structure import operators
from slt_compress.structure.flow import Flow, Tracer
from slt_compress.structure.neurons import Structure, number
from slt_compress.structure.rewrite import ImpossibleError, Rewriter
from slt_compress.structure.rewrite_rules import Cut
from slt_compress.structure.trace import trace

_TOLERANCE = 1e-4  # relative, of outputs: sums of fewer zeros are rounded in another order


@dataclass(frozen=True)
class Smaller:
    """A network without its dead neurons.

    Attributes:
        module: computes what the whole network does; its parameters have the names of the whole network's.
        kept: the indices that are left along the axes of a parameter or buffer, by name and axis; those that are whole
            are not listed.
        neurons: how many neurons the whole network has that could go.
        removed: how many of them have gone.
    """

    module: nn.Module
    kept: Mapping[str, Cut] = field(default_factory=dict)
    neurons: int = 0
    removed: int = 0


def has_closed_slices(module: nn.Module) -> bool:
    """Return whether some gated tensor reads nothing of one of its inputs, or makes nothing of one of its outputs.

    Where none does, no neuron is dead, and the network need not be traced to know it.
    """
    for name in gated_names(module):
        open_weights = module.get_parameter(name).detach().numpy() != 0
        for axis in (0, 1):
            others = tuple(dim for dim in range(open_weights.ndim) if dim != axis)
            if not open_weights.any(others).all():
                return True
    return False


def remove_dead(module: nn.Module, examples: Sequence[torch.Tensor], name: str, *, multiple: int = 1) -> Smaller:
    """Return a module in evaluation mode on the CPU without its dead neurons. The module itself stays as it is.

    Args:
        module: the network.
        examples: inputs, of two examples each; only their shapes count.
        name: of the network, for messages.
        multiple: of what the number of slices left along an axis is to be, where dead neurons can fill it up.

    Raises UnreachableError if torch cannot trace the network, VerificationError if what is left computes something
    else.
    """
    gated = {id(module.get_parameter(one)): one for one in gated_names(module)}
    graph = trace(module, examples, name)
    tracer = Tracer(graph, gated, keep=True)
    with torch.no_grad():
        tracer.run(*(example[:1] for example in examples))
    structure, numbers = number(tracer, list(gated.values()))
    probes = [_probe(example) for example in examples]
    listener = _Listener(graph, tracer, numbers)
    with torch.no_grad():
        listener.run(*probes)
    dead = _filled_up(_dead(module, structure, ~listener.heard), structure, multiple)
    labels = np.array(sorted(numbers, key=numbers.__getitem__), np.int64)
    while True:
        if not dead.any():
            return Smaller(module, {}, structure.size, 0)
        try:
            rewriter = Rewriter(graph, tracer, set(labels[dead].tolist()))
            cut = rewriter.run()
            rewriter.check(cut, [example[:1] for example in examples])
        except ImpossibleError as reason:  # these stay; what is dead does no harm
            staying = dead & np.isin(labels, reason.labels)
            dead &= ~staying if staying.any() else False
            continue
        _prove(module, cut, probes, name)
        return Smaller(cut, rewriter.kept, structure.size, int(dead.sum()))


class _Listener(fx.Interpreter):
    """Runs a graph, and notes which neurons are not zero where they are read.

    Attributes:
        heard: bool (neurons,).
    """

    def __init__(self, graph: fx.GraphModule, tracer: Tracer, numbers: Mapping[int, int]) -> None:
        super().__init__(graph)
        self.heard = np.zeros(len(numbers), np.bool_)
        self._tracer = tracer
        self._numbers = numbers

    def run_node(self, n: fx.Node) -> Any:
        name = operators.name_of(n.target) if n.op == "call_function" else ""
        source = n.args[0] if n.args else None
        flow = self._tracer.flows.get(source) if isinstance(source, fx.Node) else None
        if isinstance(flow, Flow) and name in operators.LAYERS:
            values: torch.Tensor = self.fetch_args_kwargs_from_env(n)[0][0]
            axis = values.ndim - 1 if name == "linear" else 1
            others = [dim for dim in range(values.ndim) if dim != axis]
            labels = self._tracer.labels.of(flow.labels).amax(others).tolist()
            loud = values.ne(0).sum(others).gt(0).tolist()
            for label, sounds in zip(labels, loud, strict=True):
                if sounds and label in self._numbers:
                    self.heard[self._numbers[label]] = True
        return super().run_node(n)


def _dead(module: nn.Module, structure: Structure, silent: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which neurons are dead; one of each group stays. `silent` are those that are zero for some example."""
    weights = {axis.tensor: module.get_parameter(axis.tensor).detach().numpy() != 0 for axis in structure.axes}
    staying = np.zeros(structure.size, np.bool_)
    while True:  # from the start for each group that would be left empty: what stays reads others
        dead = _idle(weights, structure, silent, staying)
        empty = [group.first for group in structure.groups if dead[group.first : group.first + group.size].all()]
        if not empty:
            return dead
        staying[empty] = True


def _idle(
    weights: Mapping[str, npt.NDArray[np.bool_]],
    structure: Structure,
    silent: npt.NDArray[np.bool_],
    staying: npt.NDArray[np.bool_],
) -> npt.NDArray[np.bool_]:
    """Return which neurons nothing reads or, if they are silent, nothing makes, but for weights that read or make such
    neurons; those that are staying are none.
    """
    dead = np.zeros(structure.size, np.bool_)
    while True:
        alive = dict(weights)
        for axis in structure.axes:
            gone = np.append(dead, False)[axis.neurons].reshape(axis.across(alive[axis.tensor].ndim))
            alive[axis.tensor] = alive[axis.tensor] & ~gone
        read, made = np.append(staying, True), np.append(staying | ~silent, True)
        for axis in structure.axes:
            others = tuple(dim for dim in range(alive[axis.tensor].ndim) if dim != axis.axis)
            np.logical_or.at(read if axis.reads else made, axis.neurons, alive[axis.tensor].any(others))
        found = dead | ~(read & made)[:-1]
        if (found == dead).all():
            return dead
        dead = found


def _filled_up(dead: npt.NDArray[np.bool_], structure: Structure, multiple: int) -> npt.NDArray[np.bool_]:
    """Return which neurons go where some of the dead stay, so that what is left along an axis is a multiple."""
    going = dead.copy()
    first = {
        group.first: axis
        for group in reversed(structure.groups)
        for axis in structure.axes
        if not axis.reads and group.first in axis.neurons
    }
    for group in structure.groups:
        part = going[group.first : group.first + group.size]  # a view
        slices = int((first[group.first].neurons == group.first).sum())  # that belong to one neuron
        step = multiple // math.gcd(multiple, slices)
        left = group.size - int(part.sum())
        staying = np.flatnonzero(part)[: -left % step]
        part[staying] = False
    return going


def _probe(example: torch.Tensor) -> torch.Tensor:
    """Return three examples of this shape: normal numbers, or zeros where they are whole."""
    shape = (3, *example.shape[1:])
    if not example.is_floating_point():
        return torch.zeros(shape, dtype=example.dtype)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=example.dtype)


@torch.no_grad()
def _prove(module: nn.Module, cut: fx.GraphModule, probes: Sequence[torch.Tensor], name: str) -> None:
    """Raise VerificationError unless both compute the same but for rounding."""
    for whole, small in zip(_leaves(module(*probes)), _leaves(cut(*probes)), strict=True):
        if whole.shape != small.shape:
            raise VerificationError(f"{name} without its dead neurons gives {small.shape}, not {whole.shape}")
        if not whole.is_floating_point():  # a choice, such as `argmax`, may follow from rounding
            continue
        worst = float((whole - small).abs().amax()) / max(float(whole.abs().amax()), math.ulp(1.0))
        if not worst <= _TOLERANCE:
            raise VerificationError(f"{name} without its dead neurons differs by {worst:.1e} of its largest output")


def _leaves(outputs: Any) -> list[torch.Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]
