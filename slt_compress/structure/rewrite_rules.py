"""How operators that have parameters, or name sizes and places, are written for a smaller network.

Each rule takes the rewriter, a node of the old graph and its arguments, and returns the new operator and its arguments.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch.fx.node import Node

from slt_compress.structure import operators

if TYPE_CHECKING:
    from slt_compress.structure.rewrite import Rewriter

Indices = npt.NDArray[np.int64]
Cut = Mapping[int, Indices]  # what is left of an axis, by axis; whole ones are not listed

_aten = torch.ops.aten


class Made:
    """A node of the new graph among arguments of the old one."""

    def __init__(self, node: Node) -> None:
        self.node = node


def _linear(rewriter: "Rewriter", node: Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
    read, made = rewriter.cuts[args[0]], rewriter.cuts[node]
    last = len(rewriter.shape(args[0])) - 1
    weight = {axis: cut[last] for axis, cut in ((0, made), (1, read)) if last in cut}
    args[1] = rewriter.parameter(args[1], weight, node)
    rewriter.vectors(node, args, kwargs, [2], ["bias"], made.get(last))
    return node.target, args, kwargs


def _convolution(rewriter: "Rewriter", node: Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
    read, made = rewriter.cuts[args[0]].get(1), rewriter.cuts[node].get(1)
    groups = args[6] if len(args) > 6 else kwargs.get("groups", 1)
    inputs = rewriter.shape(args[1])[1]
    weight = {} if made is None else {0: made}
    if groups > 1 and inputs == 1:
        groups = groups if read is None else len(read)
        if made is not None and len(made) % groups:
            raise rewriter.impossible(node)
    elif read is not None:
        gone = np.setdiff1d(np.arange(rewriter.shape(args[0])[1]), read) % inputs
        weight[1] = np.setdiff1d(np.arange(inputs), gone)  # the same in each group, of padding too
        if groups > 1:
            everywhere = (weight[1] + inputs * np.arange(groups)[:, None]).ravel()
            args[0] = rewriter.fitted(args[0], {**rewriter.cuts[args[0]], 1: everywhere}, node)
    args[1] = rewriter.parameter(args[1], weight, node)
    rewriter.vectors(node, args, kwargs, [2], ["bias"], made)
    if len(args) > 6:
        args[6] = groups
    elif "groups" in kwargs:
        kwargs["groups"] = groups
    return node.target, args, kwargs


def _transposed(rewriter: "Rewriter", node: Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
    read, made = rewriter.cuts[args[0]].get(1), rewriter.cuts[node].get(1)
    weight = {axis: left for axis, left in ((0, read), (1, made)) if left is not None}
    args[1] = rewriter.parameter(args[1], weight, node)
    rewriter.vectors(node, args, kwargs, [2], ["bias"], made)
    return node.target, args, kwargs


def _normalised(rewriter: "Rewriter", node: Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
    names = ["weight", "bias", "running_mean", "running_var"]
    rewriter.vectors(node, args, kwargs, [1, 2, 3, 4], names, rewriter.cuts[node].get(1))
    return node.target, args, kwargs


def _group_normalised(rewriter: "Rewriter", node: Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
    made, channels = rewriter.cuts[node].get(1), rewriter.shape(node)[1]
    if made is not None:
        args[1] = args[1] * len(made) // channels
    rewriter.vectors(node, args, kwargs, [2, 3], ["weight", "bias"], made)
    return node.target, args, kwargs


def _prelu(rewriter: "Rewriter", node: Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
    many = rewriter.shape(args[1])[0] > 1
    rewriter.vectors(node, args, kwargs, [1], [], rewriter.cuts[node].get(1) if many else None)
    return node.target, args, kwargs


def _attention(rewriter: "Rewriter", node: Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """The mask, the fourth argument or one by name, is added to what broadcasts to the result."""
    others, kwargs = rewriter.broadcast(node, args[3:], kwargs)
    return node.target, [*args[:3], *others], kwargs


def _sized(rewriter: "Rewriter", node: Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """View, reshape, expand, unflatten: sizes of what is cut are those of what is left."""
    place = 2 if operators.name_of(node.target) == "unflatten" else 1
    first = args[1] % len(rewriter.shape(args[0])) if place == 2 else 0
    sizes, cut = list(args[place]), rewriter.cuts[node]
    for axis, left in cut.items():
        at = axis - first
        if 0 <= at < len(sizes):
            whole = isinstance(sizes[at], Node)
            sizes[at] = rewriter.times_batch(len(left)) if whole else (-1 if sizes[at] == -1 else len(left))
    if sizes.count(-1) > 1:
        raise rewriter.impossible(node)
    args[place] = sizes
    return node.target, args, kwargs


def _concatenated(rewriter: "Rewriter", node: Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
    dim = (args[1] if len(args) > 1 else kwargs.get("dim", 0)) % len(rewriter.shape(node))
    cut, start, fitted = rewriter.cuts[node], 0, []
    for one in args[0]:
        length = rewriter.shape(one)[dim]
        want = {axis: left for axis, left in cut.items() if axis != dim}
        if dim in cut:
            here = cut[dim][(cut[dim] >= start) & (cut[dim] < start + length)] - start
            if len(here) < length:
                want[dim] = here
        fitted.append(rewriter.fitted(one, want, node))
        start += length
    return node.target, [fitted, *args[1:]], kwargs


def _padded(rewriter: "Rewriter", node: Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Padding of a cut axis is as long as what is left of it."""
    amounts, shape, cut = list(args[1]), rewriter.shape(args[0]), rewriter.cuts[node]
    have, constant = rewriter.cuts[args[0]], _is_constant_padding(node)
    for axis in cut.keys() | have.keys():
        at = 2 * (len(shape) - 1 - axis)
        if at + 1 >= len(amounts) or not (amounts[at] or amounts[at + 1]):
            continue
        if not constant:
            raise rewriter.impossible(node)
        before, after = amounts[at : at + 2]
        left = cut.get(axis, np.arange(before + shape[axis] + after))
        amounts[at] = int((left < before).sum())
        amounts[at + 1] = int((left >= before + shape[axis]).sum())
    args[1] = amounts
    return node.target, args, kwargs


def _is_constant_padding(node: Node) -> bool:
    """Return whether a padding fills up with one number."""
    mode = node.args[2] if len(node.args) > 2 else node.kwargs.get("mode", "constant")
    return operators.name_of(node.target) == "constant_pad_nd" or bool(mode == "constant")


def shorter_padding(node: Node, at: int, length: int, left: Indices) -> tuple[Any, ...] | None:
    """Return the arguments of a padding of which these indices are left along an axis of its result, of this length.

    `at` is the place of the axis in the amounts. None if the node is no padding, or if not all that it pads is left.
    """
    if operators.name_of(node.target) not in _PADDINGS or not _is_constant_padding(node):
        return None
    amounts: list[int] = [*node.args[1]]  # type: ignore[misc]
    if at + 1 >= len(amounts):
        return None
    end = length - amounts[at + 1]
    inside = int(((left >= amounts[at]) & (left < end)).sum())
    if inside < end - amounts[at]:
        return None
    amounts[at : at + 2] = int((left < amounts[at]).sum()), int((left >= end).sum())
    return (node.args[0], amounts, *node.args[2:])


def _sliced(rewriter: "Rewriter", node: Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
    dim = (args[1] if len(args) > 1 else 0) % len(rewriter.shape(args[0]))
    have = rewriter.cuts[args[0]].get(dim)
    if have is None:
        return node.target, args, kwargs
    length = rewriter.shape(args[0])[dim]
    given = [args[place] if len(args) > place else None for place in (2, 3, 4)]
    if any(isinstance(value, Node) for value in given):
        raise rewriter.impossible(node)
    chosen = np.arange(length)[slice(*given)]
    places = np.flatnonzero(np.isin(have, chosen))
    return _aten.index_select.default, [args[0], dim, Made(rewriter.indices(places))], {}


def _selected(rewriter: "Rewriter", node: Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
    dim = args[1] % len(rewriter.shape(args[0]))
    have = rewriter.cuts[args[0]].get(dim)
    if have is not None:
        index = args[2] % rewriter.shape(args[0])[dim]
        if index not in have:
            raise rewriter.impossible(node)
        args[2] = int(np.searchsorted(have, index))
    return node.target, args, kwargs


def _split(rewriter: "Rewriter", node: Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
    dim = (args[2] if len(args) > 2 else kwargs.get("dim", 0)) % len(rewriter.shape(args[0]))
    if dim not in rewriter.cuts[args[0]]:
        return node.target, args, kwargs
    parts = rewriter.tracer.flows[node]
    sizes = [
        len(cut[dim]) if dim in cut else part.labels.shape[dim]
        for part, cut in zip(parts, rewriter.cuts[node], strict=True)
    ]
    return _aten.split_with_sizes.default, [args[0], sizes, dim], {}


def _unbound(rewriter: "Rewriter", node: Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
    dim = args[1] if len(args) > 1 else kwargs.get("dim", 0)
    if dim % len(rewriter.shape(args[0])) in rewriter.cuts[args[0]]:
        raise rewriter.impossible(node)
    return node.target, args, kwargs


def _stacked(rewriter: "Rewriter", node: Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
    dim = (args[1] if len(args) > 1 else kwargs.get("dim", 0)) % len(rewriter.shape(node))
    cut = rewriter.cuts[node]
    if dim in cut:
        raise rewriter.impossible(node)
    want = {axis - (axis > dim): left for axis, left in cut.items()}
    return node.target, [[rewriter.fitted(one, want, node) for one in args[0]], *args[1:]], kwargs


def _halved(rewriter: "Rewriter", node: Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """GLU: both halves lose the same."""
    dim = (args[1] if len(args) > 1 else kwargs.get("dim", -1)) % len(rewriter.shape(node))
    want = dict(rewriter.cuts[node])
    if dim in want:
        want[dim] = np.concatenate([want[dim], want[dim] + rewriter.shape(node)[dim]])
    return node.target, [rewriter.fitted(args[0], want, node), *args[1:]], kwargs


def _rearranged(rewriter: "Rewriter", node: Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Operators that put the indices of one axis in another order, or leave some out, or repeat them."""
    first, shape, made = args[0], rewriter.shape(args[0]), rewriter.shape(node)
    target: Any = node.target
    constants = rewriter.values(args[1:], node)
    if len(shape) != len(made):
        raise rewriter.impossible(node)
    moved = {}
    for axis, length in enumerate(shape):
        lengths = [1] * len(shape)
        lengths[axis] = length
        found = target(torch.arange(length).view(lengths).expand(shape), *constants, **kwargs)
        sources = found.movedim(axis, 0).flatten(1)
        if (sources != sources[:, :1]).any():
            raise rewriter.impossible(node)
        if made[axis] != length or (sources[:, 0] != torch.arange(length)).any():
            moved[axis] = sources[:, 0].numpy()
    have = rewriter.cuts[first]
    if not moved.keys() & have.keys():
        return target, args, kwargs
    if len(moved) > 1:
        raise rewriter.impossible(node)
    ((axis, sources),) = moved.items()
    wanted = sources[rewriter.cuts[node].get(axis, np.arange(made[axis]))]
    if not np.isin(wanted, have[axis]).all():
        raise rewriter.impossible(node)
    places = np.searchsorted(have[axis], wanted)
    return _aten.index_select.default, [first, axis, Made(rewriter.indices(places))], {}


_PADDINGS = ("pad", "constant_pad_nd")
Rule = Callable[["Rewriter", Node, list[Any], dict[str, Any]], Any]
RULES: dict[str, Rule] = {
    "linear": _linear,
    **dict.fromkeys(["conv1d", "conv2d", "conv3d"], _convolution),
    **dict.fromkeys(["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"], _transposed),
    "batch_norm": _normalised,
    "instance_norm": _normalised,
    "group_norm": _group_normalised,
    "prelu": _prelu,
    "scaled_dot_product_attention": _attention,
    **dict.fromkeys(["view", "reshape", "expand", "unflatten"], _sized),
    **dict.fromkeys(["cat", "concat", "concatenate"], _concatenated),
    **dict.fromkeys(_PADDINGS, _padded),
    "slice": _sliced,
    "select": _selected,
    **dict.fromkeys(["split", "split_with_sizes", "chunk"], _split),
    **dict.fromkeys(
        ["channel_shuffle", "flip", "index", "index_select", "repeat", "repeat_interleave", "roll", "tile"], _rearranged
    ),
    "glu": _halved,
    "stack": _stacked,
    "unbind": _unbound,
}
