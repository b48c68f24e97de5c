"""Weights that onnxruntime regenerates in stages, so that it needs less memory while it loads a file.

onnxruntime folds constants in passes over the graph, and keeps every intermediate result until a pass ends. If all
weights are made in one pass, it holds those of all tensors at once. So the weights are put into groups, and each group
reads a table of bits of its own, which can be folded only in the pass after that of the group before:

    some 1 = If (anything) {Expand (size, one)} {the same}
    one 1 = Shape (some 1)
    table 1 = Expand (table, one 1)

`size` is that of the network's input, so `some 1` is no constant. Its shape, (1,), is known once `one` is folded, but
onnxruntime looks at the shapes of an `If` only at the end of a pass. Then it needs no more of it than the shape, folds
that, and removes the `If`. `one 1` leads to the next table in the same way.

Left out: more groups than onnxruntime has passes for. There are ten, of which the rest of the graph needs some.
"""

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from slt_compress.onnx_export.weight_functions import DOMAIN, TABLE

MOST_STAGES = 6
_WORTH_IT = 2**18  # weights: fewer in a group take less memory than onnxruntime itself
_SIZE, _ANYTHING, _ONE = f"{TABLE}/size", f"{TABLE}/anything", f"{TABLE}/one"


def stage(model: onnx.ModelProto) -> None:
    """Put the nodes that read `TABLE` into groups, each of which onnxruntime folds in a pass of its own."""
    graph = model.graph
    makers = [node for node in graph.node if node.domain == DOMAIN and TABLE in node.input]
    read = {name for node in makers for name in node.input}  # what several read is there from the first pass on
    groups = _groups([node for node in makers if read.isdisjoint(node.output)])
    if len(groups) < 2:
        return
    graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), f"{TABLE}/rank"))
    gates = [
        helper.make_node("ReduceMax", [TABLE], [f"{TABLE}/bit"], keepdims=0),
        helper.make_node("Cast", [f"{TABLE}/bit"], [f"{TABLE}/number"], to=TensorProto.INT64),
        helper.make_node("Expand", [f"{TABLE}/number", f"{TABLE}/rank"], [_ONE]),
        helper.make_node("Size", [graph.input[0].name], [_SIZE]),
        helper.make_node("Cast", [_SIZE], [_ANYTHING], to=TensorProto.BOOL),
    ]
    last = _ONE
    for index, group in enumerate(groups[1:], 1):
        table, one, some = (f"{name} {index}" for name in (TABLE, _ONE, f"{TABLE}/some"))
        branches = {f"{branch}_branch": _expanded(last, f"{some} {branch}") for branch in ("then", "else")}
        gates += [
            helper.make_node("If", [_ANYTHING], [some], **branches),
            helper.make_node("Shape", [some], [one]),
            helper.make_node("Expand", [TABLE, one], [table]),
        ]
        last = one
        for node in group:
            node.input[:] = [table if name == TABLE else name for name in node.input]
    nodes = list(graph.node)
    place = next(index for index, node in enumerate(nodes) if TABLE in node.output) + 1
    del graph.node[:]
    graph.node.extend([*nodes[:place], *gates, *nodes[place:]])


def _expanded(shape: str, output: str) -> onnx.GraphProto:
    """Return a branch that gives something of this shape, which it does not say."""
    value = helper.make_tensor_value_info(output, TensorProto.INT64, None)
    return helper.make_graph([helper.make_node("Expand", [_SIZE, shape], [output])], "g", [], [value])


def _groups(nodes: Sequence[NodeProto]) -> list[list[NodeProto]]:
    """Return groups of about as many weights as the largest tensor has, at most `MOST_STAGES`, the largest first."""
    limit = max(max(map(_weights, nodes), default=0), sum(map(_weights, nodes)) / MOST_STAGES, _WORTH_IT)
    groups: list[list[NodeProto]] = []
    for node in sorted(nodes, key=_weights, reverse=True):
        lightest = min(groups, key=_total, default=None)
        if lightest is None or (_total(lightest) + _weights(node) > limit and len(groups) < MOST_STAGES):
            groups.append([node])
        else:
            lightest.append(node)
    return sorted(groups, key=_total, reverse=True)


def _total(nodes: Sequence[NodeProto]) -> int:
    return sum(map(_weights, nodes))


def _weights(node: NodeProto) -> int:
    """Return the size of the tensor that a node makes; of the whole one, where it is cut."""
    return sum(math.prod(attribute.ints) for attribute in node.attribute if attribute.name == "shape")
