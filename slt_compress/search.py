"""Find a mask: the optimisation loop over gates, and the BatchNorm statistics of the network it leaves.

The loss is the cross-entropy of the gated network, sharpened, plus the method's penalty. No weight is trained:
the only parameter is the method's flat tensor. Choices are made on held-out training pictures; the test split is never
seen here.
"""

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from slt_compress import methods
from slt_compress.augment import Augmentation
from slt_compress.checkpoint import Checkpoints, State
from slt_compress.errors import UsageError
from slt_compress.gates import Method
from slt_compress.network import FlatNetwork, statistic_names
from slt_compress.parallel import ALONE, Team
from slt_compress.pictures import Batch, Preprocessing, Split
from slt_compress.ranking import random_mask

MIN_STEPS = 1_000  # default budgets give every data set at least so many optimiser steps
RECALIBRATION_PICTURES = 10_000
LOGIT_SCALE = 1.5  # frozen networks have small logits, often of unit variance, that no class can stand out from
PEEK_PICTURES = 1_000  # validation pictures behind the accuracy shown while a search runs, or a batch if that is less


@dataclass(frozen=True)
class Budget:
    """How long a search runs: `steps` optimiser steps of `batch_size` pictures, about `epochs` passes."""

    steps: int
    batch_size: int
    epochs: float

    @classmethod
    def plan(
        cls, pictures: int, batch_size: int, default_epochs: int, epochs: int | None, max_steps: int | None
    ) -> "Budget":
        """Return the budget for a training split of `pictures`; `max_steps`, then `epochs`, override the default."""
        batch_size = min(batch_size, pictures)
        if batch_size < 2:
            raise UsageError(f"a search needs at least 2 training pictures a batch, got {batch_size}")
        per_epoch = pictures // batch_size
        steps = max_steps or (epochs or max(default_epochs, math.ceil(MIN_STEPS / per_epoch))) * per_epoch
        return cls(steps, batch_size, steps / per_epoch)


@dataclass(frozen=True)
class Course:
    """How a network is taught, whether by a search or by training all its weights; `precision` as in `forward`."""

    budget: Budget
    preprocessing: Preprocessing
    augmentation: Augmentation = Augmentation()
    precision: str = "fp32"

    def batches(
        self, train: Split, order: torch.Generator, first: int = 0, share: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        """Yield a batch, normalised, for every step from `first` on: passes over the training pictures, each in a new
        order. `share` as in `Split.batches`.
        """
        steps, size = self.budget.steps, self.budget.batch_size
        finished, skip = divmod(first, len(train) // size)
        for _ in range(finished):
            torch.randperm(len(train), generator=order)  # what the pass has drawn
        skips = itertools.chain([skip], itertools.repeat(0))
        passes = (train.batches(size, shuffle=order, drop_last=True, skip=skip, share=share) for skip in skips)
        for step, (images, labels) in zip(range(first, steps), itertools.chain.from_iterable(passes), strict=False):
            yield self.preprocessing(self.augmentation(images, step, size, share)), labels

    def settings(self) -> dict[str, str]:
        """Return what of it is not the default, for a ticket to tell."""
        chosen = {"augment": (self.augmentation.name, "none"), "precision": (self.precision, "fp32")}
        return {name: value for name, (value, default) in chosen.items() if value != default}


@dataclass(frozen=True)
class Progress:
    """What is reported while a search runs; `accuracy` is that of the hard gate on some validation pictures."""

    step: int
    steps: int
    loss: float
    sparsity: float
    accuracy: float
    images_per_second: float


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


@dataclass(frozen=True)
class Found:
    """The outcome: bool masks of each gated tensor's shape, and the statistics by buffer name, on the CPU."""

    masks: dict[str, torch.Tensor]
    statistics: dict[str, torch.Tensor]
    settings: dict[str, Any]
    seconds: float
    images_per_second: float


def search(
    network: FlatNetwork,
    train: Split,
    validation: Split,
    preprocessing: Preprocessing,
    *,
    method: str,
    density: float,
    seed: int,
    budget: Budget,
    learning_rate: float | None = None,
    scope: str | None = None,
    recipe: str = "default",
    augment: str = "none",
    precision: str = "fp32",
    report: Callable[[Progress], None] | None = None,
    checkpoints: Checkpoints | None = None,
    team: Team = ALONE,
) -> Found:
    """Search a mask that keeps `density` of the gated weights, and leave the network hardened to it.

    The same arguments give the same mask on the same machine. `report` is called about a hundred times and has no
    influence on the result; without it nothing is measured on the way. `scope` and `recipe` as in `methods`, `augment`
    one of `augment.NAMES`, `precision` as in `forward`. A search that goes on from its checkpoint ends as if it had
    never stopped. The processes of a `team` share each batch, and all find the same mask; the leader alone saves
    checkpoints.

    Raises UnreachableError, before any step, if the gates that the seed has frozen rule the density out,
    CheckpointError if the checkpoint is damaged, and VerificationError if the processes of a team have come apart.
    """
    generator = torch.Generator(network.weights.device).manual_seed(torch_seed(seed))
    order = torch.Generator().manual_seed(torch_seed(seed))
    clock = Clock()
    if method == "random":
        mask, settings, steps = random_mask(network, density, seed), {}, 0
    else:
        options: dict[str, Any] = {"recipe": recipe, "scope": scope, "learning_rate": learning_rate}
        searcher = methods.make(method, network, density, budget.steps, generator, **options)
        state = State(searcher, searcher.optimiser(), generator, network.module)
        first, spent = checkpoints.load(state) if checkpoints and checkpoints.resume else (0, 0.0)
        clock = Clock(spent)
        course = Course(budget, preprocessing, Augmentation(augment, seed), precision)
        for done in _optimise(network, state, train, validation, course, order, first, clock, report, team):
            if team.leads and checkpoints and checkpoints.due(done, budget.steps):
                checkpoints.save(state, done, clock.seconds())
        if team.size > 1:
            team.check_equal(searcher.parameter, "the gates")
        mask = searcher.mask()
        settings, steps = {"recipe": recipe, **course.settings(), **searcher.settings()}, budget.steps
    seconds = clock.seconds()
    network.set_gate(mask)
    recalibrate(network.module, train, preprocessing, budget.batch_size, order)
    return Found(
        masks={
            slot.name: part.view(slot.shape).cpu()
            for slot, part in zip(network.slots, network.split(mask), strict=True)
        },
        statistics={
            name: network.module.get_buffer(name).detach().cpu().clone() for name in statistic_names(network.module)
        },
        settings=settings,
        seconds=seconds,
        images_per_second=steps * budget.batch_size / seconds,
    )


def _optimise(
    network: FlatNetwork,
    state: State,
    train: Split,
    validation: Split,
    course: Course,
    order: torch.Generator,
    first: int,
    clock: Clock,
    report: Callable[[Progress], None] | None,
    team: Team,
) -> Iterator[int]:
    """Make the steps from `first` on, and yield after each the number of those that are done."""
    searcher, optimiser, budget = state.method, state.optimiser, course.budget
    shown = next(validation.batches(min(PEEK_PICTURES, budget.batch_size)))
    report_every = max(1, budget.steps // 100)
    last_report, last_step = clock.seconds(), first
    network.module.train()
    for step, (images, labels) in enumerate(course.batches(train, order, first, team.share), first):
        loss = make_step(
            network, searcher, optimiser, step, images, labels, budget.batch_size, team, precision=course.precision
        )
        done = step + 1
        if report and (done % report_every == 0 or done == budget.steps):
            cross_entropy = loss.item()  # waits for a GPU
            now = clock.seconds()
            rate = (done - last_step) * budget.batch_size / (now - last_report)
            last_report, last_step = now, done
            with clock.stopped():
                hard = searcher.hard_gate()
                network.set_gate(hard)
                accuracy = peek(network.module, shown, course.preprocessing)
                report(Progress(done, budget.steps, cross_entropy, network.sparsity(hard), accuracy, rate))
        yield done


def make_step(
    network: FlatNetwork,
    method: Method,
    optimiser: torch.optim.Optimizer,
    step: int,
    images: torch.Tensor,
    labels: torch.Tensor,
    batch_size: int,
    team: Team = ALONE,
    *,
    precision: str = "fp32",
) -> torch.Tensor:
    """Move the method's parameter once, by what normalised pictures say, this process's share of a batch of
    `batch_size`; return their cross-entropy. `precision` as in `forward`.
    """
    for group in optimiser.param_groups:
        group["lr"] = method.learning_rate(step)
    network.set_gate(method.gate(step))
    loss = sharp_cross_entropy(forward(network.module, images, precision), labels)
    share: torch.Tensor = loss * (len(labels) / batch_size)  # of the mean over the whole batch
    network.backward(share)
    team.add_up(network.grad)
    method.backward(step)
    method.parameter.grad = network.grad
    optimiser.step()
    return loss.detach()


def forward(module: nn.Module, images: torch.Tensor, precision: str) -> torch.Tensor:
    """Return the float32 logits of a network in training, for pictures of shape (n, channels, height, width).

    "fp32" computes as the weights are stored; "bf16" lets torch's autocast multiply in bfloat16. Weights, gates and
    gradients of gates are float32 either way. Where it makes convolutions quicker, on a CPU and for the matrix units of
    a GPU, the channels of a pixel lie side by side.
    """
    if images.device.type == "cpu" or (images.is_cuda and precision == "bf16"):
        images = images.contiguous(memory_format=torch.channels_last)
    if precision == "fp32":
        logits: torch.Tensor = module(images)
        return logits
    with torch.autocast(images.device.type, torch.bfloat16):
        logits = module(images)
    return logits.float()


def sharp_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return what is minimised: the mean cross-entropy of (n, classes) logits, multiplied by `LOGIT_SCALE`."""
    return F.cross_entropy(LOGIT_SCALE * logits, labels)


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


@torch.no_grad()
def recalibrate(
    module: nn.Module, train: Split, preprocessing: Preprocessing, batch_size: int, generator: torch.Generator
) -> None:
    """Measure the BatchNorm statistics of the module as it is, on at most 10,000 shuffled training pictures.

    The statistics gathered during a search belong to soft, noisy gates. Shuffled, because data stored by class would
    give every batch the statistics of one class. Leaves the module in evaluation mode.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    module.train()
    chosen = torch.randperm(len(train), generator=generator)[:RECALIBRATION_PICTURES]
    if norms:
        for images, _ in train.take(chosen).batches(min(batch_size, len(chosen)), drop_last=True):
            module(preprocessing(images))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.zero_()
    module.eval()


def torch_seed(seed: int) -> int:
    """Return the seed as torch takes it: it refuses the upper half of u64 on some devices."""
    return seed - 2**64 if seed >= 2**63 else seed
