"""Find a mask: optimise the gates of a method, and measure the BatchNorm statistics of the network it leaves.

The loss is the task's, of the gated network, plus the method's penalty. No weight is trained: the only parameter is the
method's flat tensor. Choices are made on held-out training examples; the test split is never seen here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from slt_compress.config import SearchConfig
from slt_compress.data.batches import Tensors, length
from slt_compress.masking.gates import Gates
from slt_compress.methods import registry
from slt_compress.methods.base import Method, Target
from slt_compress.progress import ReportTraining
from slt_compress.tasks.task import CLASSIFY, Targets, Task
from slt_compress.training.batchnorm import recalibrate
from slt_compress.training.checkpoint import Checkpoints, State
from slt_compress.training.device import FP32
from slt_compress.training.distillation import LossOf, Teacher
from slt_compress.training.distributed import SINGLE_PROCESS, DistributedContext
from slt_compress.training.keeper import Keeper
from slt_compress.training.loop import Clock, TrainingRun, forward, noise, optimise, torch_seed


@dataclass(frozen=True)
class FoundMask:
    """The outcome of a search.

    Attributes:
        masks: of each gated tensor, bool in its shape, on the CPU; or of each group of neurons, bool (size,).
        settings: of the method and the run, as a ticket records them.
        steps: optimiser steps made.
        seconds: time of the steps, of interrupted attempts too.
        images_per_second: training images, over all steps.
        failure: what has kept the statistics of the norms from being measured where the state could not be kept either,
            None if nothing has. They are those of the steps.
    """

    masks: dict[str, torch.Tensor]
    settings: dict[str, Any]
    steps: int
    seconds: float
    images_per_second: float
    failure: BaseException | None = None


class Fit(Protocol):
    """Chooses how many gates a search opens, instead of a target that is given."""

    def refuse_impossible(self, settings: Mapping[str, Any]) -> None:
        """Raise UnreachableError, before the first step, if no mask is right; settings as a ticket records them."""

    def density(self, mask: torch.Tensor) -> float:
        """Return the density at which a mask would be right whose gates are spread over the tensors as those of this
        one are, flat bool.
        """

    def final(self, mask_at: Callable[[float], torch.Tensor], settings: Mapping[str, Any]) -> torch.Tensor:
        """Return the final mask, flat bool, of those that the search has at a density."""


@dataclass(frozen=True)
class Guidance:
    """What a search may be given besides its settings.

    Attributes:
        fit: chooses the density; the target is then only where the search begins.
        start: a mask, flat bool, whose open gates begin ahead of the others.
        teacher: a trained network whose outputs are learnt from. No weight is trained by it.
    """

    fit: Fit | None = None
    start: torch.Tensor | None = None
    teacher: Teacher | None = None


_MOMENTS = (0.45, 0.65, 0.85)  # of a search, when its target is set anew: between thinning out and the last hardening


class GateTrainer:
    """Optimises the gates of a method; the processes of a context share each batch, and all make the same steps."""

    def __init__(
        self,
        network: Gates,
        method: Method,
        optimiser: torch.optim.Optimizer,
        batch_size: int,
        precision: str = FP32,
        task: Task = CLASSIFY,
        context: DistributedContext = SINGLE_PROCESS,
        teacher: Teacher | None = None,
    ) -> None:
        self.module = network.module
        self._network = network
        self._method = method
        self._optimiser = optimiser
        self._batch_size = batch_size
        self._precision = precision
        self._loss: LossOf = lambda _, outputs, targets: task.search_loss(outputs, targets)
        if teacher:
            self._loss = teacher.loss(task, task.search_loss)
        self._context = context

    def step(self, step: int, inputs: Tensors, targets: Targets) -> torch.Tensor:
        method, network = self._method, self._network
        for group in self._optimiser.param_groups:
            group["lr"] = method.learning_rate(step)
        network.set_gate(method.gate(step))
        loss = self._loss(inputs, forward(network.module, inputs, self._precision), targets)
        share: torch.Tensor = loss * (length(targets) / self._batch_size)  # of the mean over the whole batch
        network.backward(share)
        self._context.all_reduce_sum(network.grad)
        method.backward(step)
        method.parameter.grad = network.grad
        self._optimiser.step()
        return loss.detach()

    def show(self) -> float:
        hard = self._method.hard_gate()
        self._network.set_gate(hard)
        return self._network.sparsity(hard)


def search(
    network: Gates,
    run: TrainingRun,
    config: SearchConfig,
    *,
    report: ReportTraining | None = None,
    checkpoints: Checkpoints | None = None,
    context: DistributedContext = SINGLE_PROCESS,
    guidance: Guidance = Guidance(),
) -> FoundMask:
    """Search a mask of the target sparsity, and leave the network hardened to it, with its BatchNorm statistics.

    Of `config`, the method, its options and the target are read. The same arguments give the same mask on the same
    machine. `report` as in `loop.optimise`. A search that is resumed from its checkpoint ends as if it had never
    stopped. The processes of a context share each batch, and all find the same mask; the main process alone saves
    checkpoints.

    Raises UnreachableError, before any step, if the gates that the seed fixes or the guidance rule the target out,
    CheckpointError if the checkpoint is damaged, and VerificationError if the processes of a context have come apart.
    What is raised after the last step costs nothing of the search: either its state is kept, if there are checkpoints,
    or `failure` has it.
    """
    generator = torch.Generator(network.weights.device).manual_seed(torch_seed(config.seed))
    optimises = registry.METHODS[config.method].optimises
    steps = run.budget.steps if optimises else 0
    method = registry.make(
        config.method,
        network,
        Target(config.density, steps, config.seed, generator),
        recipe=config.recipe,
        options=config.chosen_options,
        learning_rate=config.learning_rate,
    )
    order, clock, settings = run.order(), Clock(), {}
    fit, start, teacher = guidance.fit, guidance.start, guidance.teacher
    keeper = Keeper(None, None, clock)
    if optimises:
        unusual = {"granularity": config.granularity} if config.granularity != SearchConfig.granularity else {}
        settings = {"recipe": config.recipe, **unusual, **run.unusual_settings(), **method.settings()}
        if teacher:
            settings["teacher"] = teacher.settings()
        if start is not None:
            settings["started_from"] = "mask of a ticket"
    if fit:
        settings["max_bytes"] = config.max_bytes
        fit.refuse_impossible(settings)
    if optimises:
        if start is not None:
            method.start_from(start.to(network.weights.device))
        state = State(method, method.optimiser(), generator, network.module)
        moments = {round(moment * steps) for moment in _MOMENTS}
        first, spent = checkpoints.load(state) if checkpoints and checkpoints.resume else (0, 0.0)
        clock = Clock(spent)
        keeper = Keeper(checkpoints if context.is_main_process else None, state, clock, first)
        of_run = run.budget.batch_size, run.precision, run.task, context, teacher
        trainer = GateTrainer(network, method, state.optimiser, *of_run)
        with keeper.rescuing():
            for done in optimise(trainer, run, clock, report, order=order, first=first, shard=context.shard):
                if fit and done in moments:
                    with clock.stopped():
                        method.aim(fit.density(_mask(method, generator)))
                keeper.keep(done, steps)
            if first == steps:
                next(run.batches(order, steps - 1, context.shard))  # leaves the order as the last step has left it
        context.check_equal(method.parameter, "the gates")
    mask = fit.final(lambda density: _mask(method, generator, density), settings) if fit else _mask(method, generator)
    seconds = clock.seconds()
    network.set_gate(mask)
    with keeper.finishing(), noise(run, steps, network.weights.device):
        recalibrate(network.module, run.train, run.feed, run.budget.batch_size, order)
    return FoundMask(
        masks=network.named(mask),
        settings=settings,
        steps=steps,
        seconds=seconds,
        images_per_second=steps * run.budget.batch_size / seconds,
        failure=keeper.failure,
    )


def _mask(method: Method, generator: torch.Generator, density: float | None = None) -> torch.Tensor:
    """Return the mask that a search would end with now, at another density if one is given.

    What is drawn for it is not drawn from the search: whoever resumes from here draws the same.
    """
    if density is not None:
        method.aim(density)
    drawn = generator.get_state()
    mask = method.mask()
    generator.set_state(drawn)
    return mask
