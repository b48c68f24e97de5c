"""From a ticket back to a plain network: build the architecture, regenerate, mask, and set every value there is."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from slt_compress import prng
from slt_compress.errors import TicketError
from slt_compress.masking.parameters import freeze_ungated, gated_names, statistic_names
from slt_compress.models.registry import architecture_digest, build_model, library_version

if TYPE_CHECKING:
    from slt_compress.ticket.schema import Layer
    from slt_compress.ticket.ticket import Ticket

_BLOCK = 1 << 16  # quadruples taken at a time, 1 MiB


def restore(ticket: "Ticket") -> nn.Module:
    """Return the ticket's network in evaluation mode, on the CPU, its masked weights in place.

    Raises TicketError if the installed libraries build another architecture or the seed gives other weights than when
    the ticket was made.
    """
    spec = ticket.provenance.model
    try:
        module = build_model(spec)
    except Exception as error:  # what a library's constructor raises for arguments it was never meant for
        raise TicketError(f"the network of the ticket cannot be built: {error}") from error
    if architecture_digest(module) != ticket.provenance.architecture:
        raise TicketError(
            f"{spec.name} as built by {library_version(spec)} differs from the network of the ticket, built by "
            f"{ticket.provenance.library}: install that version"
        )
    expected = {name: tuple(module.get_parameter(name).shape) for name in gated_names(module)}
    found = {layer.name: layer.shape for layer in ticket.layers}
    if expected != found:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise TicketError(f"the layers of the ticket are not those of {spec.name}: {', '.join(wrong[:3])}")
    sizes = {name: module.get_buffer(name).numel() for name in statistic_names(module)}
    if sizes != {name: values.size for name, values in ticket.statistics.items()}:
        raise TicketError(f"the statistics of the ticket are not those of {spec.name}")
    ticket.check_weights()
    freeze_ungated(module, ticket.seed)
    with torch.no_grad():
        for layer in ticket.layers:
            module.get_parameter(layer.name).data = torch.from_numpy(masked_weights(ticket, layer))
        for name, values in ticket.statistics.items():
            buffer = module.get_buffer(name)
            buffer.copy_(torch.from_numpy(values.copy()).view(buffer.shape))
    return module


def masked_weights(ticket: "Ticket", layer: "Layer") -> npt.NDArray[np.float32]:
    """Return the weights of a layer, float32 in its shape, zero (never minus zero) where the mask drops them."""
    mask = ticket.mask(layer.name)
    scale = np.float32(layer.scale)
    if ticket.initialiser == "signed-constant":
        signs = prng.sign_bits(ticket.seed, layer.name, layer.size)
        return _signed_constants(signs, np.packbits(mask, bitorder="little"), scale, layer.size).reshape(layer.shape)
    values = prng.INITIALISERS[ticket.initialiser](ticket.seed, layer.name, layer.size).reshape(layer.shape)
    values *= scale
    values[~mask] = 0
    return values


def _signed_constants(
    signs: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8], scale: np.float32, size: int
) -> npt.NDArray[np.float32]:
    """Turn packed signs and packed mask into ±scale and 0, four weights at a time through a table of 256 quadruples.

    A quadruple is moved as one complex128, the only 16-byte type numpy takes from a table in one go.
    """
    nibble = np.arange(16)[:, None] >> np.arange(4) & 1  # (16, 4)
    table = nibble[:, None, :] * (1 - 2 * nibble[None, :, :]) * scale  # (mask nibble, sign nibble, 4)
    quadruples = np.ascontiguousarray(table.reshape(256, 4), np.float32).view(np.complex128).ravel()
    index = np.empty((mask.size, 2), np.uint8)
    index[:, 0] = (mask & 15) << 4 | (signs & 15)
    index[:, 1] = (mask & 0xF0) | signs >> 4
    out = np.empty(index.size, np.complex128)
    for start in range(0, index.size, _BLOCK):
        np.take(quadruples, index.ravel()[start : start + _BLOCK], out=out[start : start + _BLOCK], mode="clip")
    return out.view(np.float32)[:size]
