"""A traced graph, written anew without the slices that belong to dead neurons.

What is left of each axis of each activation follows from the labels. Operators that only compute need no change; those
that name sizes or places, and those with parameters, are told here what is left.
"""

import operator
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.fx.node import Node, map_arg

from slt_compress.structure import operators
from slt_compress.structure.flow import Flow, Tracer
from slt_compress.structure.labels import NONE
from slt_compress.structure.rewrite_rules import RULES, Cut, Indices, Made, shorter_padding
from slt_compress.structure.trace import attribute

_aten = torch.ops.aten


class ImpossibleError(Exception):
    """Some neurons cannot go.

    Attributes:
        labels: theirs.
    """

    def __init__(self, labels: Collection[int]) -> None:
        self.labels = sorted(labels)
        super().__init__(f"{len(self.labels)} neurons")


class _Checked(fx.Interpreter):
    """Runs a new graph, and sees whether all shapes are as the labels say."""

    def __init__(self, module: fx.GraphModule, rewriter: "Rewriter") -> None:
        super().__init__(module)
        self._rewriter = rewriter
        self._old = {new.name: old for old, new in rewriter.made.items()}

    def run_node(self, n: Node) -> Any:
        old = self._old.get(n.name)
        if old is None:
            return super().run_node(n)
        try:
            value = super().run_node(n)
        except (RuntimeError, IndexError) as error:
            raise self._rewriter.impossible(old) from error
        found = [tuple(leaf.shape) for leaf in _leaves(value) if isinstance(leaf, torch.Tensor)]
        if n.op == "call_function" and found != self._rewriter.shapes(old):
            raise self._rewriter.impossible(old)
        return value


class Rewriter:
    """Writes a graph anew.

    Attributes:
        kept: what is left of each parameter and buffer that is cut, by name.
        cuts: what is left of each activation of the old graph.
        made: the node of the new graph for each of the old one.
    """

    def __init__(self, graph: fx.GraphModule, tracer: Tracer, dead: Collection[int]) -> None:
        """`tracer` has run the graph and kept its labels; `dead` are the classes of labels that go."""
        self.kept: dict[str, Cut] = {}
        self._graph = graph
        self.tracer = tracer
        self._dead = torch.zeros(tracer.labels.count, dtype=torch.bool)
        self._dead[list(dead)] = True
        self._new = fx.Graph()
        self._new.set_codegen(graph.graph._codegen)  # takes and returns what the whole network does
        self.made: dict[Node, Node] = {}
        self.cuts: dict[Node, Any] = {}
        self._indices: dict[str, torch.Tensor] = {}
        self._batch: Node | None = None

    def run(self) -> fx.GraphModule:
        """Return the smaller module. Raises ImpossibleError for neurons that an operator cannot do without."""
        for node in self._graph.graph.nodes:
            like = operators.name_of(node.target) in operators.LIKE and node not in self.tracer.read_later
            self.cuts[node] = self.cuts[node.args[0]] if like else self._cut_of(self.tracer.flows.get(node))
            self.made[node] = self._rewritten(node)
        self._new.eliminate_dead_code()  # paddings that a shorter one replaces
        self.kept = {name: cut for name, cut in self.kept.items() if cut}
        read = {str(node.target) for node in self._new.nodes if node.op == "get_attr"}
        tensors = {
            name: _select(attribute(self._graph, name), self.kept.get(name, {})) for name in read - self._indices.keys()
        }
        return fx.GraphModule({**tensors, **self._indices}, self._new).eval()

    def check(self, cut: fx.GraphModule, examples: Sequence[torch.Tensor]) -> None:
        """Run the smaller module with one example. Raises ImpossibleError where a shape is not what the labels say."""
        with torch.no_grad():
            _Checked(cut, self).run(*examples)

    def shapes(self, node: Node) -> list[tuple[int, ...]]:
        """Return the shapes of what is left of an activation, or of each of several."""
        value, cut = self.tracer.flows[node], self.cuts[node]
        several = zip(value, cut, strict=True) if isinstance(cut, list) else [(value, cut)]
        return [
            tuple(len(left[axis]) if axis in left else length for axis, length in enumerate(_shape(one)))
            for one, left in several
            if _is_tensor(one)
        ]

    def _cut_of(self, value: Any) -> Any:
        """Return what is left of an activation, or of each of several."""
        if isinstance(value, list | tuple):
            return [self._cut_of(one) for one in value]
        if not isinstance(value, Flow):
            return {}
        labels = self.tracer.labels.of(value.labels)
        dead = self._dead[labels]
        if not dead.any():
            return {}
        live = ~dead & (labels != NONE)
        cut: dict[int, Indices] = {}
        left = dead
        for axis in range(labels.ndim):
            others = [dim for dim in range(labels.ndim) if dim != axis]
            gone = (dead.sum(others) > 0) & (live.sum(others) == 0) if others else dead & ~live
            if gone.all():
                raise ImpossibleError([int(labels[dead].amin())])
            if gone.any():
                cut[axis] = np.flatnonzero(~gone.numpy())
                left = left.index_select(axis, (~gone).nonzero().squeeze(1))
                labels = labels.index_select(axis, (~gone).nonzero().squeeze(1))
                dead, live = left, ~left & (labels != NONE)
        if left.any():
            raise ImpossibleError(set(labels[left].tolist()))
        return cut

    def _rewritten(self, node: Node) -> Node:
        if node.op != "call_function":
            return self._new.node_copy(node, self.made.__getitem__)
        name = operators.name_of(node.target)
        cut = any(_is_cut(self.cuts[one]) for one in (node, *node.all_input_nodes))
        if node.target is operator.getitem or not cut:
            self._whole(node)
            return self._new.node_copy(node, self.made.__getitem__)
        args, kwargs = list(node.args), dict(node.kwargs)
        target: Any = node.target
        if name in RULES:
            target, args, kwargs = RULES[name](self, node, args, kwargs)
        elif operators.is_pointwise(node.target):
            args, kwargs = self.broadcast(node, args, kwargs)
        elif name not in operators.UNCHANGED and not (name in operators.LIKE and node not in self.tracer.read_later):
            raise self.impossible(node)
        return self._new.call_function(target, *_mapped((tuple(args), kwargs), self.made))

    def impossible(self, node: Node) -> ImpossibleError:
        """Return that the dead neurons at an operator have to stay."""
        found: set[int] = set()
        for one in (node, *node.all_input_nodes):
            for leaf in _leaves(self.tracer.flows.get(one)):
                if isinstance(leaf, Flow):
                    labels = self.tracer.labels.of(leaf.labels)
                    found |= set(labels[self._dead[labels]].tolist())
        return ImpossibleError(found)

    def _whole(self, node: Node) -> None:
        """Note that an operator needs its parameters as they are."""
        for one in node.all_input_nodes:
            if one.op == "get_attr":
                self.parameter(one, {}, node)

    def parameter(self, node: Node, cut: Cut, user: Node) -> Node:
        """Let a parameter or buffer have what is left of it; all that use it have to agree."""
        name = str(node.target)
        known = self.kept.setdefault(name, cut)
        if not _same(known, cut):
            raise self.impossible(user)
        return node

    def fitted(self, value: Any, want: Cut, user: Node) -> Any:
        """Return an argument with exactly these indices left of its axes."""
        if not isinstance(value, Node):
            return value
        have = self.cuts[value]
        if value.op == "get_attr":
            return self.parameter(value, want, user)
        result = self.made[value]
        for axis, indices in want.items():
            known = have.get(axis)
            places = indices if known is None else np.searchsorted(known, indices)
            if known is None or len(known) != len(indices):
                length = self.shape(value)[axis] if known is None else len(known)
                shorter = shorter_padding(result, 2 * (len(self.shape(value)) - 1 - axis), length, places)
                if shorter:
                    result = self._new.call_function(result.target, shorter, result.kwargs)  # type: ignore[arg-type]
                    continue
                index = self.indices(places)
                result = self._new.call_function(_aten.index_select.default, (result, axis, index))
        if any(axis not in want for axis in have):
            raise self.impossible(user)
        return Made(result)

    def indices(self, indices: Indices) -> Node:
        name = f"left_{len(self._indices)}_of_an_axis"
        self._indices[name] = torch.from_numpy(indices.copy())
        return self._new.get_attr(name)

    def values(self, arguments: Any, user: Node) -> Any:
        """Return arguments with what their nodes are worth, which must not depend on data."""
        found = map_arg(arguments, self.tracer.flows.__getitem__)
        if any(isinstance(leaf, Flow) for leaf in _leaves(found)):
            raise self.impossible(user)
        return found

    def shape(self, node: Node) -> list[int]:
        return _shape(self.tracer.flows[node])

    def broadcast(self, node: Node, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Fit the operands of an operator that works value by value to what is left of its result."""
        cut, rank = self.cuts[node], len(self.shape(node))

        def fit(value: Any) -> Any:
            if not isinstance(value, Node) or not _is_tensor(self.tracer.flows[value]):
                return value
            shape = self.shape(value)
            shift = rank - len(shape)
            want = {axis - shift: left for axis, left in cut.items() if axis >= shift and shape[axis - shift] != 1}
            return self.fitted(value, want, node)

        return [fit(arg) for arg in args], {key: fit(arg) for key, arg in kwargs.items()}

    def vectors(
        self,
        node: Node,
        args: list[Any],
        kwargs: dict[str, Any],
        places: list[int],
        names: list[str],
        left: Indices | None,
    ) -> None:
        """Cut the vectors among the arguments: biases and what normalisations hold."""
        want = {} if left is None else {0: left}
        for place in places:
            if place < len(args):
                args[place] = self.fitted(args[place], want, node)
        for name in names:
            if name in kwargs:
                kwargs[name] = self.fitted(kwargs[name], want, node)

    def times_batch(self, number: int) -> Any:
        """Return a number times the size of the batch, as a size."""
        if self._batch is None:
            first = next(node for node in self._graph.graph.nodes if node.op == "placeholder")
            self._batch = self._new.call_function(_aten.sym_size.int, (self.made[first], 0))
        return Made(self._new.call_function(operator.mul, (self._batch, number)))


def _mapped(arguments: Any, made: Mapping[Node, Node]) -> Any:
    """Replace nodes of the old graph by those of the new one."""
    if isinstance(arguments, Made):
        return arguments.node
    if isinstance(arguments, Node):
        return made[arguments]
    if isinstance(arguments, list | tuple):
        return type(arguments)(_mapped(one, made) for one in arguments)
    if isinstance(arguments, dict):
        return {key: _mapped(one, made) for key, one in arguments.items()}
    return arguments


def _leaves(values: Any) -> list[Any]:
    return torch.utils._pytree.tree_leaves(values, lambda value: isinstance(value, Flow))


def _is_cut(cut: Any) -> bool:
    """Return whether something of an activation, or of one of several, is gone."""
    return any(map(_is_cut, cut)) if isinstance(cut, list) else bool(cut)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Flow | torch.Tensor)


def _shape(value: Any) -> list[int]:
    return list(value.labels.shape if isinstance(value, Flow) else value.shape)


def _same(one: Cut, other: Cut) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[axis], other[axis]) for axis in one)


def _select(tensor: torch.Tensor, cut: Cut) -> torch.Tensor:
    if not cut:
        return tensor
    values = tensor.detach()
    for axis, indices in cut.items():
        values = values.index_select(axis, torch.from_numpy(indices))
    return nn.Parameter(values, requires_grad=False) if isinstance(tensor, nn.Parameter) else values
