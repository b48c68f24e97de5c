"""The functions of a portable file: what `weight_functions` computes, from operators that other runtimes compute right.

They are inlined, as few runtimes read functions. So they are for a whole network at once: all words of the generator
lie in one tensor, and all masks of a kind in another.

Runtimes differ in their integers: some shift uint32 as if it had a sign, let `BitwiseXor` saturate, or narrow int64 to
int32. So there are only Add, Mul, Div and Mod of int32, and no number of the generator reaches 2**27. A word is two
halves of 16 bits or four bytes, the lowest first. The exclusive or of two bytes is looked up in a table of 65,536.
Masks and signs are uint8.

OpenVINO folds this as it stands, apart from what depends on `CumSum`, which it runs before the first inputs; there its
Div rounds to the nearest number. So nothing is divided after a `CumSum`.
"""

from onnx import FunctionProto, parser

from slt_compress.onnx_export.weight_functions import DOMAIN

BLOCK = 32  # words of a tensor come in blocks of so many, and a block in the network has one pair of keys
_MULTIPLIERS = (0x21F0AAAD, 0x735A2D97)  # of the generator's mixer, see `prng`

_FUNCTIONS = """
Table () => (bits) {
  zero = Constant <value = int32 {0}> ()
  one = Constant <value = int32 {1}> ()
  two = Constant <value = int32 {2}> ()
  end = Constant <value = int32 {256}> ()
  powers = Constant <value = int32[8] {1, 2, 4, 8, 16, 32, 64, 128}> ()
  last = Constant <value = int64[1] {-1}> ()
  numbers = Range (zero, end, one)
  column = Unsqueeze (numbers, last)
  shifted = Div (column, powers)
  bits = Mod (shifted, two)
}

XorTable (bits) => (table) {
  first = Constant <value = int64[1] {0}> ()
  second = Constant <value = int64[1] {1}> ()
  last = Constant <value = int64[1] {-1}> ()
  two = Constant <value = int32 {2}> ()
  powers = Constant <value = int32[8] {1, 2, 4, 8, 16, 32, 64, 128}> ()
  rows = Unsqueeze (bits, second)
  columns = Unsqueeze (bits, first)
  sums = Add (rows, columns)
  different = Mod (sums, two)
  weighted = Mul (different, powers)
  square = ReduceSum <keepdims = 0> (weighted, last)
  table = Reshape (square, last)
}

Xor (a, b, table) => (y) {
  base = Constant <value = int32 {256}> ()
  high = Mul (a, base)
  index = Add (high, b)
  y = Gather (table, index)
}

Bytes (halves) => (bytes) {
  last = Constant <value = int64[1] {-1}> ()
  units = Constant <value = int32[2] {1, 256}> ()
  base = Constant <value = int32 {256}> ()
  rows = Constant <value = int64[2] {-1, 4}> ()
  column = Unsqueeze (halves, last)
  shifted = Div (column, units)
  pairs = Mod (shifted, base)
  bytes = Reshape (pairs, rows)
}

Product (bytes, factors) => (halves) {
  axis = Constant <value = int64[1] {1}> ()
  last = Constant <value = int64[1] {-1}> ()
  base = Constant <value = int32 {65536}> ()
  swap = Constant <value = int64[2] {1, 0}> ()
  upper = Constant <value = int32[2] {0, 1}> ()
  row = Unsqueeze (bytes, axis)
  terms = Mul (row, factors)
  sums = ReduceSum <keepdims = 0> (terms, last)
  carries = Div (sums, base)
  swapped = Gather <axis = 1> (carries, swap)
  carried = Mul (swapped, upper)
  raised = Add (sums, carried)
  halves = Mod (raised, base)
}

Shift15 (halves, table) => (y) {
  swap = Constant <value = int64[2] {1, 0}> ()
  twice = Constant <value = int32[2] {2, 0}> ()
  half = Constant <value = int32 {32768}> ()
  base = Constant <value = int32 {65536}> ()
  swapped = Gather <axis = 1> (halves, swap)
  doubled = Mul (swapped, twice)
  tops = Div (halves, half)
  added = Add (doubled, tops)
  shifted = Mod (added, base)
  a = slt.Bytes (halves)
  b = slt.Bytes (shifted)
  y = slt.Xor (a, b, table)
}

Mix (x, table) => (y) {
  upper = Constant <value = int64[4] {2, 3, 2, 3}> ()
  low = Constant <value = int32[4] {1, 1, 0, 0}> ()
  factors1 = Constant <value = int32[2, 4] {FACTORS1}> ()
  factors2 = Constant <value = int32[2, 4] {FACTORS2}> ()
  moved = Gather <axis = 1> (x, upper)
  shifted = Mul (moved, low)
  a = slt.Xor (x, shifted, table)
  b = slt.Product (a, factors1)
  c = slt.Shift15 (b, table)
  d = slt.Product (c, factors2)
  y = slt.Shift15 (d, table)
}

Words (keys, starts, end, bits) => (bytes) {
  last = Constant <value = int64[1] {-1}> ()
  zero = Constant <value = int32 {0}> ()
  one = Constant <value = int32 {1}> ()
  many = Constant <value = int32 {BLOCK}> ()
  base = Constant <value = int32 {256}> ()
  powers = Constant <value = int32[4] {1, 256, 65536, 16777216}> ()
  carrying = Constant <value = int32[2, 4] {1, 256, 0, 0, 0, 0, 1, 256}> ()
  rows = Constant <value = int64[2] {-1, 4}> ()
  blocks = Constant <value = int64[3] {-1, BLOCK, 4}> ()
  table = slt.XorTable (bits)
  block = Range (zero, end, one)
  column = Unsqueeze (block, last)
  begun = GreaterOrEqual (column, starts)
  counts = Cast <to = 6> (begun)
  which = ReduceSum <keepdims = 1> (counts, last)
  keys32 = Cast <to = 6> (keys)
  key = Gather (keys32, which)
  key0, key1 = Split <axis = 2, num_outputs = 2> (key)
  offset = Range (zero, many, one)
  begin = Mul (column, many)
  number = Add (begin, offset)
  place = Unsqueeze (number, last)
  shifted = Div (place, powers)
  digits = Mod (shifted, base)
  summed = Add (digits, key0)
  counter_bytes = Reshape (summed, rows)
  counter_halves = slt.Product (counter_bytes, carrying)
  counter = slt.Bytes (counter_halves)
  mixed = slt.Mix (counter, table)
  mixed_blocks = Reshape (mixed, blocks)
  keyed = slt.Xor (mixed_blocks, key1, table)
  keyed_rows = Reshape (keyed, rows)
  bytes = slt.Mix (keyed_rows, table)
}

Signs (bytes, bits) => (signs) {
  two = Constant <value = int32 {2}> ()
  flat = Constant <value = int64[1] {-1}> ()
  doubled = Mul (bits, two)
  values = Cast <to = 2> (doubled)
  rows = Gather (values, bytes)
  signs = Reshape (rows, flat)
}

Uniform (bytes) => (values) {
  upper = Constant <value = int32[4] {0, 1, 256, 65536}> ()
  two = Constant <value = int32 {2}> ()
  centre = Constant <value = int32 {16777215}> ()
  unit = Constant <value = float {5.9604644775390625e-08}> ()
  last = Constant <value = int64[1] {-1}> ()
  weighted = Mul (bytes, upper)
  top = ReduceSum <keepdims = 0> (weighted, last)
  doubled = Mul (top, two)
  centred = Sub (doubled, centre)
  integers = Cast <to = 1> (centred)
  values = Mul (integers, unit)
}

Unpacked (packed) => (numbers) {
  last = Constant <value = int64[1] {-1}> ()
  steps = Constant <value = int32[2] {1, 16}> ()
  base = Constant <value = int32 {16}> ()
  half = Constant <value = int32 {8}> ()
  bytes = Cast <to = 6> (packed)
  column = Unsqueeze (bytes, last)
  shifted = Div (column, steps)
  pairs = Mod (shifted, base)
  unsigned = Reshape (pairs, last)
  raised = Add (unsigned, half)
  turned = Mod (raised, base)
  signed = Sub (turned, half)
  numbers = Cast <to = 1> (signed)
}

RawMask (code, bits) => (mask) {
  flat = Constant <value = int64[1] {-1}> ()
  is_set = Cast <to = 9> (bits)
  index = Cast <to = 6> (code)
  rows = Gather (is_set, index)
  mask = Reshape (rows, flat)
}

RiceMask (unary, length, planes, powers, start, stop, step, background, mark, cells, bits) => (mask) {
  nought = Constant <value = int64 {0}> ()
  zero = Constant <value = int64[1] {0}> ()
  axis = Constant <value = int64[1] {1}> ()
  flat = Constant <value = int64[1] {-1}> ()
  unary_index = Cast <to = 6> (unary)
  unary_rows = Gather (bits, unary_index)
  unary_flat = Reshape (unary_rows, flat)
  ends = Slice (unary_flat, zero, length)
  ending = CumSum <exclusive = 1> (ends, nought)
  plane_index = Cast <to = 6> (planes)
  plane_bits = Gather (bits, plane_index)
  weighted = Mul (plane_bits, powers)
  eights = ReduceSum <keepdims = 0> (weighted, axis)
  remainders = Reshape (eights, flat)
  adjusted = Sub (remainders, start)
  sums = CumSum (adjusted, nought)
  sum_here = Gather (sums, ending)
  place = Range (start, stop, step)
  position = Add (place, sum_here)
  pair = Concat <axis = 0> (background, mark)
  marks = Gather (pair, ends)
  empty = Expand (background, cells)
  scattered = ScatterElements <axis = 0> (empty, position, marks)
  mask = Cast <to = 9> (scattered)
}
"""


def functions(opset: int) -> list[FunctionProto]:
    """Return all functions, for a model of this opset.

    `Words` takes the keys of the tensors, uint8 [tensors, 8], the blocks at which all but the first of them start, and
    the number of blocks. It gives words as int32 bytes of shape (words, 4). `RiceMask` works as in `mask_functions`.
    `Unpacked` gives the signed numbers of four bits in each half of a byte as float32.
    """
    text = _FUNCTIONS.replace("BLOCK", str(BLOCK))
    for index, multiplier in enumerate(_MULTIPLIERS, 1):
        text = text.replace(f"FACTORS{index}", ", ".join(map(str, _factors(multiplier))))
    header = f'<domain: "{DOMAIN}", opset_import: ["" : {opset}, "{DOMAIN}" : 1]>'
    return [parser.parse_function(f"{header}\n{function}") for function in text.strip().split("\n\n")]


def _factors(multiplier: int) -> list[int]:
    """Return what the bytes of a word are multiplied by for the lower and the upper half of the product.

    Byte i adds its product with 2**(8·i) times the multiplier, of which the lower 32 bits count. The upper half also
    gets what the lower one has above 16 bits. Both sums stay below 2**26.
    """
    halves = [multiplier >> shift & 0xFFFF for shift in (0, 8, 16)]
    last = (multiplier & 0xFF) << 8
    return [halves[0], last, 0, 0, halves[2], halves[1], halves[0], last]
