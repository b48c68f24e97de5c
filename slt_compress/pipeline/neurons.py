"""What a ticket stores of a search's masks: a gate for each weight, or the gates of neurons, once for each group."""

from collections.abc import Mapping

import numpy as np
import torch

from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.pipeline.prepare import Prepared
from slt_compress.structure.neurons import Axis, Places, Structure, find_neurons
from slt_compress.ticket.assembly import AxisGates, CoatParts, LayerParts
from slt_compress.ticket.masks import Mask


def structure_of(prepared: Prepared) -> Structure:
    """Return the neurons of the network that is to be searched. Raises UnreachableError if it has none."""
    examples = [torch.zeros((2, *one.shape), dtype=getattr(torch, one.dtype)) for one in prepared.inputs]
    return find_neurons(prepared.source.build(), examples, prepared.source.name)


def layers_of(network: FlatNetwork, structure: Structure | None, masks: Mapping[str, torch.Tensor]) -> list[LayerParts]:
    """Return the layers of a ticket with these masks: of gated tensors, in their shapes; or with a structure of groups
    of neurons, bool (size of the group,).
    """
    scales = network.scales()
    if structure is None:
        return [
            LayerParts(name, tuple(mask.shape), [CoatParts(mask.numpy(), scale=scales[name])])
            for name, mask in masks.items()
        ]
    opened = np.concatenate([masks[group.name].numpy() for group in structure.groups] or [np.zeros(0, np.bool_)])
    known: dict[bytes, Mask] = {}
    slices: dict[str, list[AxisGates]] = {}
    for axis in structure.axes:
        slices.setdefault(axis.tensor, []).append(_gates(axis, opened, known))
    return [
        LayerParts(slot.name, slot.shape, [CoatParts(slices=slices.get(slot.name, []), scale=scales[slot.name])])
        for slot in network.slots
    ]


def _gates(axis: Axis, opened: Mask, known: dict[bytes, Mask]) -> AxisGates:
    """Return the gates of an axis: the same array wherever the same neurons lie in the same order."""
    repeat = _repeat(axis.neurons)
    neurons = axis.neurons[::repeat]
    gates = known.setdefault(neurons.tobytes(), np.append(opened, True)[neurons])  # -1, no neuron, is the last
    return AxisGates(gates, axis.axis, repeat)


def _repeat(neurons: Places) -> int:
    """Return the largest number of neighbours that all belong to one neuron each."""
    size = len(neurons)
    divisors = [number for number in range(size, 0, -1) if size % number == 0]
    return next(n for n in divisors if (neurons.reshape(-1, n) == neurons.reshape(-1, n)[:, :1]).all())
