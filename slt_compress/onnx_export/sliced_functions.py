"""Weights of a network without its dead neurons, inside an ONNX graph: regenerated in full, then cut.

The generator numbers the weights of a whole tensor, and a word of it has the signs of 32. Where every row begins with a
word, a function makes the words of the rows that are left, and of them those of the columns that are left if these are
whole words, as of linear layers that read channels of images. Elsewhere it makes the signs of all weights, as
`weight_functions` does. Then it takes the slices that are left. Which these are is a bit for each slice of an axis;
tensors that neurons share share the bits. Dead neurons that stay, to fill tensors up to lengths that runtimes like, are
closed by another such vector. Like the rest, all of this is folded while onnxruntime loads a file.

Weights that have gates of their own are regenerated as in a whole network, and `Slices.taken` cuts them.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

from slt_compress.onnx_export.mask_functions import MASK_ATTRIBUTES, MASKS, Mask, coded_mask
from slt_compress.onnx_export.weight_functions import INT8_MAGNITUDE, TABLE, Part, call, keys, suffix

Kept = Mapping[int, npt.NDArray[np.int64]]  # the indices that are left along each axis that is cut

_VECTORS = """
Left <left> (code, table) => (indices) {
  flat = Constant <value_ints = [-1]> ()
  one = Constant <value_ints = [1]> ()
  number = Constant <value_int: int = @left> ()
  count = Reshape (number, one)
  index = Cast <to = 6> (code)
  rows = Gather (table, index)
  bits = Reshape (rows, flat)
  numbers = Cast <to = 1> (bits)
  ones, indices = TopK <axis = 0> (numbers, count)
}

Open <length, shape> (code, table) => (mask) {
  zero = Constant <value_ints = [0]> ()
  flat = Constant <value_ints = [-1]> ()
  end = Constant <value_ints: ints = @length> ()
  dims = Constant <value_ints: ints = @shape> ()
  index = Cast <to = 6> (code)
  rows = Gather (table, index)
  bits = Reshape (rows, flat)
  cut = Slice (bits, zero, end)
  ones = Cast <to = 3> (cut)
  negative = Neg (ones)
  mask = Reshape (negative, dims)
}
"""
_MAGNITUDES = {"Signs": 1, "Int8": INT8_MAGNITUDE}
_ENDS = {
    "Signs": """
  units = Cast <to = 1> (kept)
  factor = Constant <value_float: float = @scale> ()
  tensor = Mul (units, factor)""",
    "Int8": """
  tensor = Identity (kept)""",
}


_WORD = 32  # weights whose signs are in a word of the generator
_OPEN = ("", "Open0", "Open1", "Open01")  # slices of which axes are closed

# How the signs are made that are then cut -> the axes that need not be cut any more: those of the whole tensor, without
# or with bits to spare in its last word; of the rows that are left; of the words that are left of these rows.
_MADE = {"": "", "Cut": "", "Rows": "0", "Words": "01"}


def sources() -> Iterator[str]:
    """Yield the text of every function there is, as `weight_functions` does."""
    yield from _VECTORS.strip().split("\n\n")
    for values, axes in itertools.product(_ENDS, _subsets("01")):
        for made, end in itertools.product((made for made in _MADE if set(_MADE[made]) <= set(axes)), ("", "Cut")):
            yield from (_source(values, axes, made, mask, end) for mask in MASKS)
            if not end:
                yield from (_source(values, axes, made, kind, "") for kind in _OPEN)


@dataclass
class Slices:
    """Makes the cut tensors of one graph, and each vector of bits once.

    Attributes:
        seed: of the generator.
        known: names of the vectors that there are.
    """

    seed: int
    known: dict[tuple[str, bytes], str] = field(default_factory=dict)

    def signs(self, name: str, mask: Mask, kept: Kept, tensor: str, scale: float | None) -> Part:
        """Return what computes `name`: the sign bits of what is left of the tensor, where the mask is true, else 0.

        They are float32 of ±scale, or without a scale int8 of ±`INT8_MAGNITUDE`. The mask has the shape of the whole
        tensor.
        """
        values = "Int8" if scale is None else "Signs"
        nodes: list[NodeProto] = []
        constants: list[TensorProto] = []
        left, shape = mask, list(mask.shape)
        made, words = _made(mask.shape, kept)
        inputs = []
        for axis, indices in sorted(kept.items()):
            left = left.take(indices, axis)
            bits = _bits(indices, mask.shape[axis])
            if str(axis) in _MADE[made]:
                shape[axis] = len(indices)
                bits = words if axis else bits
            inputs.append(self._left(bits, nodes, constants))
        attributes: dict[str, float | list[int]] = {
            "shape": shape,
            **keys(self.seed, "signs", tensor),
            **({"words": len(words)} if _MADE[made] else {}),
            **({} if scale is None else {"scale": scale}),
        }
        kind, end = "", ""
        if not left.all():
            vectors = _factors(left)
            if vectors is None:
                kind, code, extra = coded_mask(left)
                constants.append(numpy_helper.from_array(code, f"{name}/code"))
                inputs.append(f"{name}/code")
                attributes |= {"left": list(left.shape), **extra}
                end = suffix(left.size)
            else:
                opened = [axis for axis in (0, 1) if not vectors[axis].all()]
                inputs += [self._open(vectors[axis], axis, left.ndim, nodes, constants) for axis in opened]
                kind = f"Open{''.join(map(str, opened))}"
        function = _name(values, "".join(map(str, sorted(kept))), made, kind, end)
        nodes.append(call(function, [*inputs, TABLE], name, **attributes))
        return nodes, constants

    def taken(self, whole: str, name: str, kept: Kept, shape: Sequence[int]) -> Part:
        """Return nodes that take what is left of the tensor `whole`, of this shape, as `name`; none if all is."""
        nodes: list[NodeProto] = []
        constants: list[TensorProto] = []
        last = whole
        for count, (axis, indices) in enumerate(sorted(kept.items()), 1):
            left = self._left(_bits(indices, shape[axis]), nodes, constants)
            target = name if count == len(kept) else f"{name}/axis {axis}"
            nodes.append(helper.make_node("Gather", [last, left], [target], axis=axis))
            last = target
        return nodes, constants

    def _left(self, bits: Mask, nodes: list[NodeProto], constants: list[TensorProto]) -> str:
        """Return the name of the indices of the bits that are set."""
        return self._vector("Left", bits, nodes, constants, left=int(bits.sum()))

    def _open(self, opened: Mask, axis: int, rank: int, nodes: list[NodeProto], constants: list[TensorProto]) -> str:
        """Return the name of the mask of an axis."""
        shape = [1] * rank
        shape[axis] = len(opened)
        return self._vector("Open", opened, nodes, constants, length=[len(opened)], shape=shape)

    def _vector(
        self,
        function: str,
        bits: Mask,
        nodes: list[NodeProto],
        constants: list[TensorProto],
        **attributes: int | list[int],
    ) -> str:
        key = f"{function}{attributes}", bits.tobytes()
        if key not in self.known:
            name = self.known[key] = f"{function.lower()}/{len(self.known)}"
            constants.append(numpy_helper.from_array(np.packbits(bits, bitorder="little"), f"{name}/code"))
            nodes.append(call(function, [f"{name}/code", TABLE], name, **attributes))
        return self.known[key]


def _factors(mask: Mask) -> tuple[Mask, Mask] | None:
    """Return one vector for each of the first two axes whose product the mask is, None if there are none such."""
    flat = mask.reshape(*mask.shape[:2], -1)
    rows, columns = (np.asarray(flat.any(others)) for others in ((1, 2), (0, 2)))
    whole = (flat == (rows[:, None] & columns)[:, :, None]).all()
    return (rows, columns) if whole else None


def _made(shape: Sequence[int], kept: Kept) -> tuple[str, Mask]:
    """Return how the signs of a tensor are made, and which words of a row are."""
    row = math.prod(shape[1:])
    words = np.ones(row // _WORD, np.bool_)
    if 0 not in kept or row % _WORD:
        return suffix(math.prod(shape)), words
    if 1 in kept:
        parts = _bits(kept[1], shape[1]).repeat(row // shape[1]).reshape(-1, _WORD)
        first = parts[:, 0]
        if (parts == first[:, None]).all():
            return "Words", first
    return "Rows", words


def _bits(indices: npt.NDArray[np.int64], length: int) -> Mask:
    """Return a vector in which these are set."""
    bits = np.zeros(length, np.bool_)
    bits[indices] = True
    return bits


def _name(values: str, axes: str, made: str, kind: str, end: str) -> str:
    return f"Sliced{axes}{made}{kind}{values}{end}"


def _source(values: str, axes: str, made: str, kind: str, end: str) -> str:
    """Return the text of a function that cuts these axes, and then closes slices of those of `kind`, or has a mask of
    this kind for each weight, whose last word has bits to spare or not.
    """
    opened = kind.removeprefix("Open") if kind not in MASKS else ""
    inputs = [*(f"left{axis}" for axis in axes), *(f"open{axis}" for axis in opened)]
    attributes = ["shape", "k0", "k1", *(["words"] if _MADE[made] else []), *(["scale"] if values == "Signs" else [])]
    part = "part" if made == "Words" else "row"
    if _MADE[made]:
        lines = [
            "row = slt.Row <k0: int = @k0, words: int = @words> (table)",
            *(["part = Gather (row, left1)"] if made == "Words" else []),
            f"words = slt.RowWords <k1: int = @k1, words: int = @words> (left0, {part})",
        ]
    else:
        lines = [
            "count = slt.WordCount <shape: ints = @shape> (table)",
            "words = slt.Words <k0: int = @k0, k1: int = @k1> (count)",
        ]
    lines += [
        f"signs = slt.Signs <magnitude = {_MAGNITUDES[values]}> (words, table)",
        f"made = slt.{'Cut' if made == 'Cut' else 'Fit'} <shape: ints = @shape> (signs)",
    ]
    last = "made"
    for axis in axes:
        if axis not in _MADE[made]:
            lines.append(f"cut{axis} = Gather <axis = {axis}> ({last}, left{axis})")
            last = f"cut{axis}"
    for axis in opened:
        lines.append(f"closed{axis} = BitwiseAnd ({last}, open{axis})")
        last = f"closed{axis}"
    if kind in MASKS:
        inputs.append("code")
        attributes += ["left", *MASK_ATTRIBUTES[kind]]
        lines += [
            "left_count = slt.WordCount <shape: ints = @left> (table)",
            MASKS[kind].replace("(code, count,", "(code, left_count,"),
            f"fitted = slt.{end or 'Fit'} <shape: ints = @left> (mask)",
            f"masked = BitwiseAnd ({last}, fitted)",
        ]
        last = "masked"
    body = "\n  ".join(lines)
    end_of = _ENDS[values].replace("(kept)", f"({last})")
    name = _name(values, axes, made, kind, end)
    return f"{name} <{', '.join(attributes)}> ({', '.join([*inputs, 'table'])}) => (tensor) {{\n  {body}{end_of}\n}}"


def _subsets(axes: str) -> list[str]:
    return ["".join(chosen) for count in range(len(axes) + 1) for chosen in itertools.combinations(axes, count)]
