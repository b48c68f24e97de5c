"""Measure a network on a split, whatever runs it: a torch module, or an exported file under onnxruntime."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from slt_compress.data.batches import CPU, Feed, Tensors, call, channels_last, join, length, move
from slt_compress.data.splits import IndexedSplit, Split, count
from slt_compress.errors import DataError
from slt_compress.evaluation.classes import calibration_error
from slt_compress.evaluation.scores import InputFeatures, Scores
from slt_compress.progress import ReportCount
from slt_compress.tasks.task import CLASSIFY, Task
from slt_compress.training.distributed import SINGLE_PROCESS, DistributedContext

Classifier = Callable[[Tensors], Any]  # a prepared batch -> outputs, such as logits (n, classes)

BATCH_SIZE = 128  # larger ones leave the caches of a CPU: 500 took 1.0 to 1.25 times as long, and more on small CPUs


@dataclass(frozen=True)
class Details:
    """What a classifier of images makes of each of n images, in stored order.

    Attributes:
        scores: how sure it is.
        inputs: what the images are like.
        targets: the true classes, int64 (n,), on the CPU.
        names: of the images, such as their files; None where they have none.
    """

    scores: Scores
    inputs: InputFeatures
    targets: torch.Tensor
    names: Sequence[str] | None

    @property
    def right(self) -> torch.Tensor:
        """Which predictions are true, bool (n,)."""
        return self.scores.classes[:, 0] == self.targets

    @property
    def calibration_error(self) -> float:
        """The expected calibration error."""
        return calibration_error(self.scores.probabilities[:, 0], self.right)


@dataclass(frozen=True)
class Evaluation:
    """What a network makes of a split.

    Attributes:
        metric: of the whole split; the accuracy is a fraction.
        loss: mean over the examples, of a cross-entropy in nats; not a number where the loss is not known.
        samples: number of examples.
        seconds: time it took.
        predictions: of every example, on the CPU, such as its class, int64 (samples,); None where the metric is one of
            outputs that are not discrete.
        metric_name: what `metric` is.
        details: of every example, where they were asked for.
    """

    metric: float
    loss: float
    samples: int
    seconds: float
    predictions: torch.Tensor | None
    metric_name: str = CLASSIFY.record.metric
    details: Details | None = None

    @property
    def accuracy(self) -> float:
        """The metric, where it is the accuracy. Raises AttributeError where it is another one."""
        if self.metric_name != CLASSIFY.record.metric:
            raise AttributeError(f"measured was {self.metric_name}, not the accuracy: see `metric`")
        return self.metric

    @property
    def finite_loss(self) -> float | None:
        """The loss, None if it is not finite: JSON has no other word for that."""
        return self.loss if math.isfinite(self.loss) else None


@torch.no_grad()
def evaluate(
    classifier: Classifier,
    split: Split,
    feed: Feed,
    report: ReportCount | None = None,
    context: DistributedContext = SINGLE_PROCESS,
    *,
    task: Task = CLASSIFY,
    detailed: bool = False,
) -> Evaluation:
    """Measure a network on every example of a split, in stored order. `report` gets the number done and the total.

    `detailed` keeps the details of a classifier of images, which only one process can.

    The processes of a context share the examples, and all get the same result.

    Raises DataError if the split is empty.
    """
    start = time.perf_counter()
    loss, done = 0.0, 0
    kept, targets = [], []
    scores, features = [], []
    part = context.shard_of(split)
    total = count(part)
    for inputs, truth in part.batches(BATCH_SIZE):
        outputs = tree_map(_in_full, classifier(feed(inputs)))
        size = length(truth)
        loss += task.total_loss(outputs, truth, size)
        kept.append(move(task.kept(outputs), CPU))
        targets.append(move(truth, CPU))
        if detailed:
            scores.append(Scores.of(outputs))
            features.append(InputFeatures.of(inputs))
        done += size
        if report and total:
            report(done, total)
    if not kept:
        raise DataError("there is no example to measure the network on")
    samples = count(split) or done
    total_loss = context.all_reduce_sum(torch.tensor(loss, dtype=torch.float64)).item()
    everything, truths = (context.interleave(join(parts), samples) for parts in (kept, targets))
    details = None
    if detailed:
        names = split.names if isinstance(split, IndexedSplit) else None
        details = Details(Scores.join(scores), InputFeatures.join(features), truths, names)
    return Evaluation(
        metric=task.measure(everything, truths),
        loss=total_loss / samples,
        samples=samples,
        seconds=time.perf_counter() - start,
        predictions=everything if task.decides else None,
        metric_name=task.record.metric,
        details=details,
    )


def torch_classifier(module: nn.Module, device: torch.device) -> Classifier:
    """Return the module on a device, in evaluation mode and fp32, as a classifier.

    On a CPU the channels of a pixel lie side by side, which takes 0.75 to 0.95 of the time of convolutions and may
    change the last bit of a sum.
    """
    module = module.to(device).eval()
    if device.type != "cpu":
        return lambda inputs: call(module, inputs)
    return lambda inputs: call(module, channels_last(inputs))


def _in_full(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
