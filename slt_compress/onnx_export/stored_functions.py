"""Stored weights inside an ONNX graph: functions, stored in the model, that put each number where the mask keeps it.

The numbers stand in the file as in the ticket: fp32, fp16, int8 or int4, with a scale for each row where they are
whole. In front of them stands one more, zero, which is what dropped weights are. As in `weight_functions`, all inputs
are constants and all shapes static, so that onnxruntime folds the nodes while it loads a file.

    Sparse     a Rice code of what is kept: each bit of its unary plane writes one number, as in `mask_functions`, a
               kept weight its own, and a bit inside a gap a zero
    Whole      no code, and no zero in front: all weights are kept
    Raw, Rice  any other code: of the decoded mask, a cumulative sum counts the kept weights, and each looks its own up

`Sparse` works on as many numbers as there are bits in the unary plane, a fifth of the weights at a density of 0.1. A
session of ResNet-18 then takes 0.6 of the time that it takes with the sum, see docs/stored-weights.md.

Left out: packed types of ONNX, such as int4, which older runtimes do not read.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, numpy_helper

from slt_compress.errors import UnreachableError
from slt_compress.onnx_export.mask_functions import MASK_ATTRIBUTES, MASKS, RICE_POSITIONS, Mask, coded_mask
from slt_compress.onnx_export.sliced_functions import Kept
from slt_compress.onnx_export.weight_functions import MAX_WEIGHTS, TABLE, Part, call, suffix
from slt_compress.ticket.stored import FP16, FP32, INT4, INT8, StoredWeights, nibbles

_KINDS = {FP32: "Numbers", FP16: "Halves", INT8: "Rows", INT4: "Nibbles"}

_UNPACK = """
Unpacked (packed) => (numbers) {
  axis = Constant <value_ints = [1]> ()
  flat = Constant <value_ints = [-1]> ()
  steps64 = Constant <value_ints = [1, 16]> ()
  steps = Cast <to = 6> (steps64)
  sixteen64 = Constant <value_int = 16> ()
  sixteen = Cast <to = 6> (sixteen64)
  levels64 = Constant <value_ints = [0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1]> ()
  levels = Cast <to = 3> (levels64)
  bytes = Cast <to = 6> (packed)
  column = Unsqueeze (bytes, axis)
  shifted = Div (column, steps)
  halves = Mod (shifted, sixteen)
  index = Reshape (halves, flat)
  numbers = Gather (levels, index)
}
"""
_SPARSE = f"""{RICE_POSITIONS}
  dims = Constant <value_ints: ints = @shape> ()
  size = ReduceProd <keepdims = 1> (dims)
  count = Add (ending, ends)
  order = Mul (count, ends)
  written = Gather (numbers, order)
  nothing = Slice (numbers, zero, one)
  empty = Expand (nothing, size)
  scattered = ScatterElements <axis = 0> (empty, position, written)
  placed = Reshape (scattered, dims)"""
_WHOLE = """
  zero = Constant <value_ints = [0]> ()
  dims = Constant <value_ints: ints = @shape> ()
  size = ReduceProd <keepdims = 1> (dims)
  exactly = Slice (numbers, zero, size)
  placed = Reshape (exactly, dims)"""
_COUNTED = """
  count = slt.WordCount <shape: ints = @shape> (table)
  {make_mask}
  fitted = slt.{fit} <shape: ints = @shape> (mask)
  dims = Constant <value_ints: ints = @shape> ()
  flat = Constant <value_ints = [-1]> ()
  nought = Constant <value_int = 0> ()
  wide = Cast <to = 6> (fitted)
  minus = Reshape (wide, flat)
  counted = CumSum (minus, nought)
  order = Mul (counted, minus)
  spread = Gather (numbers, order)
  placed = Reshape (spread, dims)"""
_SCALED = """
  units = Cast <to = 1> (placed)
  tensor = Mul (units, scales)"""
# By kind: what stands before the numbers are placed, and after.
_ENDS = {
    "Numbers": ("", "\n  tensor = Identity (placed)"),
    "Halves": ("", "\n  tensor = Cast <to = 1> (placed)"),
    "Rows": ("", _SCALED),
    "Nibbles": ("\n  numbers = slt.Unpacked (packed)", _SCALED),
}


@dataclass(frozen=True)
class StoredLayer:
    """The stored weights of a layer, or of what is left of it.

    Attributes:
        type: "fp32", "fp16", "int8" or "int4".
        mask: which weights are kept, in the shape of the layer.
        numbers: those of the kept weights, (kept,) of float32, float16 or int8.
        scales: of each row, float32 (rows,), of int8 and int4.
    """

    type: str
    mask: Mask
    numbers: npt.NDArray[Any]
    scales: npt.NDArray[np.float32] | None = None

    @classmethod
    def of(cls, stored: StoredWeights, mask: Mask, kept: Kept) -> "StoredLayer":
        """Return what is left of the stored weights of a whole layer, whose mask this is. Raises TicketError if the
        mask does not fit.
        """
        numbers, scales = stored.numbers(mask)
        spread = np.zeros(mask.shape, numbers.dtype)
        spread[mask] = numbers
        for axis, indices in kept.items():
            spread, mask = spread.take(indices, axis), mask.take(indices, axis)
            if axis == 0 and scales is not None:
                scales = scales[indices]
        return cls(stored.type, mask, spread[mask], scales)

    def part(self, name: str) -> Part:
        """Return what computes float32 `name`, of the shape of the mask: the weights, zero where it drops them."""
        return _placed(name, _KINDS[self.type], self.mask, self.numbers, self.row_scales)

    @property
    def row_scales(self) -> npt.NDArray[np.float32] | None:
        """The scales in a shape that broadcasts to the layer's."""
        return None if self.scales is None else self.scales.reshape(-1, *[1] * (self.mask.ndim - 1))


def int8_numbers(name: str, values: npt.NDArray[np.int8]) -> Part:
    """Return what computes these values, int8 `name`, many of which are zero."""
    mask = values != 0
    return _placed(name, "Numbers", mask, values[mask], None)


def sources() -> Iterator[str]:
    """Yield the text of every function there is, as `weight_functions` does."""
    yield _UNPACK.strip()
    for kind in _ENDS:
        yield _source("Whole", kind, [], _WHOLE, "")
        yield _source("Sparse", kind, ["k", "unary"], _SPARSE, "")
        for mask, fit in itertools.product(MASKS, ("Fit", "Cut")):
            body = _COUNTED.format(make_mask=MASKS[mask], fit=fit)
            yield _source(mask, kind, MASK_ATTRIBUTES[mask], body, fit.removeprefix("Fit"))


def _placed(
    name: str, kind: str, mask: Mask, numbers: npt.NDArray[Any], scales: npt.NDArray[np.float32] | None
) -> Part:
    """Return the node that computes a tensor, with its mask in the shorter of the two codes.

    Raises UnreachableError if the tensor is too large for the integers that the functions compute with.
    """
    if mask.size > MAX_WEIGHTS:
        raise UnreachableError(
            f"{name} has {mask.size:,} weights, a graph decodes at most {MAX_WEIGHTS:,}; use `weights=dense`"
        )
    constants: dict[str, npt.NDArray[Any]] = {}
    extra: dict[str, int | list[int]] = {}
    code_kind, end = "Whole", ""
    if not mask.all():
        code_kind, constants["code"], extra = coded_mask(mask)
        if code_kind == "Rice" and extra["fill"] == [0]:
            code_kind = "Sparse"
            del extra["fill"]
        else:
            end = suffix(mask.size)
        numbers = np.concatenate([np.zeros(1, numbers.dtype), numbers])
    constants["numbers"] = np.frombuffer(nibbles(numbers), np.uint8) if kind == "Nibbles" else numbers
    if scales is not None:
        constants["scales"] = scales
    inputs = [f"{name}/{constant}" for constant in constants]
    node = call(f"{code_kind}{kind}{end}", [*inputs, TABLE], name, shape=list(mask.shape), **extra)
    initializers: list[TensorProto] = [
        numpy_helper.from_array(values, f"{name}/{constant}") for constant, values in constants.items()
    ]
    return [node], initializers


def _source(mask: str, kind: str, attributes: list[str], body: str, end: str) -> str:
    """Return the text of a function that decodes this kind of mask and puts this kind of numbers into it."""
    before, after = _ENDS[kind]
    code = [] if mask == "Whole" else ["code"]
    inputs = [*code, "packed" if kind == "Nibbles" else "numbers", *(["scales"] if after == _SCALED else []), "table"]
    head = f"{mask}{kind}{end} <{', '.join(['shape', *attributes])}> ({', '.join(inputs)}) => (tensor)"
    return f"{head} {{{before}{body}{after}\n}}"
