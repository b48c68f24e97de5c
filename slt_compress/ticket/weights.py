"""The weights of a layer: generated from the seed, scaled and masked, or stored. Needs no torch."""

import numpy as np
import numpy.typing as npt

from slt_compress import prng
from slt_compress.prng import SeedRecipe
from slt_compress.ticket.masks import Mask, coat_masks, union
from slt_compress.ticket.schema import Layer

_BLOCK = 1 << 16  # quadruples taken at a time, 1 MiB


def layer_weights(layer: Layer, origin: SeedRecipe) -> npt.NDArray[np.float32]:
    """Return the weights of a layer, float32 in its shape, zero (never minus zero) where it drops them.

    Raises TicketError if its masks or stored values do not decode.
    """
    masks = coat_masks(layer, origin)
    if layer.values:
        return layer.values.weights(masks[0])
    if origin.initialiser == "signed-constant" and layer.simple:
        signs = prng.sign_bits(origin.seed, layer.name, layer.size)
        packed = np.packbits(masks[0], bitorder="little")
        return _signed_constants(signs, packed, np.float32(layer.scale), layer.size).reshape(layer.shape)
    values = prng.INITIALISERS[origin.initialiser](origin.seed, layer.name, layer.size).reshape(layer.shape)
    values *= np.float32(layer.scale) if layer.simple else _scales(layer, masks)
    values[~union(masks)] = 0
    return values


def _scales(layer: Layer, masks: list[Mask]) -> npt.NDArray[np.float32]:
    """Return the sum of the scales of those coats that keep a weight, float32 in the layer's shape."""
    scales = np.zeros(layer.shape, np.float32)
    for coat, mask in zip(layer.coats, masks, strict=True):
        scales[mask] += np.float32(coat.scale)
    return scales


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
