"""Masks as bytes: the codecs of the ticket. Arrays in, bytes out, no files and no torch.

A codec is a pair of functions; which one coded a mask is recorded beside it.

`raw` spends one bit a weight, in the bit order `np.unpackbits(..., bitorder="little")` reads.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slt_compress.errors import TicketError

Mask = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Codec:
    """`encode` takes a mask of shape (n,); `decode` takes the code and n, and refuses a code that does not fit."""

    encode: Callable[[Mask], Bytes]
    decode: Callable[[Bytes, int], Mask]


def shannon_bound(size: int, kept: int) -> int:
    """Return the bytes that no code for a random mask of `size` weights at this density can average below: n·H(p)/8."""
    if kept in (0, size):
        return 0
    p = kept / size
    return math.ceil(size * -(p * math.log2(p) + (1 - p) * math.log2(1 - p)) / 8)


def _raw_encode(mask: Mask) -> Bytes:
    return np.packbits(mask, bitorder="little")


def _raw_decode(code: Bytes, size: int) -> Mask:
    expected = -(-size // 8)
    if code.size != expected:
        raise TicketError(f"raw mask of {size} weights needs {expected} bytes, found {code.size}")
    if size % 8 and code[-1] >> (size % 8):
        raise TicketError(f"raw mask of {size} weights has bits set past its end")
    return np.unpackbits(code, count=size, bitorder="little").view(np.bool_)


CODECS = {"raw": Codec(_raw_encode, _raw_decode)}
