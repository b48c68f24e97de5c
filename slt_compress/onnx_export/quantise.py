"""A dense graph whose gated weights are ternary, turned into one that computes in 8 bits.

onnxruntime's own quantisation tools do it, in one of two ways:

- Convolutional networks are quantised statically. Activations become uint8, with ranges measured on calibration
  images. Weights become int8 with a scale for each output channel. The BatchNorm behind a layer is first folded into
  its weights and bias.
- Networks with attention are quantised dynamically: each matrix product measures the range of its activations when it
  runs.

A ternary weight needs no rounding: it is -m, 0 or m times a scale. The tools' "reduced range" makes m = 64. Then the
sum of two products of a weight and a uint8 fits into int16, so it is exact on processors without dot-product
instructions too.

Weights that are whole numbers times a scale for each row, as tickets store int8 and int4, are not rounded a second
time: their numbers and scales are taken as they are. A BatchNorm that is folded in changes the scale of a row, and
where it is negative the signs of its numbers. Numbers beyond 64, of int8, are exact on processors with dot-product
instructions; on others the sum of two large products may be cut to int16, which onnxruntime's option
`session.x64quantprecision` avoids.

Left out: training or fine-tuning for 8 bits, and layers that the tools do not quantise. Those stay in float32.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, numpy_helper

from slt_compress.data.batches import Tensors
from slt_compress.evaluation.onnxruntime_backend import as_feeds
from slt_compress.models.quiet import quiet
from slt_compress.onnx_export import shrink

Array = npt.NDArray[Any]

_FOLDABLE = {"Conv", "Gemm"}  # operators with weights of shape (outputs, …), which can take up a BatchNorm behind them


def is_static(model: onnx.ModelProto) -> bool:
    """Return whether a graph is quantised statically: no MatMul in it multiplies activations by activations."""
    constants = {tensor.name for tensor in model.graph.initializer}
    made = {name for node in model.graph.node if constants.issuperset(node.input) for name in node.output}
    return all(node.op_type != "MatMul" or node.input[1] in constants | made for node in model.graph.node)


def quantised(
    model: onnx.ModelProto,
    weights: Iterable[str],
    calibration: Iterable[Tensors],
    scales: Mapping[str, npt.NDArray[np.float32]] = MappingProxyType({}),
) -> tuple[onnx.ModelProto, dict[str, tuple[str, bool]]]:
    """Return a dense model with its matrix products in int8, and where its gated weights are in it.

    `weights` names the initializers that hold gated weights. The second result maps each of them that is now int8 to
    (name of the int8 initializer, whether it is transposed there). `calibration` yields batches for the model's inputs;
    they are read only if the model is quantised statically. `scales` are those of the rows of weights that are whole
    numbers from -127 to 127 times these, float32 (rows,) by name: where the tools take a scale for each row, they get
    these.
    """
    from onnxruntime import quantization

    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    static = is_static(model)
    factors = _fold_normalisation(prepared) if static else {}
    transposed = _fold_transposes(prepared, of_gemm=not static)
    shrink.drop_unused(prepared)
    folded = {name: rows * np.abs(factors.get(name, np.float32(1))) for name, rows in scales.items()}
    exact = _overrides(prepared, folded, transposed)
    with tempfile.TemporaryDirectory() as folder, quiet():
        target = Path(folder) / "int8.onnx"
        if static:
            quantization.quantize_static(
                prepared,
                target,
                _Reader([value.name for value in prepared.graph.input], calibration),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                extra_options={"QDQDisableWeightAdjustForInt32Bias": True, "TensorQuantOverrides": exact},
            )
        else:
            quantization.quantize_dynamic(
                prepared,
                target,
                op_types_to_quantize=["MatMul"],
                per_channel=bool(exact),
                reduce_range=True,
                weight_type=quantization.QuantType.QInt8,
                extra_options={"TensorQuantOverrides": exact},
            )
        found = onnx.load(target)
    del found.graph.value_info[:]  # shapes that the tools have inferred; they would change what onnxruntime fuses
    present = {tensor.name for tensor in found.graph.initializer}
    places = {}
    for name in weights:
        source = transposed.get(name, name)
        if f"{source}_quantized" in present:
            places[name] = (f"{source}_quantized", name in transposed)
    return found, places


def _overrides(
    model: onnx.ModelProto, scales: Mapping[str, npt.NDArray[np.float32]], transposed: Mapping[str, str]
) -> dict[str, list[dict[str, Any]]]:
    """Return the scales of rows as the tools take them, of weights whose rows are the outputs of all that read them."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found = {}
    for name, rows in scales.items():
        source, axis = transposed.get(name, name), int(name in transposed)
        readers = [node for node in model.graph.node if source in node.input]
        if source not in constants or not all(_output_axis(node, source) == axis for node in readers):
            continue
        values = np.moveaxis(numpy_helper.to_array(constants[source]), axis, 0).reshape(len(rows), -1)
        usable = np.where(values.any(axis=1), rows, np.float32(1))  # of nothing, any; a bias has to fit with it
        found[source] = [{"axis": axis, "scale": scale, "zero_point": 0} for scale in usable]
    return found


def _output_axis(node: NodeProto, weight: str) -> int | None:
    """Return along which axis of its weights the outputs of a node lie, None where they have no such axis."""
    if list(node.input).index(weight) != 1 or node.op_type not in {"Conv", "Gemm", "MatMul"}:
        return None
    if node.op_type == "Gemm":
        return 0 if any(attribute.name == "transB" and attribute.i for attribute in node.attribute) else 1
    return int(node.op_type == "MatMul")


class _Reader:
    """Gives onnxruntime's calibrator one batch at a time."""

    def __init__(self, names: Sequence[str], batches: Iterable[Tensors]) -> None:
        self._names = names
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Array] | None:
        batch = next(self._batches, None)
        return None if batch is None else as_feeds(self._names, batch)


def _fold_normalisation(model: onnx.ModelProto) -> dict[str, npt.NDArray[np.float32]]:
    """Multiply the scale of each BatchNorm into the weights of the layer before it, and add the rest to its bias.

    Return what the rows of these weights were multiplied with, float32 (rows,), by name.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    folded, factors = [], dict[str, npt.NDArray[np.float32]]()
    for norm in graph.node:
        maker = makers.get(norm.input[0]) if norm.op_type == "BatchNormalization" else None
        if maker is None or maker.op_type not in _FOLDABLE or len(readers[norm.input[0]]) != 1:
            continue
        if any(name not in constants for name in (maker.input[1], *maker.input[2:], *norm.input[1:])):
            continue
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in maker.attribute}
        if maker.op_type == "Gemm" and not attributes.get("transB"):
            continue
        weight = numpy_helper.to_array(constants[maker.input[1]])
        scale, shift, mean, variance = (numpy_helper.to_array(constants[name]) for name in norm.input[1:])
        epsilon = next((attribute.f for attribute in norm.attribute if attribute.name == "epsilon"), 1e-5)
        factor = scale / np.sqrt(variance + np.float32(epsilon))
        before = numpy_helper.to_array(constants[maker.input[2]]) if len(maker.input) == 3 else 0
        bias = (shift + (before - mean) * factor).astype(np.float32)
        scaled = weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))
        constants[maker.input[1]].CopyFrom(numpy_helper.from_array(scaled, maker.input[1]))
        name = f"{norm.output[0]}/bias"
        graph.initializer.append(numpy_helper.from_array(bias, name))
        maker.input[2:] = [name]
        maker.output[0] = norm.output[0]
        factors[maker.input[1]] = factor.astype(np.float32)
        folded.append(norm)
    for node in folded:
        graph.node.remove(node)
    return factors


def _fold_transposes(model: onnx.ModelProto, *, of_gemm: bool) -> dict[str, str]:
    """Replace each constant matrix that is transposed by its transpose; return the new names by the old ones.

    With `of_gemm`, also the matrices that Gemm transposes: the dynamic tool turns Gemm into MatMul, which cannot.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    renamed = {}
    for node in list(graph.node):
        transposes = [attribute for attribute in node.attribute if attribute.name == "transB" and attribute.i]
        if node.op_type == "Transpose" and node.input[0] in constants and len(constants[node.input[0]].dims) == 2:
            source, target = node.input[0], node.output[0]
            graph.node.remove(node)
        elif of_gemm and node.op_type == "Gemm" and node.input[1] in constants and transposes:
            source = node.input[1]
            target = node.input[1] = f"{source}/transposed"
            node.attribute.remove(transposes[0])
        else:
            continue
        values = np.ascontiguousarray(numpy_helper.to_array(constants[source]).T)
        graph.initializer.append(numpy_helper.from_array(values, target))
        renamed[source] = target
    return renamed
