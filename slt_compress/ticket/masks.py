"""Between masks and the coded gates of a ticket.

A layer has one or more coats; a weight is kept if one of them keeps it. A coat keeps a weight if all its gates for it
are open: those of whole slices along an axis, and one of the weight itself. What the seed fixes, or a slice that is
closed already drops, is not coded.
"""

import functools

import numpy as np
import numpy.typing as npt

from slt_compress import prng
from slt_compress.errors import TicketError
from slt_compress.masking import codecs
from slt_compress.prng import SeedRecipe
from slt_compress.ticket.schema import Coat, CodedMask, Layer, Use

Mask = npt.NDArray[np.bool_]
Fixed = tuple[Mask, Mask]  # the gates (n,) that the seed fixes open, and those that it fixes closed


def code_gates(
    gates: Mask, codec: str, name: str = "", fixed: Fixed | None = None, free: Mask | None = None
) -> CodedMask:
    """Code those of the gates (n,) that are not fixed and are `free` (n,), or simply all.

    Raises ValueError, with the name of the tensor, for gates that contradict fixed ones.
    """
    searched = free
    if fixed:
        locked, pruned = fixed
        wrong = gates & pruned | ~gates & locked
        if (wrong if free is None else wrong & free).any():
            raise ValueError(f"the mask of {name} contradicts the gates that the seed fixes")
        searched = ~(locked | pruned) if free is None else free & ~(locked | pruned)
    coded = gates if searched is None else gates[searched]
    used, code = codecs.encode(coded, codec)
    return CodedMask(coded.size, int(np.count_nonzero(coded)), used, code.tobytes())


def open_gates(mask: CodedMask, count: int, fixed: Fixed | None = None, free: Mask | None = None) -> Mask:
    """Return which of `count` gates are open: the inverse of `code_gates`. Of those that are not free, none is.

    Raises TicketError if the mask codes another number of gates, or has a code that no gates have.
    """
    if fixed is None and free is None:
        return _decode(mask, count)
    opened, searched = np.zeros(count, np.bool_), np.ones(count, np.bool_)
    if fixed:
        locked, pruned = fixed
        opened, searched = locked.copy(), ~(locked | pruned)
    if free is not None:
        opened, searched = opened & free, searched & free
    opened[searched] = _decode(mask, int(np.count_nonzero(searched)))
    return opened


def coat_masks(layer: Layer, origin: SeedRecipe) -> list[Mask]:
    """Return what each coat of a layer keeps, bool in the layer's shape.

    Raises TicketError if they do not decode, or do not keep the recorded number of weights.
    """
    kept = [_coat_mask(layer, coat, origin) for coat in layer.coats]
    count = int(np.count_nonzero(union(kept)))
    if count != layer.kept:
        raise TicketError(f"the layer {layer.name} should keep {layer.kept} weights, its masks keep {count}")
    return kept


def union(masks: list[Mask]) -> Mask:
    """Return what at least one of the masks keeps."""
    return masks[0] if len(masks) == 1 else functools.reduce(np.bitwise_or, masks)


def along_axis(use: Use, shape: tuple[int, ...], gates: Mask) -> Mask:
    """Return the gates of an axis, each repeated, in a shape that broadcasts to the layer's."""
    assert use.axis is not None
    lengths = [1] * len(shape)
    lengths[use.axis] = shape[use.axis]
    return np.repeat(gates, use.repeat).reshape(lengths)


def _coat_mask(layer: Layer, coat: Coat, origin: SeedRecipe) -> Mask:
    kept: Mask | None = None
    for use in coat.uses:
        count = layer.size if use.axis is None else layer.shape[use.axis] // use.repeat
        fixed = prng.fixed_gates(origin.seed, layer.name, count, origin.freeze) if use.fixed else None
        if use.axis is None:
            free = None if kept is None else kept.ravel()
            return open_gates(use.mask, count, fixed, free).reshape(layer.shape)
        kept = np.ones(layer.shape, np.bool_) if kept is None else kept
        kept &= along_axis(use, layer.shape, open_gates(use.mask, count, fixed))
    return np.ones(layer.shape, np.bool_) if kept is None else kept


def _decode(mask: CodedMask, count: int) -> Mask:
    if mask.gates != count:
        raise TicketError(f"a mask should have {count} coded gates, it has {mask.gates}")
    return codecs.CODECS[mask.codec].decode(np.frombuffer(mask.code, np.uint8), mask.gates, mask.open)
