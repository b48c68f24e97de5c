"""Where a search begins that is to go on from another ticket."""

from pathlib import Path

import torch

from slt_compress.errors import UsageError
from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.prng import SeedRecipe
from slt_compress.ticket.ticket import Ticket


def start_mask(path: Path, network: FlatNetwork, origin: SeedRecipe) -> torch.Tensor:
    """Return the mask of a ticket, flat bool (length,), on the CPU.

    Raises TicketError if the file is no ticket, UsageError if it is of another network or of other weights: a mask says
    nothing of them.
    """
    ticket = Ticket.load(path)
    shapes = {slot.name: slot.shape for slot in network.slots}
    if {layer.name: layer.shape for layer in ticket.layers} != shapes:
        title = ticket.provenance.model.title
        raise UsageError(f"`init_from={path}` is a ticket of another network, {title}: its tensors are not those here")
    if any(layer.values for layer in ticket.layers):
        raise UsageError(f"`init_from={path}` has trained weights, a search has random ones")
    there = ticket.origin
    for name, found, wanted in (
        ("seed", there.seed, origin.seed),
        ("init", there.initialiser, origin.initialiser),
        ("freeze_ratio", there.freeze.ratio, origin.freeze.ratio),
        ("lock_ratio", there.freeze.lock, origin.freeze.lock),
    ):
        if found != wanted:
            raise UsageError(
                f"`init_from={path}` is of other random weights: give `{name}={found}`, with which it was made"
            )
    mask = torch.zeros(network.weights.shape, dtype=torch.bool)
    for slot, part in zip(network.slots, network.split(mask), strict=True):
        part.copy_(torch.from_numpy(ticket.mask(slot.name)).flatten())
    return mask
