"""The same ONNX graph in fewer bytes: without what a runtime does not need or can compute while it loads the file.

The graph of a transformer has hundreds of nodes. Their names and constants would take more bytes than the coded masks
of a sparse ticket.

Left out: anything that would change a number. Each step here keeps every value that the graph computes, bit for bit.
"""

import itertools
import string
import sys
from collections.abc import Iterable, Iterator

import numpy as np
import onnx
import onnx_ir as ir
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx_ir.passes.common import DeduplicateInitializersPass

from slt_compress.onnx_export import sliced_functions, stages, stored_functions, weight_functions
from slt_compress.onnx_export.mask_functions import Mask
from slt_compress.onnx_export.weight_functions import Part

_OPTIONAL_BIAS = {"Conv", "Gemm", "LayerNormalization"}  # operators whose third input is added, and may be missing
_SHORTENED = {TensorProto.FLOAT, TensorProto.INT8, TensorProto.INT32, TensorProto.INT64}
_NAMED = {"Gather", "Slice"}  # onnxruntime 1.20 gives their names to the nodes it makes of them, which must differ
_CHOICE = 256  # values; constants of this size or more that hold two values are coded as masks
_SMALL = 16  # values; smaller constants are left as they are


def compact(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph in fewer bytes, with the functions that its nodes call."""
    found = onnx.ModelProto()
    found.CopyFrom(model)
    graph = found.graph
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    for tensor in model.graph.initializer:
        nodes, initializers = shortened(tensor)
        graph.node.extend(nodes)
        graph.initializer.extend(initializers)
    graph.node.extend(model.graph.node)
    if any(weight_functions.TABLE in node.input for node in graph.node):
        graph.node.insert(0, weight_functions.table())
        stages.stage(found)
    if any(node.domain == weight_functions.DOMAIN for node in graph.node):
        opset = next(entry.version for entry in model.opset_import if entry.domain == "")
        further = itertools.chain(sliced_functions.sources(), stored_functions.sources())
        found.functions.extend(weight_functions.functions(graph.node, opset, further))
        found.opset_import.append(helper.make_opsetid(weight_functions.DOMAIN, 1))
    tidy(found)
    return found


def tidy(model: onnx.ModelProto) -> None:
    """Remove what is there twice or has no effect, and shorten names."""
    share_constants(model)
    drop_defaults(model)
    shorten_names(model)


def shortened(tensor: TensorProto, *, choices: bool = True) -> Part:
    """Return nodes and initializers that compute a constant exactly from fewer bytes, or the constant itself.

    Shorter are constants of one value, of two values if `choices` is set, and those that a narrower type holds exactly.
    """
    if tensor.data_type not in _SHORTENED:
        return [], [tensor]
    values = numpy_helper.to_array(tensor)
    if values.size < _SMALL:
        return [], [tensor]
    if (values == values.flat[0]).all():
        dims = numpy_helper.from_array(np.array(values.shape, np.int64), f"{tensor.name}/shape")
        value = numpy_helper.from_array(values.reshape(-1)[:1])
        return [helper.make_node("ConstantOfShape", [dims.name], [tensor.name], value=value)], [dims]
    if choices and (found := two_valued(tensor)):
        return weight_functions.choice(tensor.name, *found)
    # Not int16: the WebGPU build of onnxruntime-web has no Cast from it.
    for narrower in {"f": (np.float16,), "i": (np.uint8, np.int32)}.get(values.dtype.kind, ()):
        with np.errstate(over="ignore"):
            narrow = values.astype(narrower)
        if narrow.nbytes < values.nbytes and np.array_equal(narrow.astype(values.dtype), values):
            short = numpy_helper.from_array(narrow, f"{tensor.name}/narrow")
            return [helper.make_node("Cast", [short.name], [tensor.name], to=tensor.data_type)], [short]
    return [], [tensor]


def two_valued(tensor: TensorProto) -> tuple[Mask, float, float] | None:
    """Return where a large fp32 constant, such as an attention mask of Swin, has the upper of its two values, and the
    lower and the upper one; None if it has not two.
    """
    if tensor.data_type != TensorProto.FLOAT:
        return None
    values = numpy_helper.to_array(tensor)
    if values.size < _CHOICE:
        return None
    low, high = float(values.min()), float(values.max())
    two = low != high and ((values == low) | (values == high)).all()
    return (values == high, low, high) if two else None


def share_constants(model: onnx.ModelProto) -> None:
    """Keep one of several equal initializers."""
    shared = ir.from_proto(model)
    DeduplicateInitializersPass(size_limit=sys.maxsize)(shared)
    model.CopyFrom(ir.to_proto(shared))
    del model.graph.value_info[:]  # shapes of initializers, which onnx_ir adds


def drop_zero_terms(model: onnx.ModelProto) -> None:
    """Remove additions of constant zeros, such as biases that are not trained.

    An Add stays if its result has another shape than its other term. The shapes are read from `value_info`, where the
    exporter has put them.
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
    """Remove initializers that no node reads.

    onnx_ir's RemoveUnusedNodesPass is no substitute: it also drops the empty `doc_string` of each node, which changes
    the bytes of dense files, and warns of the table that a graph of regenerated weights does not have yet.
    """
    used = {name for node in model.graph.node for name in node.input}
    initializers = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(initializers)


def drop_defaults(model: onnx.ModelProto) -> None:
    """Remove attributes that have the value they would have anyway, and fields that are set to an empty text."""
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
        ineffective = {"allowzero"} if node.op_type == "Reshape" and node.input[1] in without_zero else set()
        schema = onnx.defs.get_schema(node.op_type, versions[""])
        needed = [
            attribute
            for attribute in node.attribute
            if attribute.ref_attr_name or not (attribute.name in ineffective or _is_default(attribute, schema))
        ]
        del node.attribute[:]
        node.attribute.extend(needed)


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
    """Give every value between the inputs and the outputs the shortest name that is free, and remove names of nodes.

    Nodes of `_NAMED` get a short name too, and so do the attributes of functions. Operators, functions, inputs and
    outputs keep their names.
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
    """Gives a short name for each long one. The empty name, which stands for a missing input, stays empty."""

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


def _rename_values(nodes: Iterable[NodeProto], names: _Names) -> None:
    """Rename what nodes read and write, in their subgraphs too."""
    for node in nodes:
        for subgraph in (attribute.g for attribute in node.attribute if attribute.HasField("g")):
            _rename_values(subgraph.node, names)
            for value in subgraph.output:
                value.name = names[value.name]
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
        node.ClearField("name")
