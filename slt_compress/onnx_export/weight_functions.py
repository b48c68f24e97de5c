"""Weights inside an ONNX graph: functions, stored in the model, that regenerate them from the seed and a coded mask.

All inputs of such a function are constants, and all shapes in it are static. So onnxruntime inlines and folds it while
it loads a model, and then runs the plain dense graph. Only standard operators are used. The generator's words are
uint32. They are multiplied in int64, where no product overflows; the cast back keeps the low 32 bits.

A gated tensor is one node: `RiceSigns`, `RawUniform` and so on, named after how its mask is coded and how its values
are drawn. What differs from tensor to tensor is an attribute, which takes fewer bytes than a constant. Inside, masks
and signs are int8 of shape (words, 4, 8), with a byte of packed bits in each row. Only the last step makes floats.

onnxruntime keeps every intermediate result until all tensors of a group are folded, see `stages`. So they are few and
of narrow types: 22 bytes a weight with a raw mask, 30 with a Rice code of density 0.1, and 230 with uniform values.
Left out: the initialiser kaiming-normal, for which there are no functions.
"""

import itertools
import math
from collections.abc import Iterable, Iterator

from onnx import AttributeProto, FunctionProto, NodeProto, TensorProto, helper, numpy_helper, parser

from slt_compress import prng
from slt_compress.errors import UnreachableError
from slt_compress.onnx_export import mask_functions
from slt_compress.onnx_export.mask_functions import MASK_ATTRIBUTES, MASKS, Mask, coded_mask

DOMAIN = "slt"
TABLE = "bits"  # uint8 [256, 8]: row b holds the bits of byte b, the lowest first
INT8_MAGNITUDE = 64  # of regenerated int8 weights: two products with a uint8 still fit into int16

Part = tuple[list[NodeProto], list[TensorProto]]  # nodes and initializers to be added to a graph

MAX_WEIGHTS = 2**29  # of a tensor, as places in a Rice code are int32

# Of the generator's counters, int64, its words.
_KEYED = """
  key1_64 = Constant <value_int: int = @k1> ()
  key1 = Cast <to = 12> (key1_64)
  counter = Cast <to = 12> (index)
  first = slt.Mix (counter)
  keyed = BitwiseXor (first, key1)
  words = slt.Mix (keyed)"""

_PRIMITIVES = """
Table () => (table) {
  zero = Constant <value_int = 0> ()
  one = Constant <value_int = 1> ()
  end = Constant <value_int = 256> ()
  powers = Constant <value_ints = [1, 2, 4, 8, 16, 32, 64, 128]> ()
  axis = Constant <value_ints = [1]> ()
  bytes = Range (zero, end, one)
  column = Unsqueeze (bytes, axis)
  shifted = Div (column, powers)
  bits = BitwiseAnd (shifted, one)
  table = Cast <to = 2> (bits)
}

Mix (x) => (y) {
  shift16 = Constant <value_ints = [16]> ()
  shift15 = Constant <value_ints = [15]> ()
  sixteen = Cast <to = 12> (shift16)
  fifteen = Cast <to = 12> (shift15)
  multiplier1 = Constant <value_int = 569420461> ()
  multiplier2 = Constant <value_int = 1935289751> ()
  a = BitShift <direction = "RIGHT"> (x, sixteen)
  b = BitwiseXor (x, a)
  b64 = Cast <to = 7> (b)
  c64 = Mul (b64, multiplier1)
  c = Cast <to = 12> (c64)
  d = BitShift <direction = "RIGHT"> (c, fifteen)
  e = BitwiseXor (c, d)
  e64 = Cast <to = 7> (e)
  f64 = Mul (e64, multiplier2)
  f = Cast <to = 12> (f64)
  g = BitShift <direction = "RIGHT"> (f, fifteen)
  y = BitwiseXor (f, g)
}

Words <k0, k1> (count) => (words) {
  one = Constant <value_int = 1> ()
  key0 = Constant <value_int: int = @k0> ()
  end = Add (key0, count)
  index = Range (key0, end, one)
  <keyed>
}

WordCount <shape> (table) => (count) {
  dims = Constant <value_ints: ints = @shape> ()
  width = Constant <value_int = 32> ()
  bit = ReduceMax <keepdims = 0> (table)
  one = Cast <to = 7> (bit)
  size = ReduceProd <keepdims = 0> (dims)
  last = Sub (size, one)
  whole = Div (last, width)
  count = Add (whole, one)
}

Signs <magnitude> (words, table) => (signs) {
  axis = Constant <value_ints = [1]> ()
  shifts64 = Constant <value_ints = [0, 8, 16, 24]> ()
  shifts = Cast <to = 12> (shifts64)
  byte64 = Constant <value_int = 255> ()
  byte = Cast <to = 12> (byte64)
  positive = Constant <value_int: int = @magnitude> ()
  minus_two = Constant <value_int = -2> ()
  table64 = Cast <to = 7> (table)
  step = Mul (positive, minus_two)
  drop = Mul (table64, step)
  values64 = Add (drop, positive)
  values = Cast <to = 3> (values64)
  column = Unsqueeze (words, axis)
  shifted = BitShift <direction = "RIGHT"> (column, shifts)
  bytes = BitwiseAnd (shifted, byte)
  index = Cast <to = 6> (bytes)
  signs = Gather (values, index)
}

Row <k0, words> (table) => (row) {
  bit = ReduceMax <keepdims = 0> (table)
  one = Cast <to = 7> (bit)
  key0 = Constant <value_int: int = @k0> ()
  width = Constant <value_int: int = @words> ()
  end = Add (key0, width)
  row = Range (key0, end, one)
}

RowWords <k1, words> (rows, row) => (words) {
  width = Constant <value_int: int = @words> ()
  flat = Constant <value_ints = [-1]> ()
  inner = Constant <value_ints = [1]> ()
  starts = Mul (rows, width)
  start = Unsqueeze (starts, inner)
  places = Add (start, row)
  index = Reshape (places, flat)
  <keyed>
}

Uniform <k0, k1, scale> (count) => (values) {
  eight64 = Constant <value_ints = [8]> ()
  eight = Cast <to = 12> (eight64)
  two = Constant <value_int = 2> ()
  centre = Constant <value_int = 16777215> ()
  unit = Constant <value_float = 5.9604644775390625e-08> ()
  factor = Constant <value_float: float = @scale> ()
  width = Constant <value_int = 32> ()
  rows = Constant <value_ints = [-1, 4, 8]> ()
  all = Mul (count, width)
  words = slt.Words <k0: int = @k0, k1: int = @k1> (all)
  top32 = BitShift <direction = "RIGHT"> (words, eight)
  top = Cast <to = 7> (top32)
  doubled = Mul (top, two)
  centred = Sub (doubled, centre)
  integers = Cast <to = 1> (centred)
  exact = Mul (integers, unit)
  scaled = Mul (exact, factor)
  values = Reshape (scaled, rows)
}

Fit <shape> (rows) => (tensor) {
  dims = Constant <value_ints: ints = @shape> ()
  tensor = Reshape (rows, dims)
}

Cut <shape> (rows) => (tensor) {
  dims = Constant <value_ints: ints = @shape> ()
  zero = Constant <value_ints = [0]> ()
  flat = Constant <value_ints = [-1]> ()
  end = ReduceProd <keepdims = 1> (dims)
  vector = Reshape (rows, flat)
  cut = Slice (vector, zero, end)
  tensor = Reshape (cut, dims)
}
""".replace("\n  <keyed>", _KEYED)

# There is a function for each kind of mask, values and end: Fit, or Cut if the last word has bits to spare. Its name is
# that of the mask and the values, and Cut or nothing.
_VALUES = {
    "Signs": """
  words = slt.Words <k0: int = @k0, k1: int = @k1> (count)
  signs = slt.Signs <magnitude = 1> (words, table)
  kept = BitwiseAnd (mask, signs)
  fitted = slt.{fit} <shape: ints = @shape> (kept)
  factor = Constant <value_float: float = @scale> ()
  units = Cast <to = 1> (fitted)
  tensor = Mul (units, factor)""",
    "Int8": f"""
  words = slt.Words <k0: int = @k0, k1: int = @k1> (count)
  signs = slt.Signs <magnitude = {INT8_MAGNITUDE}> (words, table)
  kept = BitwiseAnd (mask, signs)
  tensor = slt.{{fit}} <shape: ints = @shape> (kept)""",
    "Uniform": """
  values = slt.Uniform <k0: int = @k0, k1: int = @k1, scale: float = @scale> (count)
  nothing = Constant <value_float = 0.0> ()
  is_kept = Cast <to = 9> (mask)
  kept = Where (is_kept, values, nothing)
  tensor = slt.{fit} <shape: ints = @shape> (kept)""",
    "Choice": """
  set = Constant <value_float: float = @high> ()
  unset = Constant <value_float: float = @low> ()
  is_set = Cast <to = 9> (mask)
  chosen = Where (is_set, set, unset)
  tensor = slt.{fit} <shape: ints = @shape> (chosen)""",
}
_VALUE_ATTRIBUTES = {"Signs": "k0, k1, scale", "Int8": "k0, k1", "Uniform": "k0, k1, scale", "Choice": "low, high"}
_TENSOR = """
{mask}{values}{suffix} <{mask_attributes}, {value_attributes}> (code, table) => (tensor) {{
  count = slt.WordCount <shape: ints = @shape> (table)
  {make_mask}
  {make_values}
}}"""
_EMBEDDING = """
Embedding{suffix} <k0, k1, scale, shape> (table) => (tensor) {{
  count = slt.WordCount <shape: ints = @shape> (table)
  values = slt.Uniform <k0: int = @k0, k1: int = @k1, scale: float = @scale> (count)
  tensor = slt.{fit} <shape: ints = @shape> (values)
}}"""


def functions(nodes: Iterable[NodeProto], opset: int, further: Iterable[str] = ()) -> list[FunctionProto]:
    """Return the functions that these nodes call, directly or not, for a model of this opset, each behind those that it
    calls: onnx's own evaluator reads them in this order. `further` are texts of functions besides those here.
    """
    header = f'<domain: "{DOMAIN}", opset_import: ["" : {opset}, "{DOMAIN}" : 1]>'
    known = {text.partition(" ")[0]: text for text in (*_sources(), *further)}
    found: dict[str, FunctionProto] = {}

    def add(names: Iterable[str]) -> None:
        for name in sorted(names):
            if name in found:
                continue
            function = parser.parse_function(f"{header}\n{known[name]}")
            add(_called(function.node))
            found[name] = function

    add(_called(nodes))
    return list(found.values())


def _called(nodes: Iterable[NodeProto]) -> set[str]:
    return {node.op_type for node in nodes if node.domain == DOMAIN}


def _sources() -> Iterator[str]:
    """Yield the text of every function there is."""
    yield from _PRIMITIVES.strip().split("\n\n")
    yield from mask_functions.sources()
    for suffix, fit in (("", "Fit"), ("Cut", "Cut")):
        yield _EMBEDDING.strip().format(suffix=suffix, fit=fit)
        for mask, values in itertools.product(MASKS, _VALUES):
            yield _TENSOR.strip().format(
                mask=mask,
                values=values,
                suffix=suffix,
                mask_attributes=", ".join(["shape", *MASK_ATTRIBUTES[mask]]),
                value_attributes=_VALUE_ATTRIBUTES[values],
                make_mask=MASKS[mask],
                make_values=_VALUES[values].strip().format(fit=fit),
            )


def table() -> NodeProto:
    """Return the node that makes `TABLE`, in which masks and signs are looked up. It comes before all other nodes."""
    return call("Table", [], TABLE)


def signs(name: str, mask: Mask, seed: int, tensor: str, scale: float) -> Part:
    """Return what computes float32 `name`: ±scale, by the tensor's sign bits, where the mask is true, else 0.

    The mask has the shape of the tensor, here and below.
    """
    return _coded(name, "Signs", mask, **keys(seed, "signs", tensor), scale=scale)


def int8_signs(name: str, mask: Mask, seed: int, tensor: str) -> Part:
    """Return what computes int8 `name`: as `signs` does, but with `INT8_MAGNITUDE` as the scale."""
    return _coded(name, "Int8", mask, **keys(seed, "signs", tensor))


def uniform(name: str, mask: Mask, seed: int, tensor: str, scale: float) -> Part:
    """Return what computes float32 `name`: the tensor's uniform values times scale where the mask is true, else 0."""
    return _coded(name, "Uniform", mask, **keys(seed, "values", tensor), scale=scale)


def choice(name: str, mask: Mask, low: float, high: float) -> Part:
    """Return what computes float32 `name`: `high` where the mask is true, else `low`."""
    return _coded(name, "Choice", mask, low=low, high=high)


def embedding(name: str, shape: tuple[int, ...], seed: int, tensor: str, scale: float) -> Part:
    """Return what computes float32 `name` of this shape: the tensor's uniform values times scale."""
    function = f"Embedding{suffix(math.prod(shape))}"
    return [call(function, [TABLE], name, **keys(seed, "values", tensor), scale=scale, shape=list(shape))], []


def keys(seed: int, purpose: prng.Purpose, tensor: str) -> dict[str, int]:
    """Return the keys of a tensor's stream, as attributes."""
    return dict(zip(("k0", "k1"), prng.stream_key(seed, purpose, tensor), strict=True))


def _coded(name: str, values: str, mask: Mask, **attributes: float) -> Part:
    """Return the node that computes a masked tensor, and its mask in the shorter of the two codes.

    Raises UnreachableError if the tensor is too large for the integers that the functions compute with.
    """
    if mask.size > MAX_WEIGHTS:
        raise UnreachableError(
            f"{name} has {mask.size:,} weights, a graph regenerates at most {MAX_WEIGHTS:,}; use `weights=dense`"
        )
    kind, code, extra = coded_mask(mask)
    inputs = [f"{name}/code", TABLE]
    node = call(f"{kind}{values}{suffix(mask.size)}", inputs, name, shape=list(mask.shape), **extra, **attributes)
    return [node], [numpy_helper.from_array(code, f"{name}/code")]


def suffix(size: int) -> str:
    """Return "Cut" if the last word of so many weights has bits to spare: the end of a function's name."""
    return "Cut" if size % 32 else ""


def call(function: str, inputs: list[str], output: str, **attributes: float | list[int]) -> NodeProto:
    """Return a node that calls a function."""
    kinds = {key: AttributeProto.INTS if isinstance(value, list) else None for key, value in attributes.items()}
    node = helper.make_node(function, inputs, [output], domain=DOMAIN)
    node.attribute.extend(helper.make_attribute(key, attributes[key], attr_type=kind) for key, kind in kinds.items())
    return node
