"""Probabilities that are right: the logits of a finished network are multiplied by what makes them so.

The logits of a frozen network are small, so its probabilities are far too modest. One number mends that, an inverse
temperature: the one with the least loss on held-out examples (C. Guo et al., On calibration of modern neural networks,
ICML 2017, arXiv:1706.04599). It changes no prediction and takes no byte, because the variance of the last norm, or the
scale of the last layer, takes it up.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from slt_compress.data.batches import Tensors
from slt_compress.evaluation.accuracy import BATCH_SIZE, torch_classifier
from slt_compress.masking.parameters import statistic_names
from slt_compress.pipeline.measure import restored
from slt_compress.pipeline.prepare import Prepared
from slt_compress.progress import ProgressReporter
from slt_compress.tasks.task import NamedLoss
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.distributed import SINGLE_PROCESS, DistributedContext

EXAMPLES = 2_000  # one number needs no more
VALUES = 2**24  # of all outputs together
MOST = 16.0  # what logits are multiplied with, or divided by
_TURNS = 30  # of a search that leaves two thirds of an interval
_STEPS = 1000  # factors are multiples of 1 / 1000, so that processes and machines agree
_LARGEST = 6e4  # variance, that float16 can hold


def tempered(
    ticket: Ticket, prepared: Prepared, reporter: ProgressReporter, context: DistributedContext = SINGLE_PROCESS
) -> Ticket:
    """Return the ticket with its logits multiplied by what makes the loss on held-out examples smallest.

    It stays as it is where the task's loss is not one of logits, such as a function of the user's, or where neither the
    last norm nor the last layer can take the factor: what comes behind it may not let it through.
    """
    loss = prepared.run.task.loss
    if not isinstance(loss, NamedLoss) or not loss.on_logits:
        return ticket
    module = restored(ticket, prepared)
    seen = _outputs(module, prepared, reporter)
    if seen is None:
        return ticket
    inputs, outputs, targets = seen
    best = _least(lambda factor: prepared.run.task.mean_loss(factor * outputs, targets).item())
    factor = context.broadcast(round(best * _STEPS)) / _STEPS
    for changed in _candidates(ticket, module, factor) if factor != 1 else ():
        with torch.no_grad():
            found = torch_classifier(restored(changed, prepared), prepared.device)(inputs).float().cpu()
        wanted = factor * outputs[: len(found)]
        if torch.allclose(found, wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max().item()):
            return changed
    return ticket


def _outputs(
    module: nn.Module, prepared: Prepared, reporter: ProgressReporter
) -> tuple[Tensors, torch.Tensor, torch.Tensor] | None:
    """Return the first batch of held-out examples, and logits and targets of them all, on the CPU; None if those are
    not finite, or not one tensor.
    """
    classifier = torch_classifier(module, prepared.device)
    first: Tensors | None = None
    outputs, targets = [], []
    done, values = 0, 0
    with torch.no_grad(), reporter.counter(f"looking at held-out {prepared.examples}") as report:
        for inputs, truth in prepared.run.validation.batches(BATCH_SIZE):
            batch = prepared.run.feed(inputs)
            found = classifier(batch)
            if not isinstance(found, torch.Tensor) or not torch.isfinite(found).all():
                return None
            first = batch if first is None else first
            outputs.append(found.float().cpu())
            targets.append(truth.cpu())
            done, values = done + len(found), values + found.numel()
            if report:
                report(min(done, EXAMPLES), EXAMPLES)
            if done >= EXAMPLES or values >= VALUES:
                break
    return None if first is None else (first, torch.cat(outputs), torch.cat(targets))


def _least(loss: Callable[[float], float]) -> float:
    """Return where a function of a factor is least that falls and then rises, from 1 / `MOST` to `MOST`."""
    low, high = -math.log(MOST), math.log(MOST)
    for _ in range(_TURNS):
        third = (high - low) / 3
        if loss(math.exp(low + third)) < loss(math.exp(high - third)):
            high -= third
        else:
            low += third
    return math.exp((low + high) / 2)


def _candidates(ticket: Ticket, module: nn.Module, factor: float) -> Iterator[Ticket]:
    """Yield the ticket with the last norm, or the last layer, changed; first whichever of them comes last."""
    order = [path for path, _ in module.named_modules()]
    path = ticket.layers[-1].name.rpartition(".")[0]
    names = [layer.name for layer in ticket.layers if layer.name.rpartition(".")[0] == path]
    found = {order.index(path): ticket.with_scaled(names, factor)}
    variances = [name for name in statistic_names(module) if name.endswith("running_var")]
    if variances and (changed := _with_norm(ticket, module, variances[-1], factor)):
        found[order.index(variances[-1].rpartition(".")[0])] = changed
    for place in sorted(found, reverse=True):
        yield found[place]


def _with_norm(ticket: Ticket, module: nn.Module, name: str, factor: float) -> Ticket | None:
    """Return the ticket with a norm, by the name of its variance, whose outputs are `factor` times what they were; None
    if there is no such variance.
    """
    epsilon = float(getattr(module.get_submodule(name.rpartition(".")[0]), "eps", 0.0))
    variance = (ticket.statistics[name].astype(np.float64) + epsilon) / factor**2 - epsilon
    if variance.min(initial=1) <= 0 or variance.max(initial=0) > _LARGEST:
        return None
    return ticket.with_statistics({**ticket.statistics, name: variance.astype(np.float32)})
