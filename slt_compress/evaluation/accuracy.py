"""Measure a classifier, whatever runs it: a torch module, or an exported file under onnxruntime."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from slt_compress.data.splits import Split
from slt_compress.progress import ReportCount
from slt_compress.training.distributed import SINGLE_PROCESS, DistributedContext

Classifier = Callable[[torch.Tensor], torch.Tensor]  # preprocessed images -> logits (n, classes)
Feed = Callable[[torch.Tensor], torch.Tensor]  # uint8 (n, channels, size, size) -> what a classifier takes

BATCH_SIZE = 128  # larger ones leave the caches of a CPU: 500 took 1.0 to 1.25 times as long, and more on small CPUs


@dataclass(frozen=True)
class Evaluation:
    """What a classifier makes of a split.

    Attributes:
        accuracy: as a fraction.
        loss: mean cross-entropy in nats.
        samples: number of images.
        seconds: time it took.
        predictions: class of every image, int64 (samples,), on the CPU.
    """

    accuracy: float
    loss: float
    samples: int
    seconds: float
    predictions: torch.Tensor

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
) -> Evaluation:
    """Classify every image of a split, in stored order. `report` gets the number done and the total.

    The processes of a context share the images, and all get the same result.
    """
    start = time.perf_counter()
    loss, predictions, correct = 0.0, [], 0
    part = context.shard_of(split)
    done = 0
    for images, truth in part.batches(BATCH_SIZE):
        logits = classifier(feed(images)).float()
        loss += F.cross_entropy(logits, truth, reduction="sum").item()
        predictions.append(logits.argmax(1).cpu())
        correct += int((predictions[-1] == truth.cpu()).sum())
        done += len(truth)
        if report:
            report(done, len(part))
    predicted = torch.zeros(len(split), dtype=torch.int64)
    predicted[context.rank :: context.size] = torch.cat(predictions)
    sums = context.all_reduce_sum(torch.tensor([correct, loss], dtype=torch.float64))
    return Evaluation(
        accuracy=sums[0].item() / len(split),
        loss=sums[1].item() / len(split),
        samples=len(split),
        seconds=time.perf_counter() - start,
        predictions=context.all_reduce_sum(predicted),
    )


def torch_classifier(module: nn.Module, device: torch.device) -> Classifier:
    """Return the module on a device, in evaluation mode and fp32, as a classifier.

    On a CPU the channels of a pixel lie side by side, which takes 0.75 to 0.95 of the time of convolutions and may
    change the last bit of a sum.
    """
    module = module.to(device).eval()
    if device.type != "cpu":
        return module
    return lambda images: module(images.contiguous(memory_format=torch.channels_last))
