"""Which operators write into memory that is later read under another name, as `x[:, 1:] = y` does."""

import operator

import torch
from torch import fx
from torch.fx.node import Node

from slt_compress.structure import operators

_SAME_MEMORY = frozenset(["dropout", "feature_dropout", "alpha_dropout"])  # without saying so, in evaluation mode


def written_views(graph: fx.Graph) -> dict[Node, list[Node]]:
    """Return, for each operator whose writing other nodes than itself show later, all nodes that share the memory."""
    place = {node: number for number, node in enumerate(graph.nodes)}
    sharing: dict[Node, list[Node]] = {}  # the same list for all nodes of one memory
    found = {}
    for node in graph.nodes:
        written = _written(node)
        base = written or _viewed(node)
        members = sharing[base] if base else []
        if written and any(place[user] > place[node] for member in members for user in member.users):
            found[node] = list(members)
        members.append(node)
        sharing[node] = members
    return found


def _written(node: Node) -> Node | None:
    """Return what an operator writes into."""
    return _argument(node, writes=True)


def _viewed(node: Node) -> Node | None:
    """Return what a node shows other elements of, or the same."""
    if node.target is operator.getitem or operators.name_of(node.target) in _SAME_MEMORY:
        return node.args[0] if isinstance(node.args[0], Node) else None
    return _argument(node, writes=False)


def _argument(node: Node, *, writes: bool) -> Node | None:
    """Return the argument that torch says an operator writes into, or returns a view of."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return None
    arguments = node.target._schema.arguments
    named = {argument.name: value for argument, value in zip(arguments, node.args, strict=False)} | node.kwargs
    for argument in arguments:
        value = named.get(argument.name)
        if argument.alias_info and argument.alias_info.is_write == writes and isinstance(value, Node):
            return value
    return None
