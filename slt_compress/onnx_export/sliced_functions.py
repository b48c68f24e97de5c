"""Weights of a network without its dead neurons, inside an ONNX graph: regenerated in full, then cut.

The generator numbers the weights of a whole tensor. So a function makes the signs of all of them, as `weight_functions`
does, and takes the slices that are left. Which these are is a bit for each slice of an axis; tensors that neurons share
share the bits. Dead neurons that stay, to fill tensors up to lengths that runtimes like, are closed by another such
vector. Like the rest, all of this is folded while onnxruntime loads a file.

Weights that have gates of their own are regenerated as in a whole network, and `Slices.taken` cuts them.
"""

import itertools
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


def sources() -> Iterator[str]:
    """Yield the text of every function there is, as `weight_functions` does."""
    yield from _VECTORS.strip().split("\n\n")
    for values, axes, opened, fit in itertools.product(_ENDS, _subsets("01"), _subsets("01"), ("Fit", "Cut")):
        yield _source(values, axes, opened, fit)
    for values, axes, mask, fit, mask_fit in itertools.product(
        _ENDS, _subsets("01"), MASKS, ("Fit", "Cut"), ("Fit", "Cut")
    ):
        yield _source(values, axes, "", fit, mask, mask_fit)


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
        left = mask
        inputs = []
        for axis, indices in sorted(kept.items()):
            left = left.take(indices, axis)
            inputs.append(self._left(indices, mask.shape[axis], nodes, constants))
        attributes: dict[str, float | list[int]] = {
            "shape": list(mask.shape),
            **keys(self.seed, "signs", tensor),
            **({} if scale is None else {"scale": scale}),
        }
        axes = "".join(map(str, sorted(kept)))
        kind, end = "", suffix(mask.size)
        if not left.all():
            vectors = _factors(left)
            if vectors is None:
                kind, code, extra = coded_mask(left)
                constants.append(numpy_helper.from_array(code, f"{name}/code"))
                inputs.append(f"{name}/code")
                attributes |= {"left": list(left.shape), **extra}
                end += f"Mask{suffix(left.size)}"
            else:
                opened = [axis for axis in (0, 1) if not vectors[axis].all()]
                inputs += [self._open(vectors[axis], axis, left.ndim, nodes, constants) for axis in opened]
                kind = f"Open{''.join(map(str, opened))}"
        nodes.append(call(f"Sliced{axes}{kind}{values}{end}", [*inputs, TABLE], name, **attributes))
        return nodes, constants

    def taken(self, whole: str, name: str, kept: Kept, shape: Sequence[int]) -> Part:
        """Return nodes that take what is left of the tensor `whole`, of this shape, as `name`; none if all is."""
        nodes: list[NodeProto] = []
        constants: list[TensorProto] = []
        last = whole
        for count, (axis, indices) in enumerate(sorted(kept.items()), 1):
            left = self._left(indices, shape[axis], nodes, constants)
            target = name if count == len(kept) else f"{name}/axis {axis}"
            nodes.append(helper.make_node("Gather", [last, left], [target], axis=axis))
            last = target
        return nodes, constants

    def _left(
        self, indices: npt.NDArray[np.int64], length: int, nodes: list[NodeProto], constants: list[TensorProto]
    ) -> str:
        """Return the name of the indices of what is left of an axis."""
        bits = np.zeros(length, np.bool_)
        bits[indices] = True
        return self._vector("Left", bits, nodes, constants, left=len(indices))

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


def _source(values: str, axes: str, opened: str, fit: str, mask: str = "", mask_fit: str = "Fit") -> str:
    """Return the text of a function that cuts these axes and closes slices of those, or has a mask for each weight."""
    inputs = [*(f"left{axis}" for axis in axes), *(f"open{axis}" for axis in opened), *(["code"] if mask else [])]
    kind = mask or (f"Open{opened}" if opened else "")
    end = _suffix_of(fit) + (f"Mask{_suffix_of(mask_fit)}" if mask else "")
    attributes = ["shape", "k0", "k1", *(["scale"] if values == "Signs" else [])]
    lines = [
        "count = slt.WordCount <shape: ints = @shape> (table)",
        f"signs = slt.Signs <k0: int = @k0, k1: int = @k1, magnitude = {_MAGNITUDES[values]}> (count, table)",
        f"whole = slt.{fit} <shape: ints = @shape> (signs)",
    ]
    last = "whole"
    for axis in axes:
        lines.append(f"cut{axis} = Gather <axis = {axis}> ({last}, left{axis})")
        last = f"cut{axis}"
    for axis in opened:
        lines.append(f"closed{axis} = BitwiseAnd ({last}, open{axis})")
        last = f"closed{axis}"
    if mask:
        attributes += ["left", *MASK_ATTRIBUTES[mask]]
        lines += [
            "left_count = slt.WordCount <shape: ints = @left> (table)",
            MASKS[mask].replace("(code, count,", "(code, left_count,"),
            f"fitted = slt.{mask_fit} <shape: ints = @left> (mask)",
            f"masked = BitwiseAnd ({last}, fitted)",
        ]
        last = "masked"
    body = "\n  ".join(lines)
    end_of = _ENDS[values].replace("(kept)", f"({last})")
    head = f"Sliced{axes}{kind}{values}{end} <{', '.join(attributes)}> ({', '.join([*inputs, 'table'])}) => (tensor)"
    return f"{head} {{\n  {body}{end_of}\n}}"


def _suffix_of(fit: str) -> str:
    """Return the part of a function's name that says how its words end."""
    return "Cut" if fit == "Cut" else ""


def _subsets(axes: str) -> list[str]:
    return ["".join(chosen) for count in range(len(axes) + 1) for chosen in itertools.combinations(axes, count)]
