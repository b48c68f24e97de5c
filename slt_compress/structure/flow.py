"""How labels flow through the operators of a graph.

The graph is run once with one example, with labels in the place of values. Operators that only move elements move
labels as they are; the others are described here. An operator that is not known lets all that it reads stay: a network
may have fewer neurons than one would like, never wrong ones.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torch.fx.node import Node
from torch.utils._pytree import tree_leaves, tree_map

from slt_compress.structure import operators
from slt_compress.structure.aliases import written_views
from slt_compress.structure.labels import FIXED, NONE, Labels
from slt_compress.structure.trace import attribute


@dataclass(frozen=True)
class Flow:
    """Labels of an activation, int64 in its shape, for one example, and the type of its values."""

    labels: torch.Tensor
    dtype: torch.dtype = torch.float32


@dataclass
class Axes:
    """Labels along the axes of a gated tensor that stand for neurons: int64 (length of the axis,), by axis.

    Attributes:
        outputs: what the tensor makes.
        inputs: what the tensor reads.
    """

    outputs: dict[int, torch.Tensor] = field(default_factory=dict)
    inputs: dict[int, torch.Tensor] = field(default_factory=dict)


class Tracer(fx.Interpreter):
    """Runs a graph with labels.

    Attributes:
        labels: the classes of all labels.
        axes: the axes of gated tensors, by the tensor's name.
        flows: the label tensors of every node, if they are kept.
        read_later: the nodes that show what is written under another name.
    """

    def __init__(self, graph: fx.GraphModule, gated: Mapping[int, str], *, keep: bool = False) -> None:
        """`gated`: names of the gated tensors, by the id of the parameter."""
        super().__init__(graph)
        self.labels = Labels()
        self.axes: dict[str, Axes] = {}
        self.flows: dict[Node, Any] = {}
        self._gated = {key: name for key, name in gated.items() if key not in _used_otherwise(graph)}
        self._keep = keep
        self._written = written_views(graph.graph)
        self.read_later = {node for nodes in self._written.values() for node in nodes}

    def run_node(self, n: Node) -> Any:
        value = _typed(super().run_node(n), n.meta.get("val"))
        if n in self._written:  # nothing tells the other nodes what they show from here on
            self._fix([self.fetch_args_kwargs_from_env(n), value, *(self.flows[one] for one in self._written[n])])
        if self._keep or n in self.read_later:
            self.flows[n] = value
        return value

    def placeholder(self, target: Any, args: Any, kwargs: Any) -> Any:
        return Flow(torch.full(super().placeholder(target, args, kwargs).shape, FIXED))

    def output(self, target: Any, args: Any, kwargs: Any) -> Any:
        self._fix(args)
        return super().output(target, args, kwargs)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        name = operators.name_of(target)
        flows = [leaf for leaf in tree_leaves((args, kwargs), is_leaf=_is_flow) if _is_flow(leaf)]
        if not flows or target is operator.getitem:
            return super().call_function(target, args, kwargs)
        with torch.no_grad():
            found = self._flow(name, target, args, kwargs)
        return self._unknown(target, args, kwargs) if found is None else found

    def _flow(self, name: str, target: Any, args: Any, kwargs: Any) -> Any:
        """Return the labels of what an operator makes, None if it is not known."""
        if not (name in operators.SEVERAL or operators.is_pointwise(target)) and (
            not _is_flow(next(iter(args), None))
            or any(map(_is_flow, tree_leaves((args[1:], kwargs), is_leaf=_is_flow)))
        ):
            return None  # such as weights that depend on data
        if name in operators.SHAPES:
            return target(*_plain(args), **kwargs)
        if name in operators.MOVES:
            return self._moved(target, args, kwargs)
        if name in operators.PADS:
            return self._padded(target, args, kwargs)
        if name in operators.POOLS:
            return self._pooled(target, args, kwargs)
        if name in operators.REDUCTIONS:
            return self._reduced(target, args, kwargs)
        if name in operators.CONVOLUTIONS:
            return self._convolution(target, args, kwargs)
        rule = _RULES.get(name)
        if rule:
            return rule(self, target, args, kwargs)
        if operators.is_pointwise(target):
            return self._pointwise(args, kwargs)
        return None

    def _fix(self, values: Any) -> None:
        for leaf in tree_leaves(values, is_leaf=_is_flow):
            if _is_flow(leaf):
                self.labels.fix(leaf.labels)

    def _unknown(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Let all that an operator reads, and what it makes, stay."""
        self._fix((args, kwargs))
        made = _run(target, args, kwargs)
        return tree_map(
            lambda value: Flow(torch.full(value.shape, FIXED)) if isinstance(value, torch.Tensor) else value, made
        )

    def _moved(self, target: Any, args: Any, kwargs: Any) -> Any:
        first, *others = args
        if any(_is_flow(leaf) for leaf in tree_leaves((others, kwargs), is_leaf=_is_flow)):
            if operators.name_of(target) not in ("expand_as", "reshape_as", "view_as", "type_as"):
                return None  # places that depend on data
            others = list(_plain(others))
        if operators.name_of(target) in ("to", "_to_copy", "float", "type_as"):
            return first
        if operators.name_of(target) == "view":
            if not isinstance(next(iter(others), None), list | tuple):
                return None  # the same bytes as another type
            target = torch.ops.aten.reshape.default  # values may lie in memory otherwise than their labels
        made = target(_as_labels(first), *others, **{k: v for k, v in kwargs.items() if k != "dtype"})
        return tree_map(lambda value: Flow(value) if isinstance(value, torch.Tensor) else value, made)

    def _padded(self, target: Any, args: Any, kwargs: Any) -> Any:
        first, amounts, *others = args
        if others and others[0] not in ("constant", "reflect", "replicate", "circular"):
            others = others[1:]  # the value of a constant, which has no label
        if kwargs.get("value") is not None:
            kwargs = {**kwargs, "value": None}
        return Flow(target(first.labels.double(), amounts, *others[:1], **kwargs).long())

    def _pooled(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Let a plane have one label, and give it to what comes out of the plane."""
        (flow, *_) = args
        plain = operators.name_of(target).partition("pool")[2][:1] or "2"
        planes = self.labels.join_along(flow.labels, tuple(range(-int(plain), 0)))
        made = _run(target, args, kwargs)
        return tree_map(lambda value: Flow(planes.expand(value.shape)), made)

    def _reduced(self, target: Any, args: Any, kwargs: Any) -> Any:
        flow, *others = args
        rank = flow.labels.ndim
        if operators.name_of(target) in operators.NORMS:
            others = others[1:]  # the order of the norm
        dims = others[0] if others else kwargs.get("dim")
        if isinstance(dims, bool) or not (dims is None or isinstance(dims, int | list | tuple)):
            return None
        if isinstance(dims, int):
            dims = [dims]
        along = tuple(dim % rank for dim in (dims or range(rank)))
        reduced = self.labels.join_along(flow.labels, along)
        made = _run(target, args, kwargs)
        if not isinstance(made, torch.Tensor):
            return None
        return Flow(reduced.reshape(made.shape))

    def _pointwise(self, args: Any, kwargs: Any) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs), is_leaf=_is_flow) if _is_tensor(leaf)]
        found = _as_labels(tensors[0])
        for other in tensors[1:]:
            found = self.labels.join(found, _as_labels(other))
        return Flow(self.labels.of(found))

    def _convolution(self, target: Any, args: Any, kwargs: Any) -> Any:
        flow, weight, *_ = args
        planes = weight.ndim - 2
        groups = next((value for value in args[6:7]), kwargs.get("groups", 1))
        if flow.labels.ndim != weight.ndim:
            return None
        read = self.labels.join_along(flow.labels, (0, *range(2, weight.ndim))).flatten()
        shape = _run(target, args, kwargs).shape
        outputs, inputs = weight.shape[0], weight.shape[1]
        if groups == 1:
            made = self.labels.new(outputs)
            self._use(weight, {0: made}, {1: read})
        elif inputs == 1:  # depthwise: each channel by itself
            made = read.repeat_interleave(outputs // groups)
            self._use(weight, {0: made}, {})
        else:  # so that all groups stay of one width
            read = self.labels.join_along(read.view(groups, inputs), (0,)).flatten()
            made = self.labels.new(outputs // groups).repeat(groups)
            self._use(weight, {0: made}, {1: read})
        return Flow(made.view(-1, *(1,) * planes).expand(shape))

    def _transposed(self, target: Any, args: Any, kwargs: Any) -> Any:
        flow, weight, *_ = args
        groups = next((value for value in args[6:7]), kwargs.get("groups", 1))
        if groups != 1 or flow.labels.ndim != weight.ndim:
            return None
        read = self.labels.join_along(flow.labels, (0, *range(2, weight.ndim))).flatten()
        shape = _run(target, args, kwargs).shape
        made = self.labels.new(weight.shape[1])
        self._use(weight, {1: made}, {0: read})
        return Flow(made.view(-1, *(1,) * (weight.ndim - 2)).expand(shape))

    def _linear(self, target: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG002
        flow, weight, *_ = args
        read = self.labels.of(flow.labels)
        leading = tuple(range(read.ndim - 1))
        columns = read.flatten(0, -2) if read.ndim > 1 else read[None]
        most = columns.amax(0)
        varying = ((columns != most) & (columns != NONE)).any()
        if varying:  # what tells apart the vectors that are multiplied stays
            self.labels.fix(read)
            most = self.labels.of(most)
        made = self.labels.new(weight.shape[0])
        self._use(weight, {0: made}, {1: most})
        return Flow(made.expand(*(read.shape[dim] for dim in leading), weight.shape[0]))

    def _use(self, weight: Any, outputs: Mapping[int, torch.Tensor], inputs: Mapping[int, torch.Tensor]) -> None:
        """Note what a tensor makes and reads; what no gated tensor makes or reads stays."""
        name = self._gated.get(id(weight))
        if name is None:
            for labels in (*outputs.values(), *inputs.values()):
                self.labels.fix(labels)
            return
        axes = self.axes.setdefault(name, Axes())
        for known, new in ((axes.outputs, outputs), (axes.inputs, inputs)):
            for axis, labels in new.items():
                known[axis] = self.labels.join(known[axis], labels) if axis in known else labels

    def _normalised(self, target: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG002
        """LayerNorm and RMSNorm: what is normalised together goes together."""
        flow, shape, *_ = args
        dims = tuple(range(flow.labels.ndim - len(shape), flow.labels.ndim))
        return Flow(self.labels.join_along(flow.labels, dims).expand(flow.labels.shape))

    def _planes_normalised(self, target: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG002
        """BatchNorm and InstanceNorm: in evaluation mode, the former mostly takes statistics that it knows."""
        flow, *_ = args
        if operators.name_of(target) == "batch_norm" and not args[5]:
            return flow
        dims = (0, *range(2, flow.labels.ndim))
        return Flow(self.labels.join_along(flow.labels, dims).expand(flow.labels.shape))

    def _group_normalised(self, target: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG002
        flow, groups, *_ = args
        shape = flow.labels.shape
        grouped = flow.labels.reshape(shape[0], groups, -1)
        return Flow(self.labels.join_along(grouped, (2,)).expand(grouped.shape).reshape(shape))

    def _along(self, target: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG002
        """Softmax and the like."""
        flow, dim, *_ = args
        return Flow(self.labels.join_along(flow.labels, (dim % flow.labels.ndim,)).expand(flow.labels.shape))

    def _halves(self, target: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG002
        """GLU: one half of the channels is multiplied by the other."""
        flow, dim = args[0], (args[1] if len(args) > 1 else kwargs.get("dim", -1))
        first, second = flow.labels.chunk(2, dim)
        return Flow(self.labels.join(first, second))

    def _same(self, target: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG002
        return args[0]

    def _attention(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A head is one neuron: all of its queries, keys and values."""
        query, key, value, *_ = args
        if not all(map(_is_flow, (query, key, value))) or query.labels.shape[:-2] != value.labels.shape[:-2]:
            return None
        self._fix((args[3:], kwargs))
        heads = [self.labels.join_along(flow.labels, (-2, -1)) for flow in (query, key, value)]
        head = self.labels.join(self.labels.join(heads[0], heads[1]), heads[2])
        return Flow(head.expand(_run(target, args, kwargs).shape))

    def _product(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A product of matrices that are no gated weights: what is multiplied together goes together."""
        first, second = args
        shape = _run(target, args, kwargs).shape
        if min(_as_labels(one).ndim for one in (first, second)) < 2:
            return None
        wholes = [
            self.labels.join_along(_as_labels(one), (-2, -1) if _is_flow(first) and _is_flow(second) else (along,))
            for one, along in ((first, -1), (second, -2))
        ]
        return Flow(self.labels.join(wholes[0], wholes[1]).expand(shape))


def _is_flow(value: Any) -> bool:
    return isinstance(value, Flow)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Flow | torch.Tensor)


def _used_otherwise(graph: fx.GraphModule) -> set[int]:
    """Return the ids of the tensors that are used as anything but a layer's weight: a gate on them does more there."""
    found = set()
    for node in graph.graph.find_nodes(op="get_attr"):
        for user in node.users:
            layer = operators.name_of(user.target) in operators.LAYERS
            if not layer or user.args[1] is not node or user.all_input_nodes.count(node) > 1:
                found.add(id(attribute(graph, str(node.target))))
    return found


def _typed(value: Any, example: Any) -> Any:
    """Give labels the types that torch has noted in the graph."""
    if isinstance(value, list | tuple) and isinstance(example, list | tuple):
        return type(value)(map(_typed, value, example))
    return Flow(value.labels, example.dtype) if isinstance(value, Flow) and _is_tensor(example) else value


def _as_labels(value: Any) -> Any:
    """Return labels for a value or for the values of a list: `NONE` for constants."""
    if isinstance(value, list | tuple):
        return [_as_labels(one) for one in value]
    return value.labels if isinstance(value, Flow) else torch.full(value.shape, NONE)


def _plain(values: Any) -> Any:
    """Replace labels by numbers of no meaning."""
    return tree_map(
        lambda value: torch.zeros(value.labels.shape, dtype=value.dtype) if _is_flow(value) else value,
        values,
        is_leaf=_is_flow,
    )


def _run(target: Any, args: Any, kwargs: Any) -> Any:
    """Return what an operator makes of any values: its shapes are what is wanted. On the meta device where it can."""
    plain = _plain((args, kwargs))
    meta = tree_map(lambda value: value.to("meta") if isinstance(value, torch.Tensor) else value, plain)
    try:
        return target(*meta[0], **meta[1])
    except (NotImplementedError, RuntimeError):
        return target(*plain[0], **plain[1])


Rule = Callable[[Tracer, Any, Any, Any], Any]
_RULES: dict[str, Rule] = {
    "linear": Tracer._linear,
    "conv_transpose1d": Tracer._transposed,
    "conv_transpose2d": Tracer._transposed,
    "conv_transpose3d": Tracer._transposed,
    "batch_norm": Tracer._planes_normalised,
    "instance_norm": Tracer._planes_normalised,
    "prelu": Tracer._same,
    **dict.fromkeys(["gelu", "hardswish", "log_sigmoid", "mish", "relu6"], Tracer._same),  # not tagged as pointwise
    "glu": Tracer._halves,
    "layer_norm": Tracer._normalised,
    "rms_norm": Tracer._normalised,
    "group_norm": Tracer._group_normalised,
    "softmax": Tracer._along,
    "_softmax": Tracer._along,
    "log_softmax": Tracer._along,
    "scaled_dot_product_attention": Tracer._attention,
    "matmul": Tracer._product,
    "bmm": Tracer._product,
}
