"""Numbers as a ticket stores them: float32 arrays to bytes and back, in types of 32 to 4 bits. Arrays in, bytes out.

    fp32, fp16       a little-endian number each
    uint8            low and high as float32, then a byte q each: low + (high - low)·q/255
    uint8-squared    the same, squared: for variances, which an error of the root changes by less
    int8, int4       a positive float32 scale for each row, then a signed q each: scale·q; int4 two to a byte

The values of `uint8` are computed in float64 and rounded to float32 once. Those of `int8` and `int4` are one product in
float32.
"""

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from slt_compress.errors import TicketError, UnreachableError
from slt_compress.ticket import scales

FP32, FP16, UINT8, UINT8_SQUARED, INT8, INT4 = "fp32", "fp16", "uint8", "uint8-squared", "int8", "int4"

Floats = npt.NDArray[np.float32]

PARAMETER_TYPES = (FP32, FP16)
BUFFER_TYPES = (FP32, FP16, UINT8, UINT8_SQUARED)
WEIGHT_TYPES = (FP32, FP16, INT8, INT4)

_FLOATS: dict[str, np.dtype[Any]] = {FP32: np.dtype("<f4"), FP16: np.dtype("<f2")}
_RANGE_BYTES = 8  # low and high, or nothing where a type has no range
_MOST = {INT8: 127, INT4: 7}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a ticket that is neither generated nor gated.

    Attributes:
        type: "fp32", "fp16", "uint8" or "uint8-squared".
        shape: of the tensor.
        data: its bytes.
    """

    type: str
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, values: npt.ArrayLike, type: str = FP32) -> "StoredTensor":  # noqa: A002, as it is stored
        """Round values to a type.

        Raises UnreachableError if they do not fit into it, TicketError if one is NaN, ValueError for an unknown type.
        """
        if type not in BUFFER_TYPES:
            raise ValueError(f"a tensor is stored as {', '.join(BUFFER_TYPES)}, not as {type!r}")
        array = np.asarray(values, np.float32)
        if np.isnan(array).any():
            raise TicketError("a value to be stored is not a number")
        encoded = _rounded(array.ravel(), type).tobytes() if type in _FLOATS else _encode_bytes(array.ravel(), type)
        return cls(type, array.shape, encoded)

    def values(self) -> Floats:
        """Return float32 in the tensor's shape. Raises TicketError for values that `of` would not have stored."""
        count = math.prod(self.shape)
        if len(self.data) != stored_bytes(self.type, count):
            raise TicketError(f"{count} values as {self.type} do not take {len(self.data)} bytes")
        if self.type in _FLOATS:
            stored = np.frombuffer(self.data, _FLOATS[self.type])
            if np.isnan(stored).any():
                raise TicketError("a stored value is not a number")
            return stored.astype(np.float32).reshape(self.shape)
        return _decode_bytes(self.data, squared=self.type == UINT8_SQUARED).reshape(self.shape)


def stored_bytes(type: str, count: int) -> int:  # noqa: A002, as it is stored
    """Return the bytes that `count` values take."""
    return count * _FLOATS[type].itemsize if type in _FLOATS else _RANGE_BYTES + count


def _rounded(values: Floats, kind: str) -> npt.NDArray[Any]:
    """Return float32 (n,) as little-endian fp32 or fp16."""
    if kind == FP16:
        largest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
        if largest > float(np.finfo(np.float16).max):
            raise UnreachableError(f"a value of {largest:.3g} does not fit into fp16; use fp32")
    return values.astype(_FLOATS[kind])


def _encode_bytes(values: Floats, kind: str) -> bytes:
    """Return float32 (n,) as low, high and a byte each."""
    if not np.isfinite(values).all() or (kind == UINT8_SQUARED and (values < 0).any()):
        raise UnreachableError(f"values that are not finite, or negative variances, do not fit into {kind}; use fp32")
    exact = values.astype(np.float64)
    if kind == UINT8_SQUARED:
        exact = np.sqrt(exact)
    low, high = (np.float32(end) for end in ((exact.min(), exact.max()) if exact.size else (0, 0)))
    span = float(high) - float(low)
    places = np.rint((exact - float(low)) * (255 / span)) if span else np.zeros(exact.size)
    return np.array([low, high], "<f4").tobytes() + places.clip(0, 255).astype(np.uint8).tobytes()


def _decode_bytes(data: bytes, *, squared: bool) -> Floats:
    low, high = struct.unpack_from("<ff", data)
    most = float(np.finfo(np.float32).max)
    if not (0 <= low <= high and high * high <= most if squared else -most <= low <= high <= most):
        raise TicketError(f"8-bit values cannot lie between {low:g} and {high:g}")
    values: npt.NDArray[np.float64] = low + (high - low) * np.frombuffer(data[_RANGE_BYTES:], np.uint8) / 255
    return (values * values if squared else values).astype(np.float32)


def weight_bytes(type: str, rows: int, kept: int) -> int:  # noqa: A002, as it is stored
    """Return the bytes of `kept` stored weights of a tensor with `rows` indices along its first axis."""
    if type in _FLOATS:
        return kept * _FLOATS[type].itemsize
    return 4 * rows + (kept if type == INT8 else -(-kept // 2))


@dataclass(frozen=True)
class StoredWeights:
    """The weights of a layer that a mask keeps, where they are stored instead of generated.

    Attributes:
        type: "fp32", "fp16", "int8" or "int4".
        data: their bytes.
    """

    type: str
    data: bytes

    @classmethod
    def of(cls, weights: npt.ArrayLike, mask: npt.NDArray[np.bool_], type: str) -> "StoredWeights":  # noqa: A002
        """Round the weights that a mask of their shape keeps to a type; int8 and int4 with a scale for each row, such
        that little is lost, see `scales`.

        Raises UnreachableError if they do not fit into it, TicketError if one is not finite, ValueError for an unknown
        type.
        """
        if type not in WEIGHT_TYPES:
            raise ValueError(f"weights are stored as {', '.join(WEIGHT_TYPES)}, not as {type!r}")
        array = np.where(mask, np.asarray(weights, np.float32), np.float32(0))
        if not np.isfinite(array).all():
            raise TicketError("weights to be stored must be finite")
        if type in _FLOATS:
            kept = _rounded(array[mask], type)
            kept[kept == 0] = 0  # never minus zero
            return cls(type, kept.tobytes())
        rows = np.nonzero(mask.reshape(len(mask), -1))[0]
        found, numbers = scales.quantised(array[mask], rows, len(mask), _MOST[type])
        return cls(type, found.astype("<f4").tobytes() + (numbers.tobytes() if type == INT8 else nibbles(numbers)))

    def numbers(self, mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[Any], Floats | None]:
        """Return the number stored for each kept weight, (kept,) of float32, float16 or int8, and with int8 and int4
        the scale of each row, float32 (rows,).

        Raises TicketError for values that `of` would not have stored, or for another number of them.
        """
        kept = int(np.count_nonzero(mask))
        if len(self.data) != weight_bytes(self.type, len(mask), kept):
            raise TicketError(f"{kept} weights as {self.type} do not take {len(self.data)} bytes")
        if self.type in _FLOATS:
            return np.frombuffer(self.data, _FLOATS[self.type]), None
        found, data = np.frombuffer(self.data, "<f4", len(mask)), self.data[4 * len(mask) :]
        numbers = np.frombuffer(data, np.int8) if self.type == INT8 else _from_nibbles(data, kept)
        if not (np.isfinite(found) & (found > 0)).all() or (numbers < -_MOST[self.type]).any():
            raise TicketError(f"stored weights have a scale or a number that {self.type} has not")
        return numbers, found

    def weights(self, mask: npt.NDArray[np.bool_]) -> Floats:
        """Return float32 in the shape of the mask, zero where it drops.

        Raises TicketError for values that `of` would not have stored, or for another number of them.
        """
        found = np.zeros(mask.shape, np.float32)
        values, row_scales = self.numbers(mask)
        if row_scales is not None:
            counts = np.count_nonzero(mask.reshape(len(mask), -1), axis=1)
            with np.errstate(over="ignore"):  # infinity is refused below
                values = np.repeat(row_scales, counts) * values.astype(np.float32)
        if not np.isfinite(values).all() or np.signbit(values[values == 0]).any():
            raise TicketError("a stored weight is not finite, or minus zero")
        found[mask] = values.astype(np.float32)
        return found


def nibbles(numbers: npt.NDArray[np.int8]) -> bytes:
    """Return numbers from -7 to 7, int8 (n,), two to a byte, the first in the low half."""
    halves = np.zeros(-(-numbers.size // 2) * 2, np.uint8)
    halves[: numbers.size] = numbers.view(np.uint8) & 15
    return (halves[::2] | halves[1::2] << 4).astype(np.uint8).tobytes()


def _from_nibbles(data: bytes, count: int) -> npt.NDArray[np.int8]:
    packed = np.frombuffer(data, np.uint8)
    halves = np.stack([packed & 15, packed >> 4], axis=1).ravel()
    if halves[count:].any():
        raise TicketError("stored weights have bits set past their end")
    return ((halves[:count] ^ 8).astype(np.int8) - 8).astype(np.int8)
