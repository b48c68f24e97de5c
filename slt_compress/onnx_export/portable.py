"""Weights that a graph regenerates under many runtimes, from the operators of `portable_functions`.

Most runtimes read no functions, so they are inlined. If every tensor had its own copy, a file would grow by a tenth.
So all tensors are made together and split in the end:

    keys, one pair a tensor -> words of all tensors -> signs of the layers, values of the embeddings
    masks with the same kind of code, one behind the other -> one code each -> masks

Masks are those of the layers, and constants of two values, such as the attention masks of Swin.

Stored weights are found as `stored_functions` says of codes that are not sparse: a cumulative sum over the mask counts
them. Their numbers stand one behind the other, all of a type in one tensor.

Left out: layers of uniform values, whose words would take a kilobyte of memory for each weight.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.inliner
from onnx import NodeProto, TensorProto, helper, numpy_helper

from slt_compress import prng
from slt_compress.errors import UnreachableError
from slt_compress.onnx_export import shrink
from slt_compress.onnx_export.mask_functions import Mask, coded_mask
from slt_compress.onnx_export.portable_functions import BLOCK, functions
from slt_compress.onnx_export.sliced_functions import Kept
from slt_compress.onnx_export.stored_functions import StoredLayer
from slt_compress.onnx_export.weight_functions import DOMAIN, MAX_WEIGHTS
from slt_compress.ticket.stored import FP32, INT4, nibbles

_WORD = 32  # signs


@dataclass(frozen=True)
class Signed:
    """A layer: ±scale by its sign bits where its mask is true, else 0.

    Attributes:
        mask: of the whole tensor.
        scale: of its weights.
        kept: the indices that are left of it along each axis that is cut.
    """

    mask: Mask
    scale: float
    kept: Kept = field(default_factory=dict)


@dataclass(frozen=True)
class Generated:
    """What a graph regenerates.

    Attributes:
        seed: of the ticket.
        layers: by name.
        embeddings: shapes of uniform values, by name.
        embedding_scale: what these are multiplied by.
        stored: layers whose weights are stored, by name, as far as they are left.
    """

    seed: int
    layers: Mapping[str, Signed]
    embeddings: Mapping[str, tuple[int, ...]]
    embedding_scale: float
    stored: Mapping[str, StoredLayer] = field(default_factory=dict)


def portable(graph: onnx.ModelProto, generated: Generated) -> onnx.ModelProto:
    """Return the graph with what regenerates its inputs of these names, in few bytes.

    Raises UnreachableError if there are more weights than int32 can number.
    """
    sizes = [layer.mask.size for layer in generated.layers.values()]
    if sum([*sizes, *(layer.mask.size for layer in generated.stored.values())]) > MAX_WEIGHTS:
        other = "dense" if generated.stored else "ternary8"
        raise UnreachableError(
            f"a portable graph regenerates at most {MAX_WEIGHTS:,} weights; use `weights={other}`, which other "
            "runtimes read too"
        )
    made = _Builder()
    two_valued = {tensor.name: found for tensor in graph.graph.initializer if (found := shrink.two_valued(tensor))}
    _add_weights(made, generated, two_valued)
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    names = {*generated.layers, *generated.embeddings, *generated.stored}
    inputs = [value for value in graph.graph.input if value.name not in names]
    own = {output for node in made.nodes for output in node.output}
    del model.graph.input[:], model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
    for tensor in graph.graph.initializer:
        if tensor.name not in own:
            nodes, initializers = shrink.shortened(tensor, choices=False)
            made.nodes.extend(nodes)
            model.graph.initializer.extend(initializers)
    model.graph.input.extend(inputs)
    model.graph.node.extend((*made.nodes, *graph.graph.node))
    model.graph.initializer.extend(made.initializers)
    shrink.drop_unused(model)
    model = _inlined(model)
    shrink.tidy(model)
    return model


@dataclass
class _Builder:
    """Nodes and initializers as they are added."""

    nodes: list[NodeProto] = field(default_factory=list)
    initializers: list[TensorProto] = field(default_factory=list)

    def constant(self, name: str, values: Any, dtype: npt.DTypeLike) -> str:
        self.initializers.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def add(self, operator: str, inputs: Sequence[str], *outputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node and return its first output."""
        self.nodes.append(helper.make_node(operator, inputs, outputs, domain=domain, **attributes))
        return outputs[0]

    def call(self, function: str, inputs: Sequence[str], output: str) -> str:
        return self.add(function, inputs, output, domain=DOMAIN)

    def split(self, name: str, pieces: Mapping[str, int], total: int) -> None:
        """Split the first axis of a tensor of this length into pieces of these names and lengths."""
        lengths = [*pieces.values(), total - sum(pieces.values())]
        outputs = [*pieces, f"{name}/rest"]
        if not lengths[-1]:
            del lengths[-1], outputs[-1]
        self.add("Split", [name, self.constant(f"{name}/lengths", lengths, np.int64)], *outputs, axis=0)

    def reshape(self, name: str, shape: Sequence[int], output: str) -> str:
        return self.add("Reshape", [name, self.constant(f"{output}/shape", shape, np.int64)], output)


def _add_weights(made: _Builder, generated: Generated, two_valued: Mapping[str, tuple[Mask, float, float]]) -> None:
    layers = generated.layers
    made.call("Table", [], "bits")
    masks = {name: left for name, layer in layers.items() if not (left := _left(layer)).all()}
    masks |= {name: layer.mask for name, layer in generated.stored.items() if not layer.mask.all()}
    _add_masks(made, masks | {name: mask for name, (mask, _, _) in two_valued.items()})
    if layers or generated.embeddings:
        _add_words(made, generated)
    if generated.stored:
        _add_stored(made, generated.stored, masks)
    made.constant("nothing", 1, np.uint8)
    for name, layer in layers.items():
        _add_layer(made, name, layer, name in masks)
    for name, (mask, low, high) in two_valued.items():
        low_name, high_name = (made.constant(f"{name}/{value}", value, np.float32) for value in (low, high))
        made.add("Where", [f"{name}/mask", high_name, low_name], f"{name}/flat")
        made.reshape(f"{name}/flat", mask.shape, name)


def _left(layer: Signed) -> Mask:
    """Return what is left of the mask of a layer."""
    mask = layer.mask
    for axis, indices in layer.kept.items():
        mask = mask.take(indices, axis)
    return mask


def _add_layer(made: _Builder, name: str, layer: Signed, masked: bool) -> None:
    """Turn flat signs, uint8 of 0 and 2, and a flat mask into the tensor."""
    last = f"{name}/signs"
    shape = layer.mask.shape
    if layer.kept:
        last = made.reshape(last, shape, f"{name}/whole")
        for axis, indices in sorted(layer.kept.items()):
            nodes, initializers = shrink.shortened(numpy_helper.from_array(indices, f"{name}/left {axis}"))
            made.nodes.extend(nodes)
            made.initializers.extend(initializers)
            last = made.add("Gather", [last, f"{name}/left {axis}"], f"{name}/cut {axis}", axis=axis)
        shape = _left(layer).shape
        if masked:
            last = made.reshape(last, [-1], f"{name}/cut")
    if masked:
        last = made.add("Where", [f"{name}/mask", last, "nothing"], f"{name}/masked")
    last = made.reshape(last, shape, f"{name}/shaped")
    index = made.add("Cast", [last], f"{name}/index", to=TensorProto.INT32)
    made.add("Gather", [made.constant(f"{name}/values", [layer.scale, 0, -layer.scale], np.float32), index], name)


def _add_words(made: _Builder, generated: Generated) -> None:
    """Make `NAME/signs`, flat, of each layer, and the embeddings."""
    layers, shapes = generated.layers, generated.embeddings
    streams: list[tuple[prng.Purpose, str, int]] = [
        *(("signs", name, -(-layer.mask.size // _WORD)) for name, layer in layers.items()),
        *(("values", name, math.prod(shape)) for name, shape in shapes.items()),
    ]
    blocks = [-(-count // BLOCK) for _, _, count in streams]
    *starts, end = itertools.accumulate(blocks, initial=0)
    keys = [
        _keys(generated.seed, purpose, name, start) for (purpose, name, _), start in zip(streams, starts, strict=True)
    ]
    inputs = [
        made.constant("keys", np.array(keys), np.uint8),
        made.constant("starts", starts[1:], np.int32),
        made.constant("blocks", end, np.int32),
    ]
    made.call("Words", [*inputs, "bits"], "words")
    signed = BLOCK * sum(blocks[: len(layers)])
    if layers and shapes:
        made.split("words", {"sign words": signed}, BLOCK * end)
    if layers:
        _add_signs(made, layers, blocks, "sign words" if shapes else "words")
    if not shapes:
        return
    made.call("Uniform", ["words/rest" if layers else "words"], "uniform")
    made.constant("embedding scale", generated.embedding_scale, np.float32)
    made.add("Mul", ["uniform", "embedding scale"], "scaled")
    pieces = {}
    for (name, shape), count in zip(shapes.items(), blocks[len(layers) :], strict=True):
        pieces[f"{name}/flat"] = size = math.prod(shape)
        if spare := BLOCK * count - size:
            pieces[f"{name}/no values"] = spare
    made.split("scaled", pieces, BLOCK * sum(blocks[len(layers) :]))
    for name, shape in shapes.items():
        made.reshape(f"{name}/flat", shape, name)


def _add_signs(made: _Builder, layers: Mapping[str, Signed], blocks: Sequence[int], words: str) -> None:
    """Make `NAME/signs`, flat, of each layer from the words of all of them, so many blocks each."""
    made.call("Signs", [words, "bits"], "signs")
    pieces = {}
    for (name, layer), count in zip(layers.items(), blocks, strict=False):
        pieces[f"{name}/signs"] = layer.mask.size
        if spare := BLOCK * _WORD * count - layer.mask.size:
            pieces[f"{name}/no signs"] = spare
    made.split("signs", pieces, BLOCK * _WORD * sum(blocks[: len(layers)]))


def _add_stored(made: _Builder, stored: Mapping[str, StoredLayer], masked: Container[str]) -> None:
    """Make the layers whose weights are stored; those that have a mask find their zero in front of their numbers."""
    for kind in sorted({layer.type for layer in stored.values()}):
        led = {
            name: np.concatenate([np.zeros(int(name in masked), layer.numbers.dtype), layer.numbers])
            for name, layer in stored.items()
            if layer.type == kind
        }
        numbers = np.concatenate(list(led.values()))
        total = numbers.size
        if kind == INT4:
            total += total % 2
            made.constant(f"{kind}/packed", np.frombuffer(nibbles(numbers), np.uint8), np.uint8)
            made.call("Unpacked", [f"{kind}/packed"], kind)
        elif kind == FP32:
            made.constant(kind, numbers, np.float32)
        else:
            made.add("Cast", [made.constant(f"{kind}/short", numbers, numbers.dtype)], kind, to=TensorProto.FLOAT)
        made.split(kind, {f"{name}/numbers": one.size for name, one in led.items()}, total)
    made.constant("first axis", 0, np.int64)
    for name, layer in stored.items():
        last = f"{name}/numbers"
        if name in masked:
            kept = made.add("Cast", [f"{name}/mask"], f"{name}/kept", to=TensorProto.INT32)
            counted = made.add("CumSum", [kept, "first axis"], f"{name}/counted")
            order = made.add("Mul", [counted, kept], f"{name}/order")
            last = made.add("Gather", [last, order], f"{name}/spread")
        if layer.scales is None:
            made.reshape(last, layer.mask.shape, name)
            continue
        last = made.reshape(last, layer.mask.shape, f"{name}/units")
        made.add("Mul", [last, made.constant(f"{name}/scales", layer.row_scales, np.float32)], name)


def _keys(seed: int, purpose: prng.Purpose, tensor: str, start: int) -> npt.NDArray[np.uint8]:
    """Return the keys of a tensor's stream as eight bytes, for words that are counted from the first of all tensors."""
    first, second = prng.stream_key(seed, purpose, tensor)
    pair = np.array([(first - start * BLOCK) % 2**32, second], "<u4")
    return pair.view(np.uint8)


def _add_masks(made: _Builder, masks: Mapping[str, Mask]) -> None:
    """Make `NAME/mask`, bool and flat, of each; those that have the same code in one."""
    alike: dict[Any, dict[str, Mask]] = defaultdict(dict)
    for name, mask in masks.items():
        kind, _, parameters = coded_mask(mask)
        alike[kind, parameters.get("k"), str(parameters.get("fill"))][name] = mask
    for index, some in enumerate(alike.values()):
        label = f"masks {index}"
        joined = np.concatenate([mask.ravel() for mask in some.values()])
        kind, code, parameters = coded_mask(joined)
        if kind == "Raw":
            made.call("RawMask", [made.constant(f"{label}/code", code, np.uint8), "bits"], label)
        else:
            made.call("RiceMask", [*_rice_inputs(made, label, joined, code, parameters), "bits"], label)
        made.split(
            label,
            {f"{name}/mask": mask.size for name, mask in some.items()},
            8 * code.size if kind == "Raw" else joined.size,
        )


def _rice_inputs(
    made: _Builder, label: str, mask: Mask, code: npt.NDArray[np.uint8], parameters: Mapping[str, Any]
) -> Iterator[str]:
    """Yield the names of what `RiceMask` takes, apart from the table."""
    k, (unary_bits,), (fill,) = parameters["k"], parameters["unary"], parameters["fill"]
    end = 1 + -(-unary_bits // 8)
    step = 2**k
    inverted = int(fill != 0)
    yield made.constant(f"{label}/unary", code[1:end], np.uint8)
    yield made.constant(f"{label}/length", [unary_bits], np.int64)
    yield made.constant(f"{label}/planes", code[end:].reshape(k, -1).T, np.uint8)
    yield made.constant(f"{label}/powers", 2 ** np.arange(k).reshape(-1, 1), np.int32)
    yield made.constant(f"{label}/start", step - 1, np.int32)
    yield made.constant(f"{label}/stop", step - 1 + unary_bits * step, np.int32)
    yield made.constant(f"{label}/step", step, np.int32)
    yield made.constant(f"{label}/background", [inverted], np.uint8)
    yield made.constant(f"{label}/mark", [1 - inverted], np.uint8)
    yield made.constant(f"{label}/cells", [mask.size], np.int64)


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its functions inlined, and their constants as initializers."""
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    model.functions.extend(functions(opset))
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    model = onnx.inliner.inline_local_functions(model)
    nodes = list(model.graph.node)
    others = [entry for entry in model.opset_import if entry.domain != DOMAIN]
    del model.graph.node[:], model.opset_import[:], model.functions[:], model.graph.value_info[:]
    model.opset_import.extend(others)
    for node in nodes:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
            tensor.name = node.output[0]
            model.graph.initializer.append(tensor)
        else:
            model.graph.node.append(node)
    return model
