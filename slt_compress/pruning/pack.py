"""A trained network under its mask → a ticket: seed, mask, and what no seed gives."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from slt_compress.errors import UnreachableError
from slt_compress.pipeline.measure import statistics_of
from slt_compress.pipeline.prepare import Prepared
from slt_compress.prng import SeedRecipe
from slt_compress.pruning.network import TrainedNetwork
from slt_compress.ticket.assembly import CoatParts, LayerParts
from slt_compress.ticket.schema import Provenance
from slt_compress.ticket.stored import FP16, FP32, StoredTensor, StoredWeights
from slt_compress.ticket.ticket import Ticket


def round_weights(network: TrainedNetwork, values: str) -> None:
    """Replace the kept weights of a network by what a ticket stores of them, and let the module compute with these.

    Raises UnreachableError if they do not fit into fp16.
    """
    masks = network.mask_arrays()
    parts = dict(zip((slot.name for slot in network.slots), network.split(network.weights), strict=True))
    with torch.no_grad():
        for name, weights in network.weight_arrays().items():
            rounded = StoredWeights.of(weights, masks[name], values).weights(masks[name])
            parts[name].copy_(torch.from_numpy(rounded).flatten())
        if values != FP32:
            for parameter in network.others.values():
                stored = _stored(parameter.detach().cpu().numpy(), values)
                parameter.copy_(torch.from_numpy(stored.values()))
    network.set_gate(network.mask)


def pack_values(
    network: TrainedNetwork, prepared: Prepared, provenance: Provenance, origin: SeedRecipe, values: str, codec: str
) -> Ticket:
    """Return the ticket of a trained network, with its kept weights and all other parameters."""
    weights, masks = network.weight_arrays(), network.mask_arrays()
    layers = [
        LayerParts(slot.name, slot.shape, [CoatParts(masks[slot.name])], values=weights[slot.name], type=values)
        for slot in network.slots
    ]
    others = {name: _stored(one.detach().cpu().numpy(), values) for name, one in network.others.items()}
    statistics = statistics_of(prepared, network.module)
    return Ticket.assemble(layers, provenance, origin=origin, statistics=statistics, parameters=others, codec=codec)


def pack_seed(
    network: TrainedNetwork,
    prepared: Prepared,
    provenance: Provenance,
    origin: SeedRecipe,
    scales: Mapping[str, float],
    codec: str,
) -> Ticket:
    """Return the ticket of a mask on the weights of a seed, times a scale for each tensor."""
    masks = network.mask_arrays()
    coats = {name: [CoatParts(mask, scale=scales[name])] for name, mask in masks.items()}
    layers = [LayerParts(slot.name, slot.shape, coats[slot.name]) for slot in network.slots]
    statistics = statistics_of(prepared, network.module)
    return Ticket.assemble(layers, provenance, origin=origin, statistics=statistics, codec=codec)


def _stored(values: npt.NDArray[np.float32], kind: str) -> StoredTensor:
    """Return a parameter as fp32 where weights are, else as fp16 if it fits."""
    if kind != FP32:
        try:
            return StoredTensor.of(values, FP16)
        except UnreachableError:
            return StoredTensor.of(values)
    return StoredTensor.of(values)
