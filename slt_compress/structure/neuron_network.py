"""A network with one gate for each neuron, in the shape that search methods work on."""

from collections.abc import Iterable

import torch

from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.masking.gates import ALIGN, Gates, Slot, rows
from slt_compress.structure.neurons import NO_NEURON, Axis, Structure


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
            self.slots.append(Slot(group.name, (group.size,), offset, group.size))
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

    def set_gate(self, gate: torch.Tensor) -> None:
        opened = torch.cat([gate.float(), gate.new_ones(1, dtype=torch.float32)])
        self._multiply(self.network.effective.fill_(1), opened, reads=True)
        self.network.set_gate(self.network.effective)
        if gate.dtype == torch.bool:  # after the scales have been found: what makes a closed neuron has no say in them
            self._multiply(self.network.effective, opened, reads=False)

    def _multiply(self, flat: torch.Tensor, opened: torch.Tensor, *, reads: bool) -> None:
        """Multiply the slices that read neurons, or those that make them, by gates in place."""
        parts = dict(zip((slot.name for slot in self.network.slots), self.network.split(flat), strict=True))
        for axis, neurons in self._axes:
            if axis.reads == reads:
                shape = self.module.get_parameter(axis.tensor).shape
                parts[axis.tensor].view(shape).mul_(along(axis, opened[self._places[neurons]], len(shape)))

    def backward(self, loss: torch.Tensor) -> None:
        """Find d loss / d z: the sum over all weights that read a neuron."""
        self.network.backward(loss)
        found = self.network.gate_gradient()
        parts = dict(zip((slot.name for slot in self.network.slots), self.network.split(found), strict=True))
        sums = torch.zeros(len(self.grad) + 1, device=self.grad.device)
        for axis, neurons in self._axes:
            if axis.reads:
                shape = self.module.get_parameter(axis.tensor).shape
                others = [dim for dim in range(len(shape)) if dim != axis.axis]
                sums.index_add_(0, self._places[neurons], parts[axis.tensor].view(shape).sum(others))
        self.grad.copy_(sums[:-1])

    def gate_gradient(self) -> torch.Tensor:
        return self.grad


def along(axis: Axis, values: torch.Tensor, rank: int) -> torch.Tensor:
    """Return values of an axis in a shape that broadcasts to the tensor's."""
    lengths = [1] * rank
    lengths[axis.axis] = len(values)
    return values.view(lengths)
