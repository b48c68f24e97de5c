"""Neurons closed and drawn anew by hand."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.masking.parameters import gated_names
from slt_compress.structure.neuron_network import NeuronNetwork, densities
from slt_compress.structure.neurons import Structure, find_neurons
from tests.support.families import FAMILIES, Family


def outputs(module: nn.Module, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return all tensors that a module returns."""
    with torch.no_grad():
        return [leaf for leaf in torch.utils._pytree.tree_leaves(module(*inputs)) if isinstance(leaf, torch.Tensor)]


def difference(some: list[torch.Tensor], others: list[torch.Tensor]) -> float:
    """Return the largest difference, relative to the largest output."""
    assert [one.shape for one in some] == [other.shape for other in others]
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(some, others, strict=True))


@torch.no_grad()
def close(module: nn.Module, structure: Structure, neurons: Any, *, drawn: int | None = None) -> None:
    """Set all that reads these neurons to zero, and draw all that makes them anew from a seed, if there is one."""
    generator = torch.Generator().manual_seed(drawn or 0)
    for axis in sorted(structure.axes, key=lambda axis: axis.reads):
        if axis.reads or drawn is not None:
            weight = module.get_parameter(axis.tensor).data.movedim(axis.axis, 0)  # a view
            chosen = torch.from_numpy(np.isin(axis.neurons, neurons))
            weight[chosen] = 0.0 if axis.reads else torch.randn(weight[chosen].shape, generator=generator)


def some_of_each(structure: Structure, share: float, seed: int = 0) -> Any:
    """Return a random share of all neurons, but not all of any group."""
    random = np.random.default_rng(seed)
    chosen = [
        group.first + random.permutation(group.size)[: min(group.size - 1, round(share * group.size))]
        for group in structure.groups
    ]
    return np.sort(np.concatenate(chosen))


@functools.cache
def structure_of(name: str) -> Structure:
    """Return the neurons of a family."""
    family = FAMILIES[name]
    return find_neurons(family.module(), family.inputs(), name)


def neuron_network(module: nn.Module, name: str, density: float = 0.5) -> NeuronNetwork:
    """Put gates on the neurons of a family's module."""
    structure = structure_of(name)
    shares = densities(structure, gated_names(module), density)
    return NeuronNetwork(FlatNetwork(module, 3, shares, torch.device("cpu")), structure)


class Chain(nn.Module):
    """Two layers side by side, something in the middle, and a layer that reads it."""

    def __init__(self, middle: Callable[..., torch.Tensor], outputs: int = 8, *, planes: bool = False) -> None:
        super().__init__()
        self.one, self.other = (nn.Conv2d(3, 8, 3) if planes else nn.Linear(6, 8) for _ in range(2))
        self.last = nn.Conv2d(outputs, 4, 1) if planes else nn.Linear(outputs, 4)
        self.middle = middle

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.last(self.middle(self.one(x).relu(), self.other(x)))
        return out


def chain(middle: Callable[..., torch.Tensor], outputs: int = 8, *, planes: bool = False) -> Family:
    """Return a family of chains."""
    return Family(lambda: Chain(middle, outputs, planes=planes), ((3, 6, 6) if planes else (6,),))
