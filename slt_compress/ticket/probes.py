"""Probes: two inputs that a file makes from its seed, and what its network computes of them in fp32.

With them, whoever runs an exported file can tell whether their runtime computes it right, without data and without
this package. The inputs cost no bytes. Of large outputs only a few values are kept.

    word(i)  the generator's mixer of (seed + i) mod 2**32; see `prng`, without its keys
    pixels   word >> 24
    reals    (word >> 8) / 2**22 - 2, from -2 to 2
    others   word >> 31, so 0 or 1, which every table of embeddings has

Words are numbered through the inputs of the first probe, then through those of the second. Pixels are numbered as
(size, size, channels).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from slt_compress.data.preprocessing import Preprocessing
from slt_compress.errors import TicketError
from slt_compress.prng import mixed
from slt_compress.tasks.record import TensorRecord

PROBES = 2
_VALUES = 10  # of a probe that are kept, over all outputs, but at least one of each
_DIGITS = 5  # of a kept value

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class OutputProbe:
    """What is kept of an output.

    Attributes:
        largest: its largest magnitude in all probes, which differences are measured by.
        values: for each probe, n values that lie evenly in the flat output: those at i·size // n.
    """

    largest: float
    values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Probes:
    """What a file says of its probes.

    Attributes:
        outputs: of the network.
        tolerance: difference from these outputs, as a share of the largest, up to which a form that is not exact is
            right; None for all others.
    """

    outputs: tuple[OutputProbe, ...]
    tolerance: float | None = None

    @classmethod
    def of(cls, found: Sequence[Sequence[Array]], tolerance: float | None = None) -> "Probes | None":
        """Return what is kept of the outputs of each probe, arrays (1, …); None if they are not finite."""
        outputs = []
        for arrays in zip(*found, strict=True):
            flat = [array.astype(np.float64).ravel() for array in arrays]
            if not all(np.isfinite(values).all() for values in flat):
                return None
            count = min(flat[0].size, max(1, _VALUES // len(found[0])))
            largest = _rounded(max(float(np.abs(values).max(initial=0.0)) for values in flat))
            outputs.append(OutputProbe(largest, tuple(_sample(values, count) for values in flat)))
        return cls(tuple(outputs), tolerance)

    def to_json(self) -> dict[str, Any]:
        outputs = [{"largest": one.largest, "values": [list(values) for values in one.values]} for one in self.outputs]
        return {"outputs": outputs, **({} if self.tolerance is None else {"tolerance": self.tolerance})}

    @classmethod
    def from_json(cls, fields: Any) -> "Probes":
        """Read what `to_json` wrote. Raises TicketError for anything else."""
        try:
            found = cls(
                tuple(
                    OutputProbe(_number(one["largest"]), tuple(tuple(map(_number, row)) for row in one["values"]))
                    for one in fields["outputs"]
                ),
                _number(fields["tolerance"]) if "tolerance" in fields else None,
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            found = None
        if found is None or found.to_json() != fields or any(len(one.values) != PROBES for one in found.outputs):
            raise TicketError(f"it should not have {fields!r} as 'probes'"[:300])
        return found


def probe_inputs(seed: int, inputs: Sequence[TensorRecord], pixels: Preprocessing | None) -> list[list[Array]]:
    """Return the inputs of each probe, arrays of a batch of one: of images uint8 (1, channels, size, size)."""
    probes = []
    start = seed
    for _ in range(PROBES):
        arrays: list[Array] = []
        for one in inputs:
            shape = (pixels.size, pixels.size, pixels.channels) if pixels else one.shape
            words = mixed(start, math.prod(shape)).reshape(1, *shape)
            start += words.size
            if pixels:
                arrays.append(np.ascontiguousarray((words >> np.uint32(24)).astype(np.uint8).transpose(0, 3, 1, 2)))
            elif one.dtype.startswith(("float", "bfloat")):
                arrays.append((words >> np.uint32(8)).astype(np.float32) / np.float32(2**22) - np.float32(2))
            else:
                arrays.append((words >> np.uint32(31)).astype(one.dtype))
        probes.append(arrays)
    return probes


def _sample(values: Array, count: int) -> tuple[float, ...]:
    return tuple(_rounded(float(values[index * values.size // count])) for index in range(count))


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError
    number: float = value  # an int stays one, so that `to_json` gives it back
    return number
