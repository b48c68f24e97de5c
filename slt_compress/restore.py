"""From a ticket back to a plain network: build the architecture, regenerate, mask, and set every value there is."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from slt_compress import models, network, seeding
from slt_compress.errors import TicketError

if TYPE_CHECKING:
    from slt_compress.ticket import Layer, Ticket


def restore(ticket: "Ticket") -> nn.Module:
    """Return the ticket's network in evaluation mode, on the CPU, its masked weights in place.

    Raises TicketError if the installed libraries build another architecture or the seed gives other weights than when
    the ticket was made.
    """
    spec = models.ModelSpec.from_json(ticket.provenance.model)
    module = models.build(spec)
    if models.architecture_digest(module) != ticket.provenance.architecture:
        raise TicketError(
            f"{spec.name} as built by {models.library_version(spec)} differs from the network of the ticket, built by "
            f"{ticket.provenance.library}: install that version"
        )
    expected = {name: tuple(module.get_parameter(name).shape) for name in network.gated_names(module)}
    found = {layer.name: layer.shape for layer in ticket.layers}
    if expected != found:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise TicketError(f"the layers of the ticket are not those of {spec.name}: {', '.join(wrong[:3])}")
    sizes = {name: module.get_buffer(name).numel() for name in network.statistic_names(module)}
    if sizes != {name: values.size for name, values in ticket.statistics.items()}:
        raise TicketError(f"the statistics of the ticket are not those of {spec.name}")
    ticket.check_weights()
    network.freeze_ungated(module, ticket.seed)
    with torch.no_grad():
        for layer in ticket.layers:
            module.get_parameter(layer.name).copy_(_masked_weights(ticket, layer))
        for name, values in ticket.statistics.items():
            buffer = module.get_buffer(name)
            buffer.copy_(torch.from_numpy(values.copy()).view(buffer.shape))
    return module


def _masked_weights(ticket: "Ticket", layer: "Layer") -> torch.Tensor:
    signs = seeding.sign_bits(ticket.seed, layer.name, layer.size)
    negative = np.unpackbits(signs, count=layer.size, bitorder="little").view(np.bool_).reshape(layer.shape)
    scale = np.float32(layer.scale)
    return torch.from_numpy(np.where(ticket.mask(layer.name), np.where(negative, -scale, scale), np.float32(0)))
