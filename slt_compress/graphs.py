"""ONNX graphs in few bytes: whatever a runtime does not need, or can work out while it loads the file, is left out.

A graph of a transformer has hundreds of nodes, whose names and constants would outweigh the coded masks of a sparse
ticket. Nothing here changes a number that the graph computes.
"""

import itertools
import string
from collections.abc import Iterable, Iterator

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from slt_compress import encodings

Part = encodings.Part

_OPTIONAL_BIAS = {"Conv", "Gemm", "LayerNormalization"}  # operators whose third input is added, and may be missing
_SHORTENED = {TensorProto.FLOAT, TensorProto.INT8, TensorProto.INT32, TensorProto.INT64}
_NAMED = {"Gather", "Slice"}  # onnxruntime 1.20 names what it fuses them into after them, and two names must differ
_CHOICE = 256  # values: constants of two values are coded as masks from this size on
_SMALL = 16  # values: shorter constants are left as they are


def compact(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph in as few bytes as it takes, with the functions that its nodes call."""
    found = onnx.ModelProto()
    found.CopyFrom(model)
    graph = found.graph
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    for tensor in model.graph.initializer:
        nodes, initializers = shortened(tensor)
        graph.node.extend(nodes)
        graph.initializer.extend(initializers)
    graph.node.extend(model.graph.node)
    if any(encodings.TABLE in node.input for node in graph.node):
        graph.node.insert(0, encodings.table())
    if any(node.domain == encodings.DOMAIN for node in graph.node):
        opset = next(entry.version for entry in model.opset_import if entry.domain == "")
        found.functions.extend(encodings.functions(graph.node, opset))
        found.opset_import.append(helper.make_opsetid(encodings.DOMAIN, 1))
    share_constants(found)
    drop_defaults(found)
    shorten_names(found)
    return found


def shortened(tensor: TensorProto) -> Part:
    """Return what computes a constant from fewer bytes where that is exact: few values, or a narrower type."""
    if tensor.data_type not in _SHORTENED:
        return [], [tensor]
    values = numpy_helper.to_array(tensor)
    if values.size < _SMALL:
        return [], [tensor]
    if (values == values.flat[0]).all():
        dims = numpy_helper.from_array(np.array(values.shape, np.int64), f"{tensor.name}/shape")
        value = numpy_helper.from_array(values.reshape(-1)[:1])
        return [helper.make_node("ConstantOfShape", [dims.name], [tensor.name], value=value)], [dims]
    if tensor.data_type == TensorProto.FLOAT and values.size >= _CHOICE:
        low, high = float(values.min()), float(values.max())
        if ((values == low) | (values == high)).all():  # such as the attention masks of Swin
            return encodings.choice(tensor.name, values == high, low, high)
    for narrower in {"f": (np.float16,), "i": (np.uint8, np.int16, np.int32)}.get(values.dtype.kind, ()):
        with np.errstate(over="ignore"):
            narrow = values.astype(narrower)
        if narrow.nbytes < values.nbytes and np.array_equal(narrow.astype(values.dtype), values):
            short = numpy_helper.from_array(narrow, f"{tensor.name}/narrow")
            return [helper.make_node("Cast", [short.name], [tensor.name], to=tensor.data_type)], [short]
    return [], [tensor]


def share_constants(model: onnx.ModelProto) -> None:
    """Let equal initializers be one."""
    kept: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    same, initializers = {}, []
    for tensor in model.graph.initializer:
        content = (tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes())
        same[tensor.name] = kept.setdefault(content, tensor.name)
        if same[tensor.name] == tensor.name:
            initializers.append(tensor)
    for node in model.graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
    del model.graph.initializer[:]
    model.graph.initializer.extend(initializers)


def drop_zero_terms(model: onnx.ModelProto) -> None:
    """Leave out constant zeros that are added, such as frozen biases, where they do not widen the shape of a sum.

    Needs the shapes that the exporter has recorded in `value_info`.
    """
    graph = model.graph
    zeros = {tensor.name: tensor.dims for tensor in graph.initializer if not numpy_helper.to_array(tensor).any()}
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    same: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        if node.op_type in _OPTIONAL_BIAS and len(node.input) == 3 and node.input[2] in zeros:
            del node.input[2]
        terms = [name for name in node.input if name not in zeros]
        if node.op_type == "Add" and len(terms) == 1 and terms[0] in shapes:
            (output,) = node.output
            if shapes[terms[0]] == shapes.get(output) and output not in {value.name for value in graph.output}:
                same[output] = terms[0]
                continue
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unused(model)


def drop_unused(model: onnx.ModelProto) -> None:
    """Leave out initializers that no node reads."""
    used = {name for node in model.graph.node for name in node.input}
    initializers = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(initializers)


def drop_defaults(model: onnx.ModelProto) -> None:
    """Leave out attributes that say what holds without them, and fields that are set to nothing."""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    without_zero = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.INT64 and numpy_helper.to_array(tensor).all()
    }
    for node in _all_nodes(model):
        for field in ("name", "domain", "doc_string", "overload"):
            if not getattr(node, field):
                node.ClearField(field)
        if node.domain:
            continue
        pointless = {"allowzero"} if node.op_type == "Reshape" and node.input[1] in without_zero else set()
        schema = onnx.defs.get_schema(node.op_type, versions[""])
        stated = [
            attribute
            for attribute in node.attribute
            if attribute.ref_attr_name or not (attribute.name in pointless or _is_default(attribute, schema))
        ]
        del node.attribute[:]
        node.attribute.extend(stated)


def _is_default(attribute: onnx.AttributeProto, schema: onnx.defs.OpSchema) -> bool:
    if attribute.name == "perm":
        return list(attribute.ints) == [1, 0]
    if attribute.name not in schema.attributes:
        return False
    default = schema.attributes[attribute.name].default_value
    kept = onnx.AttributeProto()
    kept.CopyFrom(attribute)
    kept.ClearField("doc_string")
    if kept.type != default.type:
        return False
    return bool(helper.get_attribute_value(kept) == helper.get_attribute_value(default))


def shorten_names(model: onnx.ModelProto) -> None:
    """Give every value between the inputs and the outputs a name of a letter or a few, and nodes none but for `_NAMED`.

    In functions, attributes too. Operators, functions, inputs and outputs keep their names.
    """
    graph = model.graph
    fixed = {value.name for value in (*graph.input, *graph.output)}
    names = _Names(fixed)
    for tensor in graph.initializer:
        tensor.name = names[tensor.name]
    _rename_values(graph.node, names)
    for node in graph.node:
        if node.op_type in _NAMED:
            node.name = node.output[0]
    attributes = {}
    for function in model.functions:
        local, keys = _Names(()), _Names(())
        function.input[:] = [local[name] for name in function.input]
        function.output[:] = [local[name] for name in function.output]
        _rename_values(function.node, local)
        function.attribute[:] = [keys[name] for name in function.attribute]
        attributes[function.domain, function.name] = keys
        for attribute in (attribute for node in function.node for attribute in node.attribute):
            if attribute.ref_attr_name:
                attribute.ref_attr_name = keys[attribute.ref_attr_name]
    for node in _all_nodes(model):
        if (node.domain, node.op_type) in attributes:
            for attribute in node.attribute:
                attribute.name = attributes[node.domain, node.op_type][attribute.name]


def _all_nodes(model: onnx.ModelProto) -> Iterator[NodeProto]:
    yield from model.graph.node
    for function in model.functions:
        yield from function.node


class _Names(dict[str, str]):
    """Hands out a short name for each long one; the empty name, an input that is left out, stays empty."""

    def __init__(self, fixed: Iterable[str]) -> None:
        super().__init__({name: name for name in (*fixed, "")})
        self._fresh = _short_names()

    def __missing__(self, name: str) -> str:
        taken = self.values()
        self[name] = next(fresh for fresh in self._fresh if fresh not in taken)
        return self[name]


def _short_names() -> Iterator[str]:
    for length in itertools.count(1):
        yield from map("".join, itertools.product(string.ascii_letters, repeat=length))


def _rename_values(nodes: Iterable[NodeProto], names: "_Names") -> None:
    for node in nodes:
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
        node.ClearField("name")
