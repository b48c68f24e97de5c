"""Weights inside an ONNX graph: model-local functions that regenerate them from the seed and a coded mask.

onnxruntime inlines such functions and folds them while it loads a model, because all their inputs are constants and all
their shapes are static; what it then runs is the plain dense graph. Only standard operators are used, in forms that its
CPU kernels have had since opset 18. Words are computed in int64, where no product of two of them overflows.

A gated tensor is three nodes: its mask (`RawMask` or `RiceMask`), its values (`Signs` or `Uniform`), and `Masked`,
which joins them; a frozen embedding is its values and `Shaped`. Masks and values travel as rows of eight, one row for
each packed byte; the last row may be longer than the tensor. What differs from tensor to tensor stands in attributes,
which take fewer bytes than constants would.
"""

import math

import numpy as np
import numpy.typing as npt
from onnx import AttributeProto, FunctionProto, NodeProto, TensorProto, helper, numpy_helper, parser

from slt_compress import bits, seeding

DOMAIN = "slt_compress"
TABLE = "slt.bits"  # initializer: uint8 [256, 8], row b holds the bits of b, the lowest first

Mask = npt.NDArray[np.bool_]
Part = tuple[list[NodeProto], list[TensorProto]]  # nodes and initializers to be added to a graph

_FUNCTIONS = """
Mix (x) => (y) {
  low = Constant <value_int = 4294967295> ()
  shift16 = Constant <value_int = 65536> ()
  shift15 = Constant <value_int = 32768> ()
  multiplier1 = Constant <value_int = 569420461> ()
  multiplier2 = Constant <value_int = 1935289751> ()
  a = Div (x, shift16)
  b = BitwiseXor (x, a)
  c = Mul (b, multiplier1)
  d = BitwiseAnd (c, low)
  e = Div (d, shift15)
  f = BitwiseXor (d, e)
  g = Mul (f, multiplier2)
  h = BitwiseAnd (g, low)
  i = Div (h, shift15)
  y = BitwiseXor (h, i)
}

Words <k0, k1, count> () => (words) {
  zero = Constant <value_int = 0> ()
  one = Constant <value_int = 1> ()
  low = Constant <value_int = 4294967295> ()
  key0 = Constant <value_int: int = @k0> ()
  key1 = Constant <value_int: int = @k1> ()
  end = Constant <value_int: int = @count> ()
  index = Range (zero, end, one)
  shifted = Add (index, key0)
  counter = BitwiseAnd (shifted, low)
  first = slt_compress.Mix (counter)
  keyed = BitwiseXor (first, key1)
  words = slt_compress.Mix (keyed)
}

Signs <k0, k1, count, rows, scale> (table) => (values) {
  zero = Constant <value_ints = [0]> ()
  one = Constant <value_ints = [1]> ()
  flat = Constant <value_ints = [-1]> ()
  divisors = Constant <value_ints = [1, 256, 65536, 16777216]> ()
  byte = Constant <value_int = 255> ()
  end = Constant <value_ints: ints = @rows> ()
  positive = Constant <value_float: float = @scale> ()
  words = slt_compress.Words <k0: int = @k0, k1: int = @k1, count: int = @count> ()
  column = Unsqueeze (words, one)
  shifted = Div (column, divisors)
  quads = BitwiseAnd (shifted, byte)
  padded = Reshape (quads, flat)
  packed = Slice (padded, zero, end)
  negative = Neg (positive)
  is_set = Cast <to = 9> (table)
  signs = Where (is_set, negative, positive)
  values = Gather (signs, packed)
}

Uniform <k0, k1, count, scale> () => (values) {
  low8 = Constant <value_int = 256> ()
  two = Constant <value_int = 2> ()
  centre = Constant <value_int = 16777215> ()
  unit = Constant <value_float = 5.9604644775390625e-08> ()
  factor = Constant <value_float: float = @scale> ()
  eight = Constant <value_ints = [-1, 8]> ()
  words = slt_compress.Words <k0: int = @k0, k1: int = @k1, count: int = @count> ()
  top = Div (words, low8)
  doubled = Mul (top, two)
  centred = Sub (doubled, centre)
  integers = Cast <to = 1> (centred)
  exact = Mul (integers, unit)
  scaled = Mul (exact, factor)
  values = Reshape (scaled, eight)
}

RawMask (code, table) => (mask) {
  index = Cast <to = 6> (code)
  gathered = Gather (table, index)
  mask = Cast <to = 9> (gathered)
}

RiceMask <unary_end, plane_shape, count, powers, quotient, n8, fill> (code, table) => (mask) {
  origin = Constant <value_int = 0> ()
  zero = Constant <value_ints = [0]> ()
  one = Constant <value_ints = [1]> ()
  flat = Constant <value_ints = [-1]> ()
  eight = Constant <value_ints = [-1, 8]> ()
  last = Constant <value_ints = [9223372036854775807]> ()
  merged = Constant <value_ints = [0, -1]> ()
  unary_stop = Constant <value_ints: ints = @unary_end> ()
  planes_by = Constant <value_ints: ints = @plane_shape> ()
  gaps = Constant <value_ints: ints = @count> ()
  power_list = Constant <value_ints: ints = @powers> ()
  power64 = Unsqueeze (power_list, one)
  power = Cast <to = 6> (power64)
  step64 = Constant <value_int: int = @quotient> ()
  step = Cast <to = 6> (step64)
  size = Constant <value_ints: ints = @n8> ()
  size32 = Cast <to = 6> (size)
  fill64 = Constant <value_ints: ints = @fill> ()
  background = Cast <to = 2> (fill64)
  mark64 = Sub (one, fill64)
  mark = Cast <to = 2> (mark64)
  unary = Slice (code, one, unary_stop)
  unary_index = Cast <to = 6> (unary)
  unary_rows = Gather (table, unary_index)
  unary_bits = Reshape (unary_rows, flat)
  ends = Cast <to = 6> (unary_bits)
  length = Shape (ends)
  ending = CumSum <exclusive = 1> (ends, origin)
  one32 = Cast <to = 6> (one)
  each = Expand (one32, length)
  place = CumSum <exclusive = 1> (each, origin)
  planes_flat = Slice (code, unary_stop, last)
  planes = Reshape (planes_flat, planes_by)
  plane_index = Cast <to = 6> (planes)
  plane_rows = Gather (table, plane_index)
  plane_bits = Reshape (plane_rows, merged)
  plane_cut = Slice (plane_bits, zero, gaps, one)
  plane_int = Cast <to = 6> (plane_cut)
  weighted = Mul (plane_int, power)
  remainders = ReduceSum <keepdims = 0> (weighted, zero)
  sums = CumSum (remainders, origin)
  zero32 = Cast <to = 6> (zero)
  sums_padded = Concat <axis = 0> (sums, zero32)
  sum_here = Gather (sums_padded, ending)
  zeros_before = Sub (place, ending)
  quotients = Mul (zeros_before, step)
  gap_sum = Add (quotients, sum_here)
  position = Add (gap_sum, ending)
  is_end = Cast <to = 9> (ends)
  target = Where (is_end, position, size32)
  cells = Add (size, one)
  empty = Expand (background, cells)
  marks = Expand (mark, length)
  scattered = ScatterElements <axis = 0> (empty, target, marks)
  mask_bits = Slice (scattered, zero, size)
  mask_rows = Reshape (mask_bits, eight)
  mask = Cast <to = 9> (mask_rows)
}

Shaped <size, shape> (values) => (tensor) {
  zero = Constant <value_ints = [0]> ()
  flat = Constant <value_ints = [-1]> ()
  end = Constant <value_ints: ints = @size> ()
  dims = Constant <value_ints: ints = @shape> ()
  padded = Reshape (values, flat)
  vector = Slice (padded, zero, end)
  tensor = Reshape (vector, dims)
}

Masked <size, shape> (mask, values) => (weights) {
  nothing = Constant <value_float = 0.0> ()
  rows = Where (mask, values, nothing)
  weights = slt_compress.Shaped <size: ints = @size, shape: ints = @shape> (rows)
}
"""


def functions(opset: int) -> list[FunctionProto]:
    """Return the functions that the nodes of this module call, for a model of this operator set.

    In `RiceMask`, bit j of the unary plane, if it is the i-th one, ends a gap at position (j - i)·2**k + (the sum of
    the remainders up to i) + i; all other bits are sent to a cell behind the last, which is cut off. That keeps every
    shape static: where the ones are would be a dynamic shape, which onnxruntime does not fold.
    """
    header = f'<domain: "{DOMAIN}", opset_import: ["" : {opset}, "{DOMAIN}" : 1]>'
    return [parser.parse_function(f"{header}\n{text}") for text in _FUNCTIONS.strip().split("\n\n")]


def table() -> TensorProto:
    """Return the initializer that all masks and signs are looked up in."""
    return numpy_helper.from_array(
        np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little"), TABLE
    )


def masked(name: str, mask: Mask, values: Part) -> Part:
    """Return what computes the tensor `name`: values (see `signs`, `uniform`) where the mask, in its shape, is true."""
    mask_nodes, codes = coded_mask(f"{name}/mask", mask.ravel())
    value_nodes, constants = values
    join = _node("Masked", [mask_nodes[-1].output[0], value_nodes[-1].output[0]], name)
    _set(join, size=[mask.size], shape=list(mask.shape))
    return [*mask_nodes, *value_nodes, join], [*codes, *constants]


def shaped(name: str, shape: tuple[int, ...], values: Part) -> Part:
    """Return what computes the tensor `name` of this shape from all of its values."""
    nodes, constants = values
    join = _node("Shaped", [nodes[-1].output[0]], name)
    _set(join, size=[math.prod(shape)], shape=list(shape))
    return [*nodes, join], constants


def signs(name: str, seed: int, tensor: str, size: int, scale: float) -> Part:
    """Return what computes ±scale by the sign bits of a tensor, float [ceil(size / 8), 8], as `name`."""
    node = _node("Signs", [TABLE], name)
    k0, k1 = seeding.stream_key(seed, "signs", tensor)
    _set(node, k0=k0, k1=k1, count=-(-size // 32), rows=[-(-size // 8)], scale=scale)
    return [node], []


def uniform(name: str, seed: int, tensor: str, size: int, scale: float) -> Part:
    """Return what computes the uniform values of a tensor, float [ceil(size / 8), 8], as `name`."""
    node = _node("Uniform", [], name)
    k0, k1 = seeding.stream_key(seed, "values", tensor)
    _set(node, k0=k0, k1=k1, count=-(-size // 8) * 8, scale=scale)
    return [node], []


def coded_mask(name: str, mask: Mask) -> Part:
    """Return what decodes a mask of shape (n,) to bool [ceil(n / 8), 8], as `name`, by whichever code is shorter."""
    codec, code = bits.encode(mask, "auto")
    remainder_bits = int(code[0]) & 127 if codec == "rice" else 0
    if not remainder_bits:  # raw, or a rice code without planes, which is no shorter than a few bytes
        codec, code = bits.encode(mask, "raw")
        node = _node("RawMask", [f"{name}/code", TABLE], name)
        return [node], [numpy_helper.from_array(code, f"{name}/code")]
    inverted = bool(code[0] & 128)
    kept = int(np.count_nonzero(mask))
    count = mask.size - kept if inverted else kept
    plane_bytes = -(-count // 8)
    node = _node("RiceMask", [f"{name}/code", TABLE], name)
    _set(
        node,
        unary_end=[code.size - remainder_bits * plane_bytes],
        plane_shape=[remainder_bits, plane_bytes],
        count=[count],
        powers=[1 << bit for bit in range(remainder_bits)],
        quotient=1 << remainder_bits,
        n8=[-(-mask.size // 8) * 8],
        fill=[int(inverted)],
    )
    return [node], [numpy_helper.from_array(code, f"{name}/code")]


def _node(function: str, inputs: list[str], output: str) -> NodeProto:
    return helper.make_node(function, inputs, [output], domain=DOMAIN)


def _set(node: NodeProto, **attributes: float | list[int]) -> None:
    for key, value in attributes.items():
        kind = AttributeProto.INTS if isinstance(value, list) else None
        node.attribute.append(helper.make_attribute(key, value, attr_type=kind))
