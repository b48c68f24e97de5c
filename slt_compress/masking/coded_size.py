"""How many bytes the masks of a search take, and at which density they take as many as asked for."""

import math
from collections.abc import Callable, Sequence

import torch

from slt_compress.masking import codecs
from slt_compress.masking.gates import Gates

FULLEST = 0.5  # the share of open gates at which a mask takes the most bytes: beyond it, it gets shorter again
_CLOSE = 2e-4  # of a density: a difference that is not worth another try
_HALVINGS = 40  # of a density, by bisection: far more than a float32 tells apart


def coded_bytes(gates: Gates, mask: torch.Tensor, codec: str) -> int:
    """Return the bytes of a mask, flat bool: those of each slot's searchable gates, coded one after the other."""
    parts = zip(gates.split(mask), gates.split(gates.searchable), strict=True)
    return sum(codecs.encode(part[free].cpu().numpy(), codec)[1].size for part, free in parts)


def open_counts(gates: Gates, mask: torch.Tensor) -> tuple[list[int], list[int]]:
    """Return of each slot how many gates can be searched, and how many of these a mask, flat bool, opens."""
    free = gates.searchable
    sizes = [int(part.sum()) for part in gates.split(free)]
    return sizes, [int(part.sum()) for part in gates.split(mask & free)]


def filling_share(sizes: Sequence[int], counts: Sequence[int], room: float) -> float:
    """Return the share of all gates that masks open whose Shannon bounds add up to `room` bytes.

    The open gates are spread over the tensors, of these sizes, in proportion to the counts. A tensor of which more than
    a half is open counts as if it was half, so that a larger share never takes less. At most `FULLEST`, at
    least one gate.
    """
    total, opened = sum(sizes), sum(counts)

    def kept(share: float) -> list[float]:
        factor = share * total / opened
        return [min(size / 2, count * factor) for size, count in zip(sizes, counts, strict=True)]

    def takes(share: float) -> float:
        return sum(map(_entropy_bytes, sizes, kept(share)))

    least = 1 / total
    if takes(FULLEST) <= room:
        return FULLEST
    return _largest(lambda share: takes(share) <= room, least, FULLEST)


def largest_density(fits: Callable[[float], bool], guess: float, least: float, most: float) -> float:
    """Return about the largest density from `least` to `most` that fits, where all smaller ones do; `least` if none.

    The search begins at a guess, and steps away from it, each time twice as far, until it has passed the end.
    """
    reach = 1.005
    tried = low = high = guess
    if fits(guess):
        while low < most:
            tried = min(most, low * reach)
            if not fits(tried):
                high = tried
                break
            low, reach = tried, reach**2
    else:
        while high > least:
            tried = max(least, high / reach)
            if fits(tried):
                low = tried
                break
            high, reach = tried, reach**2
        else:
            return least
    while low < high * (1 - _CLOSE):
        tried = math.sqrt(low * high)
        low, high = (tried, high) if fits(tried) else (low, tried)
    return low


def _largest(fits: Callable[[float], bool], low: float, high: float) -> float:
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _entropy_bytes(size: int, kept: float) -> float:
    """Return n·H(p)/8, without rounding."""
    if not 0 < kept < size:
        return 0.0
    p = kept / size
    return size * -(p * math.log2(p) + (1 - p) * math.log2(1 - p)) / 8
