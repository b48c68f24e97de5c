"""Tasks: a loss that a search minimises, a metric that its result is measured by, and the names that a file has for
both.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from slt_compress.errors import UsageError
from slt_compress.tasks import metrics
from slt_compress.tasks.record import CLASSIFICATION, MULTI_LABEL, OTHER, REGRESSION, TaskRecord

MINUS_LOSS = "minus the loss"  # the metric of a loss that is a function, where no other is given
LOGIT_SCALE = 1.5  # frozen networks have small logits, often of unit variance, that no class can stand out from

Outputs = Any  # what a network returns for a batch: a tensor (n, …), or a tuple of them
Targets = Any  # likewise, what a data set gives
Loss = Callable[..., torch.Tensor]  # outputs, targets -> mean over the batch, a scalar
Metric = Callable[[Outputs, Targets], float]  # of a whole split, on the CPU; the higher, the better


@dataclass(frozen=True)
class NamedLoss:
    """A loss that a file can name.

    Attributes:
        function: takes outputs, targets and, as torch's losses do, `reduction`.
        task: name of the task that it is for.
        metric: name of the metric that goes with it.
        on_logits: whether the outputs are logits, which a search sharpens.
        same_shape: whether outputs and targets have the same shape.
    """

    function: Loss
    task: str
    metric: str
    on_logits: bool = True
    same_shape: bool = True


@dataclass(frozen=True)
class NamedMetric:
    """A metric that a file can name.

    Attributes:
        function: takes predictions and targets.
        decide: turns outputs into predictions; None where the metric takes the outputs.
    """

    function: Metric
    decide: Callable[[torch.Tensor], torch.Tensor] | None = None


def _cross_entropy(outputs: torch.Tensor, targets: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    return F.cross_entropy(outputs, targets if targets.is_floating_point() else targets.long(), reduction=reduction)


def _binary_cross_entropy(outputs: torch.Tensor, targets: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype), reduction=reduction)


def _squared_error(outputs: torch.Tensor, targets: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    return F.mse_loss(outputs, targets.to(outputs.dtype), reduction=reduction)


def _most_likely(logits: torch.Tensor) -> torch.Tensor:
    return logits.argmax(1)


def _likely(logits: torch.Tensor) -> torch.Tensor:
    return logits > 0


LOSSES = {
    "cross-entropy": NamedLoss(_cross_entropy, CLASSIFICATION, "accuracy", same_shape=False),
    "binary-cross-entropy": NamedLoss(_binary_cross_entropy, MULTI_LABEL, "f1"),
    "mse": NamedLoss(_squared_error, REGRESSION, "r2", on_logits=False),
}
METRICS = {
    "accuracy": NamedMetric(metrics.accuracy, _most_likely),
    "mean-iou": NamedMetric(metrics.mean_iou, _most_likely),
    "f1": NamedMetric(metrics.f1, _likely),
    "r2": NamedMetric(metrics.r2),
}


@dataclass(frozen=True)
class Task:
    """What a network is searched for: a loss and a metric, each by name or a function of the user's.

    Attributes:
        record: what a file says of it.
        loss: None where a file's loss is a function that was not given again.
        metric: likewise never None.
    """

    record: TaskRecord
    loss: NamedLoss | Loss | None
    metric: NamedMetric | Metric

    def search_loss(self, outputs: Outputs, targets: Targets) -> torch.Tensor:
        """Return what a search minimises: the mean loss of a batch, with logits multiplied by `LOGIT_SCALE`."""
        if isinstance(self.loss, NamedLoss) and self.loss.on_logits:
            return self.mean_loss(LOGIT_SCALE * outputs, targets)
        return self.mean_loss(outputs, targets)

    def mean_loss(self, outputs: Outputs, targets: Targets) -> torch.Tensor:
        """Return the mean loss of a batch."""
        assert self.loss
        return (self.loss.function if isinstance(self.loss, NamedLoss) else self.loss)(outputs, targets)

    def total_loss(self, outputs: Outputs, targets: Targets, count: int) -> float:
        """Return the loss of a batch of `count` examples times `count`; not a number where no loss is known."""
        if self.loss is None:
            return math.nan
        if isinstance(self.loss, NamedLoss) and targets.ndim == 1 and not (targets < 0).any():
            return self.loss.function(outputs, targets, reduction="sum").item()  # exact however the split is cut
        return self.mean_loss(outputs, targets).item() * count

    @property
    def decides(self) -> bool:
        """Whether the metric takes predictions, which are discrete, instead of outputs."""
        return isinstance(self.metric, NamedMetric) and self.metric.decide is not None

    def kept(self, outputs: Outputs) -> Outputs:
        """Return what the metric needs of a batch's outputs."""
        if isinstance(self.metric, NamedMetric) and self.metric.decide:
            return self.metric.decide(outputs)
        return outputs

    def measure(self, kept: Outputs, targets: Targets) -> float:
        """Return the metric of a whole split, from what `kept` has returned and the targets, on the CPU.

        Raises UsageError if a named metric does not fit the shapes, or the user's function returns no number.
        """
        if isinstance(self.metric, NamedMetric) and kept.shape != targets.shape:
            raise UsageError(
                f"the metric {self.record.metric} compares outputs with targets of the same number, got "
                f"{tuple(kept.shape)} and {tuple(targets.shape)}: give another `metric`"
            )
        function = self.metric.function if isinstance(self.metric, NamedMetric) else self.metric
        value: Any = function(kept, targets)
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise UsageError(f"`metric` must return one number, got {value!r}") from error


def task_of(loss: str | Loss | None = None, metric: str | Metric | None = None) -> Task:
    """Return the task of a loss and a metric.

    Args:
        loss: a key of `LOSSES`, "cross-entropy" if none is given, or a function.
        metric: a key of `METRICS`, or a function. Without it, the metric that goes with a named loss, and for a
            function minus the loss.

    Raises UsageError for an unknown name.
    """
    loss = "cross-entropy" if loss is None else loss
    chosen = _look_up(loss, LOSSES, "loss")
    if metric is not None:
        measured = _name_of(metric)
    elif isinstance(chosen, NamedLoss):
        measured = metric = chosen.metric
    else:
        measured, metric = MINUS_LOSS, _negative(chosen)
    name = chosen.task if isinstance(chosen, NamedLoss) else OTHER
    return Task(TaskRecord(name, _name_of(loss), measured), chosen, _look_up(metric, METRICS, "metric"))


CLASSIFY = Task(TaskRecord(), LOSSES["cross-entropy"], METRICS["accuracy"])


def recorded_task(record: TaskRecord, loss: str | Loss | None = None, metric: str | Metric | None = None) -> Task:
    """Return the task that a file records. Functions of the user's must be given again; without its loss, a network is
    measured all the same.

    Raises UsageError if the metric is a function, or minus one, and is not given.
    """
    chosen = LOSSES.get(record.loss) if loss is None else _look_up(loss, LOSSES, "loss")
    names = TaskRecord(
        record.name,
        record.loss if loss is None else _name_of(loss),
        record.metric if metric is None else _name_of(metric),
    )
    if metric is None and record.metric == MINUS_LOSS and chosen and not isinstance(chosen, NamedLoss):
        return Task(names, chosen, _negative(chosen))
    if metric is None and record.metric not in METRICS:
        missing = "`loss`" if record.metric == MINUS_LOSS else "`metric`"
        raise UsageError(f"the network is measured by a function of your own, {record.metric}: give {missing}")
    return Task(names, chosen, _look_up(record.metric if metric is None else metric, METRICS, "metric"))


def _look_up(value: Any, known: dict[str, Any], what: str) -> Any:
    if not isinstance(value, str):
        if not callable(value):
            raise UsageError(f"`{what}` must be a function or one of {', '.join(known)}, got {value!r}")
        return value
    if value not in known:
        raise UsageError(f"unknown `{what}` {value!r}: give a function, or one of {', '.join(known)}")
    return known[value]


def _name_of(value: Any) -> str:
    """Return what a file calls it: of a function its name, marked where one of ours has the same."""
    if isinstance(value, str):
        return value
    name = str(getattr(value, "__name__", type(value).__name__))[:90]
    return f"{name}()" if name in {*LOSSES, *METRICS, "loss", MINUS_LOSS} else name


def _negative(loss: Loss) -> Metric:
    def negative_loss(outputs: Outputs, targets: Targets) -> float:
        return -loss(outputs, targets).item()

    return negative_loss
