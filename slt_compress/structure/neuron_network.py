"""A network with one gate for each neuron, in the shape that search methods work on."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch

from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.masking.gates import ALIGN, Gates, Kind, Slot, rows
from slt_compress.masking.ranking import Ranking
from slt_compress.structure.neurons import NO_NEURON, Axis, Group, Structure


def densities(structure: Structure, tensors: Iterable[str], density: float) -> dict[str, float]:
    """Return what share of each gated tensor's inputs is left where this share of all neurons is open."""
    found = dict.fromkeys(tensors, 1.0)
    for axis in structure.axes:
        if axis.reads:
            share = float((axis.neurons != NO_NEURON).mean())
            found[axis.tensor] *= 1 - share * (1 - density)
    return found


class NeuronNetwork(Gates):
    """The gates of all neurons of a network in one flat tensor; a slot is a group of neurons.

    A gate multiplies all weights that read the neuron. That is the same as to multiply the neuron, and unlike a gate on
    the weights that make it, no normalisation behind them takes it back. A 0/1 gate closes those that make it, too.
    """

    def __init__(self, network: FlatNetwork, structure: Structure) -> None:
        """Put gates on a network whose own gates the seed does not fix."""
        device = network.weights.device
        self.network = network
        self.structure = structure
        self.module = network.module
        self.slots = []
        offset = 0
        for group in structure.groups:
            self.slots.append(Slot(slot_name(group), (group.size,), offset, group.size))
            offset += rows(group.size) * ALIGN
        self.size = self.searchable_count = structure.size
        self.locked_count = 0
        self.weights = torch.zeros(offset, dtype=torch.int8, device=device)
        for part in self.split(self.weights):
            part.fill_(1)
        self.not_searchable = (self.weights == 0).nonzero().squeeze(1)
        self.locked = torch.zeros(1, dtype=torch.bool, device=device).expand(offset)
        self.effective, self.grad = (torch.empty(offset, device=device) for _ in range(2))
        places = torch.cat([torch.arange(slot.offset, slot.offset + slot.size) for slot in self.slots])
        # Slices that belong to no neuron look at a gate behind all others, which is always open.
        self._places = torch.cat([places, torch.tensor([offset])]).to(device)
        self._axes = [(axis, torch.from_numpy(axis.neurons).to(device)) for axis in structure.axes]
        self.set_gate(torch.ones(offset, device=device))

    @property
    def has_branches(self) -> bool:
        return self.network.has_branches

    def ranking(self, density: float, *, layered: bool) -> Ranking:
        return Ranking(self, density, layered=layered, between=True)

    def kinds(self) -> list[Kind]:
        return [Kind(0, self.weights.numel(), self.searchable_count, few=True)]

    def set_gate(self, gate: torch.Tensor) -> None:
        self.spread(gate, self.network.effective.fill_(1), reads=True)
        self.network.set_gate(self.network.effective)
        if gate.dtype == torch.bool:  # after the scales have been found: what makes a closed neuron has no say in them
            self.spread(gate, self.network.effective, reads=False)

    def spread(self, gate: torch.Tensor, weights: torch.Tensor, *, reads: bool) -> None:
        """Multiply the weights that read neurons, or those that make them, by the gates of these.

        `weights` is flat, as the network's are.
        """
        opened = torch.cat([gate.to(weights.dtype), weights.new_ones(1)])
        for axis, neurons, part in self._slices(weights):
            if axis.reads == reads:
                part.mul_(opened[self._places[neurons]].view(axis.across(part.ndim)))

    def gather(self, weights: torch.Tensor) -> torch.Tensor:
        """Return for each neuron the sum over all weights that read it, of shape (length,)."""
        sums = weights.new_zeros(len(self.grad) + 1)
        for axis, neurons, part in self._slices(weights):
            if axis.reads:
                others = [dim for dim in range(part.ndim) if dim != axis.axis]
                sums.index_add_(0, self._places[neurons], part.sum(others))
        return sums[:-1]

    def backward(self, loss: torch.Tensor) -> None:
        self.network.backward(loss)
        self.grad.copy_(self.gather(self.network.gate_gradient()))

    def _slices(self, weights: torch.Tensor) -> Iterator[tuple[Axis, torch.Tensor, torch.Tensor]]:
        """Yield each axis, its neurons, and the part of a flat tensor that its tensor is, in its shape."""
        parts = {
            slot.name: part.view(slot.shape)
            for slot, part in zip(self.network.slots, self.network.split(weights), strict=True)
        }
        for axis, neurons in self._axes:
            yield axis, neurons, parts[axis.tensor]

    def gate_gradient(self) -> torch.Tensor:
        return self.grad


def room_for(structure: Structure) -> int:
    """Return the length of a flat tensor of all neurons."""
    return sum(rows(group.size) for group in structure.groups) * ALIGN


def shifted(slot: Slot, by: int) -> Slot:
    """Return a slot further behind."""
    return replace(slot, offset=slot.offset + by)


def slot_name(group: Group) -> str:
    """Return the name of a group's slot."""
    return f"{group.name}/neurons"
