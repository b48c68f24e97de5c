"""Masks, and with the layout `signs` the signs too, as bytes that C code reads in the order of the weights.

    rice   first gap >> k of the gap before each kept weight, in unary: so many zeros, then a one; filled up to a
           multiple of 32 bits. Then the k low bits of each gap. Bits are from the lowest of a byte on
    gap    the gap in a byte; 255 stands for 255 dropped weights and no kept one
    signs  2·gap + (1 if the weight is negative) in a byte; 254 stands for 127 dropped weights and no kept one

A code ends with a gap that leads at least to the first weight behind the tensor, so that whoever reads it needs no
count. Where all weights are kept, `gap` is one byte and `rice` one word of ones, to be read again and again. Else, with
k = 0, rice is the mask itself, a bit for each weight. Unlike in a ticket, the low bits of a gap stand together: C code
takes one gap after the other. That the unary parts stand apart makes it quick: where the low bits of a gap are does not
depend on the gaps before.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

MAX_REMAINDER_BITS = 24  # that a reader of four bytes finds behind any bit
STEP = {"rice": 4, "gap": 1}  # bytes that are read at once
LONGEST = {"gap": 255, "signs": 127}  # dropped weights that a byte stands for


def gaps(mask: Mask) -> npt.NDArray[np.int64]:
    """Return the number of dropped weights before each kept one of a flat mask, and before the end; int64."""
    places = np.flatnonzero(np.append(mask, True))
    return np.diff(places, prepend=-1) - 1


def rice(mask: Mask) -> tuple[Bytes, int, int]:
    """Return the code of a flat mask, its k, and the number of its bytes before the low bits."""
    if mask.all():
        return np.full(STEP["rice"], 255, np.uint8), 0, STEP["rice"]
    found = gaps(mask)
    bits = [int((found >> k).sum()) + found.size * (k + 1) for k in range(MAX_REMAINDER_BITS + 1)]
    k = bits.index(min(bits))
    ends = np.cumsum((found >> k) + 1) - 1
    unary = np.zeros(-(-(int(ends[-1]) + 1) // 32) * 32, np.bool_)
    unary[ends] = True
    low = (found[:, None] >> np.arange(k)) & 1
    parts = [np.packbits(part, bitorder="little") for part in (unary, low.astype(np.bool_).ravel())]
    return np.concatenate(parts), k, parts[0].size


def gap_bytes(mask: Mask) -> Bytes:
    """Return the layout `gap` of a flat mask."""
    if mask.all():
        return np.zeros(STEP["gap"], np.uint8)
    return _with_skips(gaps(mask), LONGEST["gap"], lambda rest: rest)


def signed_bytes(mask: Mask, negative: Mask) -> Bytes:
    """Return the layout `signs` of a flat mask, and of which weights are negative."""
    signs = np.append(negative[mask], False)
    return _with_skips(gaps(mask), LONGEST["signs"], lambda rest: 2 * rest + signs)


def _with_skips(
    found: npt.NDArray[np.int64], longest: int, coded: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]]
) -> Bytes:
    """Return the bytes of gaps, each behind as many bytes for `longest` dropped weights as it needs."""
    skips, rest = np.divmod(found, longest)
    places = np.cumsum(skips + 1) - 1
    out = np.full(int(places[-1]) + 1, 255 if longest == LONGEST["gap"] else 254, np.uint8)
    out[places] = coded(rest)
    return out
