"""The loop over training images that the search of a mask and the training of a dense network share.

What is optimised is a `Trainer`'s business; the loop brings the batches, counts the steps and reports.
"""

import contextlib
import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from slt_compress.config import DEFAULT_EPOCHS, MIN_STEPS
from slt_compress.data.augment import Augmentation
from slt_compress.data.preprocessing import Preprocessing
from slt_compress.data.sampler import WHOLE, Shard
from slt_compress.data.splits import Batch, Split
from slt_compress.errors import UsageError
from slt_compress.masking.parameters import statistic_names
from slt_compress.progress import ReportTraining, TrainingProgress
from slt_compress.training.device import FP32

PEEK_IMAGES = 1_000  # validation images behind the accuracy shown while a run lasts, or a batch if that is less
_REPORTS = 100  # of a run, about


@dataclass(frozen=True)
class Budget:
    """How long a run is: `steps` optimiser steps of `batch_size` images, about `epochs` passes."""

    steps: int
    batch_size: int
    epochs: float

    @classmethod
    def plan(cls, images: int, batch_size: int, epochs: int | None, max_steps: int | None) -> "Budget":
        """Return the budget for a training split of so many images; by default 12 epochs and at least 1,000 steps."""
        batch_size = min(batch_size, images)
        if batch_size < 2:
            raise UsageError(f"a batch needs at least 2 training images, got {batch_size}")
        per_epoch = images // batch_size
        steps = max_steps or (epochs or max(DEFAULT_EPOCHS, math.ceil(MIN_STEPS / per_epoch))) * per_epoch
        return cls(steps, batch_size, steps / per_epoch)


@dataclass(frozen=True)
class TrainingRun:
    """What a run sees, and for how long.

    Attributes:
        train: what the steps are made on.
        validation: held-out training images; the loop shows the accuracy on some of them.
        preprocessing: of all images.
        budget: number and size of the steps.
        seed: of the order of the images.
        augmentation: random changes of training images.
        precision: as in `forward`.
    """

    train: Split
    validation: Split
    preprocessing: Preprocessing
    budget: Budget
    seed: int
    augmentation: Augmentation = Augmentation()
    precision: str = FP32

    def order(self) -> torch.Generator:
        """Return a fresh generator of the order of the images."""
        return torch.Generator().manual_seed(torch_seed(self.seed))

    def batches(self, order: torch.Generator, first: int = 0, shard: Shard = WHOLE) -> Iterator[Batch]:
        """Yield a batch, normalised, for every step from `first` on: passes over the training images, each in a new
        order. `shard` as in `Split.batches`.
        """
        steps, size = self.budget.steps, self.budget.batch_size
        finished, skip = divmod(first, len(self.train) // size)
        for _ in range(finished):
            torch.randperm(len(self.train), generator=order)  # what the pass has drawn
        skips = itertools.chain([skip], itertools.repeat(0))
        passes = (self.train.batches(size, shuffle=order, drop_last=True, skip=skip, shard=shard) for skip in skips)
        for step, (images, labels) in zip(range(first, steps), itertools.chain.from_iterable(passes), strict=False):
            yield self.preprocessing(self.augmentation(images, step, size, shard)), labels

    def unusual_settings(self) -> dict[str, str]:
        """Return what of it is not the default, as a ticket records it."""
        chosen = {"augment": (self.augmentation.name, "none"), "precision": (self.precision, FP32)}
        return {name: value for name, (value, default) in chosen.items() if value != default}


class Clock:
    """Counts the seconds of an optimisation, without those spent on showing how it goes."""

    def __init__(self, spent: float = 0.0) -> None:
        self._start = time.perf_counter() - spent

    def seconds(self) -> float:
        return time.perf_counter() - self._start

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        before = time.perf_counter()
        yield
        self._start += time.perf_counter() - before


class Trainer(Protocol):
    """What is optimised in a run."""

    module: nn.Module

    def step(self, step: int, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Make one optimiser step on normalised images, and return their cross-entropy, detached."""

    def show(self) -> float:
        """Bring the module into the state whose accuracy is shown, and return its sparsity."""


def optimise(
    trainer: Trainer,
    run: TrainingRun,
    clock: Clock,
    report: ReportTraining | None = None,
    *,
    order: torch.Generator | None = None,
    first: int = 0,
    shard: Shard = WHOLE,
) -> Iterator[int]:
    """Make the steps of a run from `first` on, and yield after each the number of those that are done.

    `report` is called about a hundred times and has no influence on the result; without it nothing is measured on the
    way. `order` is the generator that draws the order of the images, `run.order()` if not given.
    """
    budget, module = run.budget, trainer.module
    shown = next(run.validation.batches(min(PEEK_IMAGES, budget.batch_size)))
    report_every = max(1, budget.steps // _REPORTS)
    last_report, last_step = clock.seconds(), first
    module.train()
    batches = run.batches(order or run.order(), first, shard)
    for done, (images, labels) in enumerate(batches, first + 1):
        loss = trainer.step(done - 1, images, labels)
        if report and (done % report_every == 0 or done == budget.steps):
            cross_entropy = loss.item()  # waits for a GPU
            now = clock.seconds()
            rate = (done - last_step) * budget.batch_size / (now - last_report)
            last_report, last_step = now, done
            with clock.stopped():
                sparsity = trainer.show()
                accuracy = peek(module, shown, run.preprocessing) if len(shown[1]) > 1 else None
                report(TrainingProgress(done, budget.steps, cross_entropy, sparsity, accuracy, rate))
        yield done


def forward(module: nn.Module, images: torch.Tensor, precision: str) -> torch.Tensor:
    """Return the float32 logits of a network in training, for images of shape (n, channels, height, width).

    "fp32" computes as the weights are stored; "bf16" lets torch's autocast multiply in bfloat16. Weights, gates and
    gradients of gates are float32 either way. Where it makes convolutions quicker, on a CPU and for the matrix units of
    a GPU, the channels of a pixel lie side by side.
    """
    if images.device.type == "cpu" or (images.is_cuda and precision != FP32):
        images = images.contiguous(memory_format=torch.channels_last)
    if precision == FP32:
        logits: torch.Tensor = module(images)
        return logits
    with torch.autocast(images.device.type, torch.bfloat16):
        logits = module(images)
    return logits.float()


@torch.no_grad()
def peek(module: nn.Module, batch: Batch, preprocessing: Preprocessing) -> float:
    """Return the accuracy of a network in training, normalised by the batch's own statistics, as a fraction.

    The running statistics are left alone.
    """
    kept = {name: module.get_buffer(name).clone() for name in statistic_names(module)}
    images, labels = batch
    predictions: torch.Tensor = module(preprocessing(images)).argmax(1)
    accuracy = (predictions == labels).float().mean().item()
    for name, values in kept.items():
        module.get_buffer(name).copy_(values)
    return accuracy


def torch_seed(seed: int) -> int:
    """Return the seed as torch takes it: it refuses the upper half of u64 on some devices."""
    return seed - 2**64 if seed >= 2**63 else seed
