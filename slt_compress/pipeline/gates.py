"""What is searched of a network: its weights or its neurons, and what a ticket stores of the masks that are found."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from slt_compress.config import NEURON, SearchConfig
from slt_compress.data.batches import blank
from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.masking.gates import Gates
from slt_compress.masking.parameters import gated_names
from slt_compress.pipeline.prepare import Prepared
from slt_compress.prng import SeedRecipe
from slt_compress.structure.joint_network import JointNetwork
from slt_compress.structure.neuron_network import NeuronNetwork, densities, room_for, slot_name
from slt_compress.structure.neurons import Axis, Places, Structure, find_neurons
from slt_compress.ticket.assembly import AxisGates, CoatParts, LayerParts
from slt_compress.ticket.masks import Mask


@dataclass(frozen=True)
class Searched:
    """A network with gates.

    Attributes:
        network: its weights.
        gates: what has a gate; the network itself, where that is each weight.
        structure: its neurons, where these have the gates.
    """

    network: FlatNetwork
    gates: Gates
    structure: Structure | None = None

    @property
    def described(self) -> str:
        """What has a gate, for people."""
        weights = f"{self.network.size:,} gated weights"
        if self.structure is None:
            return weights
        neurons = f"{self.structure.size:,} neurons in {len(self.structure.groups):,} groups"
        return neurons if isinstance(self.gates, NeuronNetwork) else f"{neurons} and {weights}"

    def neuron_sparsity(self, masks: Mapping[str, torch.Tensor]) -> float | None:
        """Return the share of neurons that the masks remove, None where these have no gates."""
        if self.structure is None:
            return None
        return 1 - sum(int(masks[slot_name(group)].sum()) for group in self.structure.groups) / self.structure.size

    def layers(self, masks: Mapping[str, torch.Tensor]) -> list[LayerParts]:
        """Return the layers of a ticket with these masks, by slot of the gates."""
        scales = self.network.scales()
        slices = _slices(self.structure, masks) if self.structure else {}
        layers = []
        for slot in self.network.slots:
            mask = masks[slot.name].numpy() if slot.name in masks else None
            coat = CoatParts(mask, slices.get(slot.name, []), scales[slot.name])
            layers.append(LayerParts(slot.name, slot.shape, [coat]))
        return layers


def put_gates(module: nn.Module, prepared: Prepared, config: SearchConfig, origin: SeedRecipe) -> Searched:
    """Put gates on the weights or the neurons of a module that is to be searched, or on both.

    Raises UnreachableError if neurons are asked for and the network has none that can go, or if no mask has the
    sparsity.
    """
    fixed = prepared.device, origin.initialiser, origin.freeze
    if config.neuron_density is None:
        network = FlatNetwork(module, origin.seed, config.density, *fixed)
        return Searched(network, network)
    structure = find_neurons(prepared.source.build(), blank(prepared.inputs), prepared.source.name)
    if config.granularity == NEURON:
        density = densities(structure, gated_names(module), config.density)
        network = FlatNetwork(module, origin.seed, density, *fixed)
        return Searched(network, NeuronNetwork(network, structure), structure)
    network = FlatNetwork(module, origin.seed, config.density, *fixed, room=room_for(structure))
    return Searched(network, JointNetwork(network, structure, config.neuron_density), structure)


def _slices(structure: Structure, masks: Mapping[str, torch.Tensor]) -> dict[str, list[AxisGates]]:
    """Return the gates of all axes, by tensor, for neurons that are open by group, bool (size of the group,)."""
    opened = np.concatenate([masks[slot_name(group)].numpy() for group in structure.groups])
    known: dict[bytes, Mask] = {}
    slices: dict[str, list[AxisGates]] = {}
    for axis in structure.axes:
        slices.setdefault(axis.tensor, []).append(_gates(axis, opened, known))
    return slices


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
