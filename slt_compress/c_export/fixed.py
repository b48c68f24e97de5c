"""A network in whole numbers: activations in 8 bits, sums in 32.

A tensor is stored as bytes q that stand for (q - zero)·step, with 0 exactly at `zero`. The grid of a tensor comes from
the smallest and the largest value that it has on calibration images. Where the kept weights of a layer are ±c, its sums
of ±(q - zero) need no multiplication. For each output channel, a multiplier of 31 bits and a shift make of a sum what
is stored, with 16 more bits behind the point until it is rounded; the way of Jacob et al. 2018 (arXiv:1712.05877).

Left out: grids for each channel, and training that would get used to the rounding.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from slt_compress.c_export import reference
from slt_compress.c_export.network import Affine, Layer, Network, Place, Pool
from slt_compress.c_export.reference import POOLED

LEVELS = 255
FRACTION = 16  # bits behind the point of what is rounded to a byte
_MULTIPLIER_BITS = 30
_LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Grid:
    """What the bytes of a tensor stand for: (q - zero)·step."""

    step: float
    zero: int

    @classmethod
    def of(cls, low: float, high: float) -> "Grid":
        """Return the grid from a smallest to a largest value, with 0 in it."""
        low, high = min(low, 0.0), max(high, 0.0)
        step = (high - low) / LEVELS or 1.0
        return cls(step, round(-low / step))

    def byte(self, value: float) -> int:
        """Return the byte of a value, the nearest one that there is."""
        return int(np.clip(np.rint(np.clip(value, -1e30, 1e30) / self.step) + self.zero, 0, LEVELS))


def grids(network: Network, values: Mapping[str, torch.Tensor], batches: Iterable[torch.Tensor]) -> dict[str, Grid]:
    """Return the grid of every tensor of a network, measured on normalised batches (n, …).

    What keeps values as they are, the largest one under a window for example, keeps their grid.
    """
    lows: dict[str, float] = {}
    highs: dict[str, float] = {}

    def watch(name: str, tensor: torch.Tensor) -> torch.Tensor:
        lows[name] = min(lows.get(name, 0.0), float(tensor.min()))
        highs[name] = max(highs.get(name, 0.0), float(tensor.max()))
        return tensor

    with torch.no_grad():
        for batch in batches:
            reference.run(network, values, batch, watch)
    found = {name: Grid.of(lows[name], highs[name]) for name in lows}
    for step in network.steps:
        if isinstance(step, Place) or (isinstance(step, Pool) and step.pooling.kind == "max"):
            found[step.output] = found[network.root(step.inputs[0])]
        if isinstance(step, Layer) and step.pooling and step.pooling.kind == "max":
            found[POOLED + step.output] = found[step.output]
    return found


def multipliers(step: Layer | Affine, source: Grid, result: Grid) -> tuple[npt.NDArray[np.int32], int]:
    """Return for each channel a multiplier and an offset, int32 (channels, 2), and the shift of the whole step.

    A sum s of (q - zero) becomes (s·multiplier >> shift) + offset, in units of 2**-FRACTION of a byte.
    """
    factor = step.factor.astype(np.float64) * source.step / result.step * 2**FRACTION
    offset = step.offset.astype(np.float64) / result.step * 2**FRACTION
    shift = 0
    while shift < _MULTIPLIER_BITS and np.abs(factor).max(initial=0) * 2 ** (shift + 1) < 2**_MULTIPLIER_BITS:
        shift += 1
    pairs = np.stack([np.rint(factor * 2**shift), np.rint(offset)], axis=1)
    return np.clip(pairs, -_LARGEST, _LARGEST).astype(np.int32), shift


def ratio(source: Grid, result: Grid) -> int:
    """Return how many bytes of a result a byte of the source is worth, in units of 2**-FRACTION."""
    return int(min(np.rint(source.step / result.step * 2**FRACTION), _LARGEST))
