"""From a traced ONNX graph to a `Network`: BatchNorms are folded, and what follows a layer becomes part of its step.

Left out: every operator that `_READERS` does not name, and what makes a tensor of something else than one image.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, helper, numpy_helper

from slt_compress.c_export.network import (
    Activation,
    Affine,
    Layer,
    Network,
    Place,
    Pool,
    Pooling,
    Shape,
    Step,
    Sum,
    Window,
    size,
)
from slt_compress.c_export.values import Unit
from slt_compress.errors import UnreachableError

_OTHERWISE = "use `format=onnx`, or `format=web` for a page"  # what to do about what C code has no form for
_SUPPORTED = (
    "linear, convolution, BatchNorm, ReLU and its relatives, max and mean pooling, residual sums, flattening, and "
    "shortcuts of zeros"
)


def read(traced: onnx.ModelProto, scales: Mapping[str, Unit]) -> Network:
    """Return the steps of a graph whose first input is the network's and whose other ones are gated weights.

    `scales` gives by name what the numbers of a gated tensor are multiplied with. Raises UnreachableError, with the
    name of the first operator or layer that C code has no form for.
    """
    if len(traced.graph.output) != 1:
        raise UnreachableError(f"C code is for networks with one output, this one has {len(traced.graph.output)}")
    return _Reader(_for_one_image(traced), scales).read()


def _for_one_image(traced: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with a batch of one and the shapes of all tensors."""
    model = onnx.ModelProto()
    model.CopyFrom(traced)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


class _Reader:
    """Reads the nodes in order, and changes the step that a node follows where it can become part of it."""

    def __init__(self, model: onnx.ModelProto, scales: Mapping[str, Unit]) -> None:
        graph = model.graph
        self.nodes = list(graph.node)
        self.scales = scales
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.dims = {
            value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in (*graph.value_info, *graph.input, *graph.output)
        }
        self.source, self.target = graph.input[0].name, graph.output[0].name
        self.readers = Counter(name for node in graph.node for name in node.input)
        self.readers[self.target] += 1
        self.steps: dict[str, Step] = {}
        self.roots: dict[str, str] = {}

    def read(self) -> Network:
        for node in self.nodes:
            if node.op_type not in _READERS:
                raise UnreachableError(
                    f"C code has no {node.op_type} ({node.output[0]}); it has {_SUPPORTED}; {_OTHERWISE}"
                )
            _READERS[node.op_type](self, node)
        shape = self.shape(self.source)
        return Network(
            source=self.source,
            shape=shape,
            target=self.target,
            outputs=size(self.shape(self.target)),
            steps=tuple(self.steps.values()),
            roots=self.roots,
        )

    def shape(self, name: str) -> Shape:
        """Return the shape of a tensor of one image. Raises UnreachableError if it is none."""
        dims = self.dims.get(name, [])
        if not 2 <= len(dims) <= 4 or dims[0] != 1 or 0 in dims:
            raise UnreachableError(
                f"C code computes with images and vectors, {name} has the shape {tuple(dims)}; {_OTHERWISE}"
            )
        channels, *plane = dims[1:]
        height, width = {0: (1, 1), 1: (1, *plane), 2: tuple(plane)}[len(plane)]
        return channels, height, width

    def refuse(self, node: NodeProto, what: str) -> UnreachableError:
        return UnreachableError(f"C code has no {node.op_type} {what} ({node.output[0]}); {_OTHERWISE}")

    def constant(self, node: NodeProto, place: int) -> npt.NDArray[Any]:
        """Return a constant input. Raises UnreachableError if it is computed."""
        if len(node.input) <= place or node.input[place] not in self.constants:
            raise self.refuse(node, "of computed values")
        return self.constants[node.input[place]]

    def add(self, step: Step) -> None:
        self.steps[step.output] = step

    def follow(self, node: NodeProto, step: Step) -> None:
        """Put a changed step in the place of the one that a node follows; its result is now the node's."""
        del self.steps[node.input[0]]
        self.add(replace(step, output=node.output[0]))

    def alone(self, name: str) -> Step | None:
        """Return the step whose output this is, if nothing else reads it."""
        return self.steps.get(name) if self.readers[name] == 1 else None

    # Operators

    def layer(self, node: NodeProto) -> None:
        given = attributes(node)
        source, sums = self.shape(node.input[0]), self.shape(node.output[0])
        weight = node.input[1]
        if weight not in self.scales:
            raise self.refuse(node, "without gated weights from the seed")
        if node.op_type == "Gemm":
            expected = {"alpha": 1, "beta": 1, "transA": 0}
            if not given.get("transB") or any(given.get(name, value) != value for name, value in expected.items()):
                raise self.refuse(node, "that scales or turns its matrices")
            window, groups = Window((1, 1)), 1
            source = (size(source), 1, 1)
        else:
            window, groups = self.window(node), given.get("group", 1)
        outputs = sums[0]
        offset = np.zeros(outputs, np.float32)
        if len(node.input) > 2 and node.input[2]:
            offset = offset + np.broadcast_to(self.constant(node, 2).reshape(-1), (outputs,)).astype(np.float32)
        self.add(
            Layer(
                node.output[0],
                (node.input[0],),
                sums,
                weight,
                source,
                window,
                groups,
                np.full(outputs, self.scales[weight], np.float32),
                offset,
                sums,
            )
        )

    def window(self, node: NodeProto) -> Window:
        """Return how the kernel of a node slides, with a row of its own for a kernel along one axis."""
        given = attributes(node)
        if given.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
            raise self.refuse(node, "with padding that depends on the size")
        kernel = given.get("kernel_shape") or self.dims[node.input[1]][2:]
        axes = len(kernel)
        if axes not in (1, 2):
            raise self.refuse(node, f"over {axes} axes")

        def pair(values: list[int], default: int) -> tuple[int, int]:
            first, second = ([default] * (2 - axes) + list(values))[:2]
            return first, second

        return Window(
            pair(kernel, 1),
            pair(given.get("strides", [1] * axes), 1),
            pair(given.get("pads", [0] * axes)[:axes], 0),
            pair(given.get("dilations", [1] * axes), 1),
        )

    def normalisation(self, node: NodeProto) -> None:
        gamma, beta, mean, variance = (self.constant(node, place).astype(np.float64) for place in range(1, 5))
        factor = gamma / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
        offset = beta - mean * factor
        before = self.alone(node.input[0])
        if isinstance(before, Layer | Affine) and _is_linear(before):
            changed = (before.factor * factor).astype(np.float32), (before.offset * factor + offset).astype(np.float32)
            self.follow(node, replace(before, factor=changed[0], offset=changed[1]))
            return
        shape = self.shape(node.output[0])
        self.add(Affine(node.output[0], (node.input[0],), shape, factor.astype(np.float32), offset.astype(np.float32)))

    def activation(self, node: NodeProto) -> None:
        found = self.activation_of(node)
        before = self.alone(node.input[0])
        if (
            isinstance(before, Layer | Affine | Sum)
            and before.activation.idle
            and not (isinstance(before, Layer) and before.pooling)
        ):
            self.follow(node, replace(before, activation=found))
            return
        shape = self.shape(node.output[0])
        ones, zeros = np.ones(shape[0], np.float32), np.zeros(shape[0], np.float32)
        self.add(Affine(node.output[0], (node.input[0],), shape, ones, zeros, found))

    def activation_of(self, node: NodeProto) -> Activation:
        if node.op_type == "Relu":
            return Activation(low=0.0)
        if node.op_type == "LeakyRelu":
            return Activation(slope=float(attributes(node).get("alpha", 0.01)))
        if node.op_type == "PRelu":
            slopes = np.unique(self.constant(node, 1))
            if slopes.size != 1:
                raise self.refuse(node, "with several slopes")
            return Activation(slope=float(slopes[0]))
        limits = [
            float(self.constant(node, place)) if len(node.input) > place and node.input[place] else fallback
            for place, fallback in ((1, -np.inf), (2, np.inf))
        ]
        return Activation(low=limits[0], high=limits[1])

    def sum(self, node: NodeProto) -> None:
        if any(name in self.constants for name in node.input):
            raise self.refuse(node, "of a constant")
        shape = self.shape(node.output[0])
        if any(self.shape(name) != shape for name in node.input):
            raise self.refuse(node, "of tensors of several shapes")
        order = list(self.steps)
        operands = sorted(node.input, key=lambda name: order.index(name) if name in order else -1)
        for other, name in (operands, reversed(operands)):
            layer = self.alone(name)
            if isinstance(layer, Layer) and _is_linear(layer) and other != name:
                del self.steps[name]  # and run it last, when the other operand is there
                self.add(replace(layer, output=node.output[0], inputs=(*layer.inputs, other)))
                return
        self.add(Sum(node.output[0], tuple(node.input), shape))

    def pooling(self, node: NodeProto) -> None:
        given = attributes(node)
        if len(node.output) > 1 and node.output[1]:
            raise self.refuse(node, "that tells where the largest values are")
        source, result = self.shape(node.input[0]), self.shape(node.output[0])
        kind = "max" if node.op_type == "MaxPool" else "mean"
        window = self.window(node)
        if window.dilation != (1, 1):
            raise self.refuse(node, "with dilation")
        whole = bool(given.get("count_include_pad", 0)) and any(given.get("pads", []))
        if kind == "mean" and given.get("ceil_mode", 0) and whole:
            raise self.refuse(node, "with ceil_mode and count_include_pad")
        self.pool(node, Pooling(kind, window, source, result, whole))

    def mean(self, node: NodeProto) -> None:
        source = self.shape(node.input[0])
        rank = len(self.dims[node.input[0]])
        if node.op_type == "ReduceMean":
            axes = attributes(node).get("axes")
            axes = self.constant(node, 1).tolist() if axes is None and len(node.input) > 1 else axes or []
            if sorted(axis % rank for axis in axes) != list(range(2, rank)) or rank == 2:
                raise self.refuse(node, "but over the planes of an image")
        self.pool(node, Pooling("mean", Window(source[1:]), source, (source[0], 1, 1)))

    def pool(self, node: NodeProto, pooling: Pooling) -> None:
        before = self.alone(node.input[0])
        if isinstance(before, Layer) and not before.pooling and not before.linear:
            self.follow(node, replace(before, pooling=pooling, result=pooling.result))
            return
        self.add(Pool(node.output[0], (node.input[0],), pooling.result, pooling))

    def view(self, node: NodeProto) -> None:
        name, output = node.input[0], node.output[0]
        if size(self.dims[name]) != size(self.dims[output]):
            raise self.refuse(node, "that changes the number of values")
        if self.alone(name) and self.shape(name) == self.shape(output):
            self.follow(node, self.steps[name])
            return
        self.shape(output)
        self.roots[output] = name

    def cut(self, node: NodeProto) -> None:
        """Slice: every n-th row, column or channel."""
        source, result = self.shape(node.input[0]), self.shape(node.output[0])
        rank = len(self.dims[node.input[0]])
        starts, _, axes, steps = (
            self.constant(node, place).tolist() if len(node.input) > place and node.input[place] else []
            for place in range(1, 5)
        )
        axes = [axis % rank for axis in axes] or list(range(len(starts)))
        start, every = [0, 0, 0], [1, 1, 1]
        for axis, first, step in zip(axes, starts, steps or [1] * len(starts), strict=True):
            if axis == 0 or step < 1 or rank != 4:
                raise self.refuse(node, "but of the planes of an image")
            start[axis - 1] = first if first >= 0 else first + source[axis - 1]
            every[axis - 1] = step
        place = Place(
            *(node.output[0], (node.input[0],), result, source),
            *(_triple(start), _triple(every), result, (0, 0, 0)),
        )
        before = self.alone(node.input[0])
        if isinstance(before, Place) and before.before == (0, 0, 0) and before.grid == before.result:
            joined = replace(
                before,
                start=_triple([b + s * e for b, s, e in zip(before.start, start, before.every, strict=True)]),
                every=_triple([a * b for a, b in zip(before.every, every, strict=True)]),
                grid=result,
                result=result,
            )
            self.follow(node, joined)
            return
        self.add(place)

    def pad(self, node: NodeProto) -> None:
        source, result = self.shape(node.input[0]), self.shape(node.output[0])
        amounts = self.constant(node, 1).tolist()
        value = self.constant(node, 2) if len(node.input) > 2 and node.input[2] else np.zeros(1)
        if attributes(node).get("mode", b"constant") != b"constant" or np.any(value != 0) or len(amounts) != 8:
            raise self.refuse(node, "with something else than zeros around an image")
        if amounts[0] or amounts[4] or min(amounts) < 0:
            raise self.refuse(node, "of the batch, or by less than nothing")
        before = self.alone(node.input[0])
        start = _triple(amounts[1:4])
        if isinstance(before, Place) and before.before == (0, 0, 0) and before.grid == before.result:
            self.follow(node, replace(before, before=start, result=result))
            return
        self.add(
            Place(
                *(node.output[0], (node.input[0],), result, source),
                *((0, 0, 0), (1, 1, 1), source, start),
            )
        )


_READERS: dict[str, Callable[[_Reader, NodeProto], None]] = {
    "Conv": _Reader.layer,
    "Gemm": _Reader.layer,
    "BatchNormalization": _Reader.normalisation,
    "Relu": _Reader.activation,
    "LeakyRelu": _Reader.activation,
    "PRelu": _Reader.activation,
    "Clip": _Reader.activation,
    "Add": _Reader.sum,
    "MaxPool": _Reader.pooling,
    "AveragePool": _Reader.pooling,
    "GlobalAveragePool": _Reader.mean,
    "ReduceMean": _Reader.mean,
    "Reshape": _Reader.view,
    "Flatten": _Reader.view,
    "Squeeze": _Reader.view,
    "Unsqueeze": _Reader.view,
    "Identity": _Reader.view,
    "Slice": _Reader.cut,
    "Pad": _Reader.pad,
}


def attributes(node: NodeProto) -> dict[str, Any]:
    """Return the attributes of a node, by name."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _is_linear(step: Layer | Affine) -> bool:
    """Return whether a step does nothing yet after its multiplication and addition."""
    if isinstance(step, Layer) and (step.pooling or len(step.inputs) > 1):
        return False
    return step.activation.idle


def _triple(values: list[int]) -> Shape:
    first, second, third = values
    return first, second, third
