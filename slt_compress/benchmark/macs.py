"""Multiply-accumulate operations (MACs) that a run of a graph has computed, from onnxruntime's profile of it.

The profile has the shapes of the operands of every node that has run. So it makes no difference which lengths were
open in the graph, and whether weights are stored, regenerated or quantised.

Counted are convolutions, matrix products, attention and recurrent layers, in fp32 and in 8 bits. Left out: biases,
normalisation, activations and whatever else is done value by value, as is usual.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from math import prod
from pathlib import Path
from typing import Any

Shape = Sequence[int]
Count = Callable[[Sequence[Shape], Shape], int]  # shapes of a node's inputs and of its first output -> MACs


def _convolution(weight: int) -> Count:
    """`weight`: which input has shape (outputs, inputs / groups, …): each output takes a product with all of a row."""
    return lambda inputs, output: prod(output) * prod(inputs[weight][1:])


def _transposed_convolution(inputs: Sequence[Shape], output: Shape) -> int:  # noqa: ARG001
    """Each input is multiplied by all of a row of the weight, (inputs, outputs / groups, …)."""
    return prod(inputs[0]) * prod(inputs[1][1:])


def _gemm(inputs: Sequence[Shape], output: Shape) -> int:
    """A, with rows × inner values, may be transposed."""
    return prod(inputs[0]) * output[-1]


def _product(inputs: Sequence[Shape], output: Shape) -> int:
    return prod(output) * inputs[0][-1]


def _attention(inputs: Sequence[Shape], output: Shape) -> int:
    """Queries by keys, then scores by values: each value of queries and of outputs meets every key."""
    return (prod(inputs[0]) + prod(output)) * inputs[1][-2]


def _recurrent(inputs: Sequence[Shape], output: Shape) -> int:  # noqa: ARG001
    """In each step, each example is multiplied by both matrices, of its input and of its state."""
    steps, examples = inputs[0][:2]
    return steps * examples * (prod(inputs[1]) + prod(inputs[2]))


_COUNTED: dict[str, Count] = {
    **dict.fromkeys(("Conv", "FusedConv", "ConvInteger"), _convolution(1)),
    "QLinearConv": _convolution(3),  # after the scale and zero point of its input
    "ConvTranspose": _transposed_convolution,
    **dict.fromkeys(("Gemm", "FusedGemm", "QGemm"), _gemm),
    **dict.fromkeys(("MatMul", "MatMulInteger", "QLinearMatMul"), _product),
    **dict.fromkeys(("DynamicQuantizeMatMul", "MatMulIntegerToFloat"), _product),
    "Attention": _attention,
    **dict.fromkeys(("RNN", "GRU", "LSTM"), _recurrent),
}
# Operators that multiply matrices in ways that their shapes alone do not tell.
_UNKNOWN = {"DeformConv", "Einsum", "FusedMatMul", "GroupQueryAttention", "MatMulNBits", "MultiHeadAttention"}


def count(events: Iterable[dict[str, Any]]) -> int | None:
    """Return the MACs of the nodes of a profile, None if some of them are not known."""
    total = 0
    for event in events:
        found = event.get("args", {})
        operator = found.get("op_name")
        if operator in _UNKNOWN:
            return None
        if operator not in _COUNTED or "output_type_shape" not in found:
            continue
        inputs, outputs = ([_shape(one) for one in found[f"{side}_type_shape"]] for side in ("input", "output"))
        try:
            total += _COUNTED[operator](inputs, outputs[0])
        except IndexError:  # an operator of another domain that has the same name
            return None
    return total


def count_file(profile: Path) -> int | None:
    """Return what `count` does of a profile's file; None if it is no JSON, as of nodes whose names have quotes."""
    try:
        return count(json.loads(profile.read_text(encoding="utf-8")))
    except ValueError:
        return None


def _shape(described: dict[str, list[int]]) -> Shape:
    """Return the shape of what a profile describes as {type: shape}."""
    return next(iter(described.values()), [])
