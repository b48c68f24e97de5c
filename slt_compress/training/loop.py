"""The loop over training images that the search of a mask and the training of a dense network share.

What is optimised is a `Trainer`'s business; the loop brings the batches, counts the steps and reports.
"""

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from slt_compress import prng
from slt_compress.config import DEFAULT_EPOCHS, MIN_STEPS
from slt_compress.data.augment import Augmentation
from slt_compress.data.batches import CPU, Feed, Tensors, call, channels_last, length, move
from slt_compress.data.sampler import WHOLE, Shard
from slt_compress.data.splits import Batch, Split
from slt_compress.errors import UsageError
from slt_compress.progress import ReportTraining, TrainingProgress
from slt_compress.tasks.task import CLASSIFY, Targets, Task
from slt_compress.training.attention import QuickAttention
from slt_compress.training.device import FP32

PEEK_EXAMPLES = 1_000  # validation examples behind the metric shown while a run lasts, or a batch if that is less
_REPORTS = 100  # of a run, about


@dataclass(frozen=True)
class Budget:
    """How long a run is: `steps` optimiser steps of `batch_size` examples, about `epochs` passes, None if unknown."""

    steps: int
    batch_size: int
    epochs: float | None

    @classmethod
    def plan(cls, examples: int | None, batch_size: int, epochs: int | None, max_steps: int | None) -> "Budget":
        """Return the budget for a training split of so many examples; by default 12 epochs and at least 1,000 steps.

        Raises UsageError if batches would be too small, or where the number of examples is not known (None) and that
        of the steps is not given.
        """
        if examples is None:
            if max_steps is None:
                raise UsageError("the length of the training data is not known: give `max_steps`")
            return cls(max_steps, batch_size, None)
        batch_size = min(batch_size, examples)
        if batch_size < 2:
            raise UsageError(f"a batch needs at least 2 training images, got {batch_size}")
        per_epoch = examples // batch_size
        steps = max_steps or (epochs or max(DEFAULT_EPOCHS, math.ceil(MIN_STEPS / per_epoch))) * per_epoch
        return cls(steps, batch_size, steps / per_epoch)


@dataclass(frozen=True)
class TrainingRun:
    """What a run sees, and for how long.

    Attributes:
        train: what the steps are made on.
        validation: held-out training examples; the loop shows the metric on some of them.
        feed: turns inputs of these splits into what the network takes.
        budget: number and size of the steps.
        seed: of the order of the examples.
        augmentation: random changes of training images.
        precision: as in `forward`.
        task: what is minimised and measured.
    """

    train: Split
    validation: Split
    feed: Feed
    budget: Budget
    seed: int
    augmentation: Augmentation = Augmentation()
    precision: str = FP32
    task: Task = CLASSIFY

    def order(self) -> torch.Generator:
        """Return a fresh generator of the order of the images."""
        return torch.Generator().manual_seed(torch_seed(self.seed))

    def batches(self, order: torch.Generator, first: int = 0, shard: Shard = WHOLE) -> Iterator[Batch]:
        """Yield a batch, as the network takes it, for every step from `first` on: passes over the training examples,
        each in a new order. `shard` as in `Split.batches`.
        """
        steps, size = self.budget.steps, self.budget.batch_size
        passes = self.train.passes(size, order, first, shard)
        for step, (inputs, targets) in zip(range(first, steps), passes, strict=False):
            yield self.feed(self.augmentation(inputs, step, size, shard)), targets

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

    def add(self, seconds: float) -> None:
        """Count seconds that were spent before."""
        self._start -= seconds

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        before = time.perf_counter()
        yield
        self._start += time.perf_counter() - before


class Trainer(Protocol):
    """What is optimised in a run."""

    module: nn.Module

    def step(self, step: int, inputs: Tensors, targets: Targets) -> torch.Tensor:
        """Make one optimiser step on a batch, and return its loss, detached."""

    def show(self) -> float:
        """Bring the module into the state whose metric is shown, and return its sparsity."""


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
    shown = next(iter(run.validation.batches(min(PEEK_EXAMPLES, budget.batch_size))))
    report_every = max(1, budget.steps // _REPORTS)
    last_report, last_step = clock.seconds(), first
    module.train()
    batches = run.batches(order or run.order(), first, shard)
    device = tree_leaves(shown)[0].device
    with noise(run, first, device):
        for done, (inputs, targets) in enumerate(batches, first + 1):
            loss = trainer.step(done - 1, inputs, targets)
            if report and (done % report_every == 0 or done == budget.steps):
                minimised = loss.item()  # waits for a GPU
                now = clock.seconds()
                rate = (done - last_step) * budget.batch_size / (now - last_report)
                last_report, last_step = now, done
                with clock.stopped():
                    sparsity = trainer.show()
                    metric = peek(module, shown, run) if length(shown[1]) > 1 else None
                    name = run.task.record.metric
                    report(TrainingProgress(done, budget.steps, minimised, sparsity, metric, rate, name))
            _seed_noise(run, done)
            yield done


@contextlib.contextmanager
def noise(run: TrainingRun, step: int, device: torch.device) -> Iterator[None]:
    """Let what is drawn from torch's global generator in the block follow from seed and step, and leave it as it was:
    a user's network or data may draw.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        _seed_noise(run, step)
        yield


def _seed_noise(run: TrainingRun, step: int) -> None:
    torch.manual_seed(prng.words(run.seed, "noise", f"step {step}", 1)[0].item())


def forward(module: nn.Module, inputs: Tensors, precision: str) -> Tensors:
    """Return what a network in training makes of a batch, in float32.

    "fp32" computes as the weights are stored; "bf16" lets torch's autocast multiply in bfloat16. Weights, gates and
    gradients of gates are float32 either way. Where it makes convolutions quicker, on a CPU and for the matrix units of
    a GPU, the channels of a pixel lie side by side.
    """
    device = tree_leaves(inputs)[0].device.type
    if device == "cpu" or (device == "cuda" and precision != FP32):
        inputs = channels_last(inputs)
    if precision == FP32:
        return call(module, inputs)
    quick_attention = QuickAttention() if device == "cpu" else contextlib.nullcontext()
    # The cache of an autocast around this one would keep the weights of an earlier step.
    with torch.autocast(device, torch.bfloat16, cache_enabled=False), quick_attention:
        outputs = call(module, inputs)
    return tree_map(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor, outputs)


@torch.no_grad()
def peek(module: nn.Module, batch: Batch, run: TrainingRun) -> float | None:
    """Return the metric of a network in training on one batch, normalised by the batch's own statistics.

    None where that fails, as a user's network or metric may on a batch of this size or without some class: what is
    shown must not end a search. No buffer is changed by it.
    """
    kept = {name: buffer.clone() for name, buffer in module.named_buffers()}
    inputs, targets = batch
    try:
        outputs = run.task.kept(forward(module, run.feed(inputs), run.precision))
        return run.task.measure(move(outputs, CPU), move(targets, CPU))
    except Exception:
        return None
    finally:
        for name, values in kept.items():
            module.get_buffer(name).copy_(values)


def torch_seed(seed: int) -> int:
    """Return the seed as torch takes it: it refuses the upper half of u64 on some devices."""
    return seed - 2**64 if seed >= 2**63 else seed
