"""Coded masks inside an ONNX graph: functions, stored in the model, that decode them; see `weight_functions`.

A decoded mask is int8 of shape (words, 4, 8), with a byte of packed bits in each row, and -1 where a weight is kept.

How a Rice code is read: if bit j of the unary plane is its i-th one, it ends a gap at position
(j - i)·2**k + (sum of the remainders up to i) + i. A cumulative sum gives i for every bit. Zeros of the plane end no
gap; their positions lie inside a gap, and there they write the value that the gap has anyway. So every bit writes
something, and all shapes are static. Picking out the ones would make a dynamic shape, which onnxruntime does not fold.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from slt_compress.masking import codecs

Mask = npt.NDArray[np.bool_]

_MAX_REMAINDER_BITS = 8  # of a Rice code, as their powers are uint8; more would pay only at densities below 0.003

_RAW = """
RawMask (code, count, table) => (mask) {
  rows = Constant <value_ints = [-1, 4]> ()
  positive = Cast <to = 3> (table)
  ones = Neg (positive)
  index = Cast <to = 6> (code)
  shaped = Reshape (index, rows)
  mask = Gather (ones, shaped)
}
"""
# Of a code with the attributes `k` and `unary`: for each bit of the unary plane whether it `ends` a gap, how many bits
# before it do (`ending`), and the `position` that it writes, all int32.
RICE_POSITIONS = """
  zero = Constant <value_ints = [0]> ()
  one = Constant <value_ints = [1]> ()
  flat = Constant <value_ints = [-1]> ()
  eight = Constant <value_ints = [8]> ()
  seven = Constant <value_ints = [7]> ()
  two = Constant <value_int = 2> ()
  nought = Constant <value_int = 0> ()
  unity = Constant <value_int = 1> ()
  last = Constant <value_ints = [9223372036854775807]> ()
  planes = Constant <value_int: int = @k> ()
  unary_bits = Constant <value_ints: ints = @unary> ()
  rounded = Add (unary_bits, seven)
  unary_bytes = Div (rounded, eight)
  unary_end = Add (unary_bytes, one)
  plane_code = Slice (code, unary_end, last)
  plane_count = Unsqueeze (planes, zero)
  by_plane = Concat <axis = 0> (plane_count, flat)
  plane_rows = Reshape (plane_code, by_plane)
  interleaved = Transpose (plane_rows)
  plane_index = Cast <to = 6> (interleaved)
  plane_bits = Gather (table, plane_index)
  exponents = Range (nought, planes, unity)
  powers64 = Pow (two, exponents)
  powers = Cast <to = 2> (powers64)
  power_row = Unsqueeze (powers, zero)
  eights = MatMulInteger (power_row, plane_bits)
  remainders = Reshape (eights, flat)
  step64 = Pow (two, planes)
  less64 = Sub (unity, step64)
  less = Cast <to = 6> (less64)
  adjusted = Add (remainders, less)
  sums = CumSum (adjusted, nought)
  unary_code = Slice (code, one, unary_end)
  unary_index = Cast <to = 6> (unary_code)
  unary_rows = Gather (table, unary_index)
  unary_flat = Reshape (unary_rows, flat)
  unary_cut = Slice (unary_flat, zero, unary_bits)
  ends = Cast <to = 6> (unary_cut)
  ending = CumSum <exclusive = 1> (ends, nought)
  length = Size (ends)
  start64 = Sub (step64, unity)
  span = Mul (length, step64)
  stop64 = Add (start64, span)
  start = Cast <to = 6> (start64)
  stop = Cast <to = 6> (stop64)
  step = Cast <to = 6> (step64)
  place = Range (start, stop, step)
  sum_here = Gather (sums, ending)
  position = Add (place, sum_here)"""
_RICE = f"""
RiceMask <k, unary, fill> (code, count, table) => (mask) {{{RICE_POSITIONS}
  rows = Constant <value_ints = [-1, 4, 8]> ()
  width = Constant <value_ints = [32]> ()
  fill64 = Constant <value_ints: ints = @fill> ()
  background = Cast <to = 3> (fill64)
  inverse64 = Sub (flat, fill64)
  inverse = Cast <to = 3> (inverse64)
  pair = Concat <axis = 0> (background, inverse)
  marks = Gather (pair, ends)
  cells = Mul (count, width)
  empty = Expand (background, cells)
  scattered = ScatterElements <axis = 0> (empty, position, marks)
  mask = Reshape (scattered, rows)
}}
"""

# The kinds of codes: what decodes one in a function, and the attributes of that function that it needs.
MASKS = {
    "Raw": "mask = slt.RawMask (code, count, table)",
    "Rice": """mask = slt.RiceMask <k: int = @k, unary: ints = @unary, fill: ints = @fill>
      (code, count, table)""",
}
MASK_ATTRIBUTES: dict[str, list[str]] = {"Raw": [], "Rice": ["k", "unary", "fill"]}


def sources() -> Iterator[str]:
    """Yield the text of every function there is."""
    yield _RAW.strip()
    yield _RICE.strip()


def coded_mask(mask: Mask) -> tuple[str, npt.NDArray[np.uint8], dict[str, int | list[int]]]:
    """Return the shorter code of a mask: its key in `MASKS`, its bytes, and the attributes that it needs."""
    code = codecs.rice(mask.ravel(), _MAX_REMAINDER_BITS)
    k, inverted = int(code[0]) & 127, bool(code[0] & 128)
    if k and code.size < mask.size // 8:
        places = np.flatnonzero(mask.ravel() != inverted)
        zeros = np.diff(places - np.arange(places.size), prepend=0) >> k
        return "Rice", code, {"k": k, "unary": [places.size + int(zeros.sum())], "fill": [-int(inverted)]}
    packed = np.packbits(mask, bitorder="little")
    raw = np.pad(packed, (0, -packed.size % 4))
    return "Raw", raw, {}
