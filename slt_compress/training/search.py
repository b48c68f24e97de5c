"""Find a mask: optimise the gates of a method, and measure the BatchNorm statistics of the network it leaves.

The loss is the task's, of the gated network, plus the method's penalty. No weight is trained: the only parameter is the
method's flat tensor. Choices are made on held-out training examples; the test split is never seen here.
"""

from dataclasses import dataclass
from typing import Any

import torch

from slt_compress.config import SearchConfig
from slt_compress.data.batches import Tensors, length
from slt_compress.errors import OutputError
from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.methods import registry
from slt_compress.methods.base import Method, Target
from slt_compress.progress import ReportTraining
from slt_compress.tasks.task import CLASSIFY, Targets, Task
from slt_compress.training.batchnorm import recalibrate
from slt_compress.training.checkpoint import Checkpoints, State
from slt_compress.training.device import FP32
from slt_compress.training.distributed import SINGLE_PROCESS, DistributedContext
from slt_compress.training.loop import Clock, TrainingRun, forward, optimise, torch_seed


@dataclass(frozen=True)
class FoundMask:
    """The outcome of a search.

    Attributes:
        masks: of each gated tensor, bool in its shape, on the CPU.
        settings: of the method and the run, as a ticket records them.
        steps: optimiser steps made.
        seconds: time of the steps, of interrupted attempts too.
        images_per_second: training images, over all steps.
    """

    masks: dict[str, torch.Tensor]
    settings: dict[str, Any]
    steps: int
    seconds: float
    images_per_second: float


class GateTrainer:
    """Optimises the gates of a method; the processes of a context share each batch, and all make the same steps."""

    def __init__(
        self,
        network: FlatNetwork,
        method: Method,
        optimiser: torch.optim.Optimizer,
        batch_size: int,
        precision: str = FP32,
        task: Task = CLASSIFY,
        context: DistributedContext = SINGLE_PROCESS,
    ) -> None:
        self.module = network.module
        self._network = network
        self._method = method
        self._optimiser = optimiser
        self._batch_size = batch_size
        self._precision = precision
        self._task = task
        self._context = context

    def step(self, step: int, inputs: Tensors, targets: Targets) -> torch.Tensor:
        method, network = self._method, self._network
        for group in self._optimiser.param_groups:
            group["lr"] = method.learning_rate(step)
        network.set_gate(method.gate(step))
        loss = self._task.search_loss(forward(network.module, inputs, self._precision), targets)
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
    network: FlatNetwork,
    run: TrainingRun,
    config: SearchConfig,
    *,
    report: ReportTraining | None = None,
    checkpoints: Checkpoints | None = None,
    context: DistributedContext = SINGLE_PROCESS,
) -> FoundMask:
    """Search a mask of the target sparsity, and leave the network hardened to it, with its BatchNorm statistics.

    Of `config`, the method, its options and the target are read. The same arguments give the same mask on the same
    machine. `report` as in `loop.optimise`. A search that is resumed from its checkpoint ends as if it had never
    stopped. The processes of a context share each batch, and all find the same mask; the main process alone saves
    checkpoints.

    Raises UnreachableError, before any step, if the gates that the seed fixes rule the target out, CheckpointError if
    the checkpoint is damaged, and VerificationError if the processes of a context have come apart.
    """
    generator = torch.Generator(network.weights.device).manual_seed(torch_seed(config.seed))
    optimises = registry.METHODS[config.method].optimises
    steps = run.budget.steps if optimises else 0
    method = registry.make(
        config.method,
        network,
        Target(config.density, steps, config.seed, generator),
        recipe=config.recipe,
        options=config.options,
        learning_rate=config.learning_rate,
    )
    order, clock, settings = run.order(), Clock(), {}
    if optimises:
        settings = {"recipe": config.recipe, **run.unusual_settings(), **method.settings()}
        state = State(method, method.optimiser(), generator, network.module)
        first, spent = checkpoints.load(state) if checkpoints and checkpoints.resume else (0, 0.0)
        clock = Clock(spent)
        trainer = GateTrainer(network, method, state.optimiser, run.budget.batch_size, run.precision, run.task, context)
        saved = True
        for done in optimise(trainer, run, clock, report, order=order, first=first, shard=context.shard):
            if context.is_main_process and checkpoints and checkpoints.due(done, steps):
                saved = _save(checkpoints, state, done, clock.seconds(), tell=saved)
        context.check_equal(method.parameter, "the gates")
    mask = method.mask()
    seconds = clock.seconds()
    network.set_gate(mask)
    recalibrate(network.module, run.train, run.feed, run.budget.batch_size, order)
    return FoundMask(
        masks={
            slot.name: part.view(slot.shape).cpu()
            for slot, part in zip(network.slots, network.split(mask), strict=True)
        },
        settings=settings,
        steps=steps,
        seconds=seconds,
        images_per_second=steps * run.budget.batch_size / seconds,
    )


def _save(checkpoints: Checkpoints, state: State, step: int, seconds: float, *, tell: bool) -> bool:
    """Save the state, and return whether that was possible: a full disk does not end a search. `tell`: warn of it."""
    try:
        checkpoints.save(state, step, seconds)
    except OutputError as error:
        if tell:
            checkpoints.warn(f"no checkpoint after step {step:,}, the search goes on: {error}")
        return False
    return True
