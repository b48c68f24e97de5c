"""A network, a loss and a metric of the user's, tried on a few examples: what does not fit together is said before the
first step of a search, and not after an hour.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from slt_compress.data.batches import CPU, Feed, Tensors, call, length, move
from slt_compress.data.own import first_batch
from slt_compress.data.splits import Split, TensorSplit
from slt_compress.errors import SltError, UsageError, first_line
from slt_compress.evaluation.accuracy import evaluate, torch_classifier
from slt_compress.models.source import NetworkSource
from slt_compress.tasks.record import TensorRecord
from slt_compress.tasks.task import CLASSIFY, NamedLoss, NamedMetric, Task

_TRIED = 32  # examples


def try_out(source: NetworkSource, train: Split, validation: Split, feed: Feed, task: Task) -> tuple[TensorRecord, ...]:
    """Pass a batch through a new network, loss and metric, and return what comes out of the network.

    Raises UsageError, with the shapes, for what does not fit together: now, and not after an hour.
    """
    module = source.build().requires_grad_()
    inputs, targets = (move(part, CPU) for part in first_batch(train, "train", _TRIED))
    outputs = _tried_outputs(source, module, feed, inputs)
    check_classes(task, train, records(outputs))
    found = f"outputs {_shapes(outputs)} and targets {_shapes(targets)}"
    names = task.record
    if isinstance(task.loss, NamedLoss) and task.loss.same_shape and outputs.shape != targets.shape:
        raise UsageError(f"the loss {names.loss} needs outputs and targets of one shape, got {found}")
    loss = _attempt(lambda: task.search_loss(outputs, targets), f"the loss {names.loss} cannot be computed of {found}")
    if not isinstance(loss, torch.Tensor) or loss.ndim or not loss.requires_grad:
        got = _shapes(loss) if isinstance(loss, torch.Tensor) else repr(loss)
        raise UsageError(f"the loss {names.loss} must be a scalar that depends on the network's weights, got {got}")
    if isinstance(task.metric, NamedMetric):
        with torch.no_grad():
            _attempt(
                lambda: task.measure(task.kept(outputs), targets),
                f"the metric {names.metric} cannot be computed of {found}",
            )
    else:  # it may need more than a batch, all classes say
        _attempt(
            lambda: evaluate(torch_classifier(module, CPU), validation.to(CPU), feed, task=task),
            f"the metric {names.metric} cannot be computed of the held-out examples",
        )
    return records(outputs)


def _tried_outputs(source: NetworkSource, module: nn.Module, feed: Feed, inputs: Tensors) -> Tensors:
    """Return what a new network makes of a batch in training, once it has been shown to do the same in evaluation, and
    with a single example.

    Raises UsageError for what no loss, metric or file could take.
    """
    shapes = []
    one = tree_map(lambda leaf: leaf[:1], inputs)
    for batch, training in ((inputs, False), (one, False), (inputs, True)):
        fed = feed(batch)
        failure = f"the network {source.name} cannot take {_shapes(fed)}"
        outputs = _attempt(partial(call, module.train(training), fed), failure)
        leaves = outputs if isinstance(outputs, tuple) else (outputs,)
        several = len(leaves) != 1 or leaves[0] is outputs
        if not leaves or not several or not all(isinstance(leaf, torch.Tensor) and leaf.ndim for leaf in leaves):
            raise UsageError(
                f"the network {source.name} must return a tensor or a tuple of several, with a row for each example, "
                f"got {_kinds(outputs)}: wrap it in a module that does"
            )
        if any(len(leaf) != length(batch) for leaf in leaves):
            raise UsageError(
                f"the network {source.name} must return a row for each example: of {length(batch)} examples came "
                f"{_shapes(outputs)}"
            )
        shapes.append([leaf.shape[1:] for leaf in leaves])
    if any(found != shapes[0] for found in shapes):
        raise UsageError(
            f"the outputs of the network {source.name} differ in shape for several examples, for one, and in training: "
            f"{', '.join(str([tuple(shape) for shape in found]) for found in shapes)}"
        )
    return outputs


def _kinds(outputs: Any) -> str:
    """Return what a network has returned, in a few words."""
    if isinstance(outputs, tuple):
        return f"({', '.join(map(_kinds, outputs))})"
    if isinstance(outputs, torch.Tensor):
        return f"a tensor of shape {tuple(outputs.shape)}"
    return "None" if outputs is None else f"a {type(outputs).__name__}"


def check_classes(task: Task, split: Split, outputs: Sequence[TensorRecord]) -> None:
    """Raise UsageError if a class among targets in memory has no logit: later, a step would fail on it."""
    if task.record.loss != CLASSIFY.record.loss or not isinstance(split, TensorSplit) or len(outputs) != 1:
        return
    highest = -1 if split.targets.is_floating_point() else int(split.targets.max())
    logits = outputs[0].shape[0] if outputs[0].shape else 1
    if highest >= logits:
        raise UsageError(f"the targets go up to class {highest}, the network has logits for {logits} classes")


def _attempt(what: Callable[[], Any], failure: str) -> Any:
    """Call the user's code. Raises UsageError with what it raised."""
    try:
        return what()
    except SltError:
        raise
    except Exception as error:
        reason = first_line(error)
        raise UsageError(f"{failure} ({type(error).__name__}: {reason})") from error


def _shapes(tensors: Tensors) -> str:
    leaves = tree_leaves(tensors)
    found = [f"{tuple(leaf.shape)} {str(leaf.dtype).removeprefix('torch.')}" for leaf in leaves]
    return found[0] if len(found) == 1 else f"[{', '.join(found)}]"


def records(batch: Tensors) -> tuple[TensorRecord, ...]:
    """Return what a file says of the tensors of a batch."""
    return tuple(
        TensorRecord(tuple(leaf.shape[1:]), str(leaf.dtype).removeprefix("torch.")) for leaf in tree_leaves(batch)
    )
