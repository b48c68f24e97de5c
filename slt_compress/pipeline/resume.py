"""Which checkpoint a search or a training may resume from: one of the same request, on the same data."""

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from slt_compress.config import SearchConfig
from slt_compress.data.splits import Split, count
from slt_compress.errors import OutputError
from slt_compress.models.registry import architecture_digest
from slt_compress.pipeline.prepare import Prepared
from slt_compress.progress import ProgressReporter, ReportTraining, warn
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.checkpoint import Checkpoints, Resumable
from slt_compress.training.distributed import SINGLE_PROCESS, DistributedContext
from slt_compress.training.keeper import Keeper
from slt_compress.training.loop import Clock, Trainer, TrainingRun, optimise
from slt_compress.version import __version__

_FINGERPRINT_EXAMPLES = 100


def course(config: SearchConfig, prepared: Prepared, initialiser: str, module: nn.Module) -> dict[str, Any]:
    """Return what decides about the course of any optimisation: the network, the data, and the steps."""
    run = prepared.run
    return {
        "version": __version__,
        "model": prepared.source.spec.to_json(),
        "data set": prepared.dataset,
        "classes": list(prepared.classes),
        "architecture": architecture_digest(module),
        "number of training images": count(run.train),
        "held-out data": _fingerprint(run.validation),
        "preprocessing": prepared.preprocessing.to_json() if prepared.preprocessing else None,
        "task": vars(run.task.record),
        "augmentation": config.augment,
        "precision": run.precision,
        "initialiser": initialiser,
        "seed": config.seed,
        "number of steps": run.budget.steps,
        "batch size": run.budget.batch_size,
        "device": prepared.device.type,
    }


def identity(config: SearchConfig, prepared: Prepared, initialiser: str, module: nn.Module) -> dict[str, Any]:
    """Return all that decides about the course of a search: only between equal ones may a checkpoint pass."""
    return {  # in the order of the first difference that is named: the initialiser follows from the recipe
        "method": config.method,
        "recipe": config.recipe,
        "options": dict(config.options),
        "granularity": config.granularity,
        "neuron density": config.neuron_density,
        "learning rate": config.learning_rate,
        "density": config.density,
        "largest size": config.max_bytes,
        "freezing": vars(config.freeze),
        "start": None if config.init_from is None else Ticket.load(config.init_from).digest,
        "teacher": None if config.teacher is None else hashlib.sha256(config.teacher.read_bytes()).hexdigest(),
        **course(config, prepared, initialiser, module),
    }


def check(checkpoints: Checkpoints, reporter: ProgressReporter) -> None:
    """Raise OutputError if checkpoints are to be written and cannot be, and say if one will be replaced."""
    if checkpoints.every:
        checkpoints.check()
        if not checkpoints.resume and checkpoints.file.exists():
            text = f"the checkpoint in {checkpoints.folder} will be replaced; `resume` would continue from it"
            warn(reporter, text)


def can_resume(
    checkpoints: Checkpoints, reporter: ProgressReporter, context: DistributedContext = SINGLE_PROCESS
) -> bool:
    """Return whether there is a checkpoint to resume from, and say so.

    Raises OutputError if this process finds another one than the main process, or none.
    """
    step = checkpoints.find()
    reached = step or 0
    if context.broadcast(reached) != reached:
        raise OutputError(f"the main process's checkpoint is not in {checkpoints.folder} here: share the folder")
    if step is None and not checkpoints.automatic:
        reporter.note(f"no checkpoint in {checkpoints.folder}: the {checkpoints.what} starts afresh")
    if step is not None:
        reporter.note(f"resuming from the checkpoint of step {step:,}")
    return step is not None


def make_steps(
    trainer: Trainer,
    state: Resumable,
    run: TrainingRun,
    clock: Clock,
    reporter: ProgressReporter,
    *,
    report: ReportTraining | None = None,
    checkpoints: Checkpoints | None = None,
) -> Iterator[int]:
    """Make the steps of a training, those that are left of one which goes on, and yield after each the number of those
    that are done. What is done then is in the checkpoint of this step; the last step has one as well.

    Raises CheckpointError if the checkpoint is damaged.
    """
    first, steps = 0, run.budget.steps
    if checkpoints and checkpoints.resume and can_resume(checkpoints, reporter):
        first, spent = checkpoints.load(state)
        clock.add(spent)
    keeper = Keeper(checkpoints, state, clock, first)
    with keeper.rescuing():
        for done in optimise(trainer, run, clock, report, first=first):
            yield done
            keeper.keep(done, steps)
    if first < steps:
        keeper.save()


def _fingerprint(split: Split) -> str:
    """Return a digest of some examples, so that other data of the same size is known to be other data."""
    inputs, targets = next(iter(split.batches(_FINGERPRINT_EXAMPLES)))
    sha = hashlib.sha256()
    for leaf in tree_leaves((inputs, targets)):
        sha.update(f"{leaf.dtype} {tuple(leaf.shape)}".encode())
        sha.update(leaf.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
