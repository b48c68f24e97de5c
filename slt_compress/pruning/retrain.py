"""Train the kept weights of a ticket, or of another tool's mask, while the mask stays as it is."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from slt_compress.pipeline.find import UnmeasuredError, UnmeasuredInterrupt
from slt_compress.pipeline.prepare import Prepared
from slt_compress.progress import SILENT, ProgressReporter
from slt_compress.pruning.config import TrainConfig
from slt_compress.pruning.controls import train_controls
from slt_compress.pruning.finish import Job, check_readable, finish, measured, train_through
from slt_compress.pruning.recipes import weight_recipe
from slt_compress.pruning.results import TrainedResult
from slt_compress.pruning.resume import kept
from slt_compress.pruning.under_mask import Start, mask_start, ticket_start, trainer_of
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.checkpoint import Checkpoints
from slt_compress.training.distillation import Teacher


def train_ticket(
    ticket: Ticket,
    config: TrainConfig,
    reporter: ProgressReporter = SILENT,
    *,
    prepared: Prepared,
    teacher: Teacher | None = None,
    checkpoints: Checkpoints | None = None,
) -> TrainedResult:
    """Train the kept weights of a ticket, from those that it stores, from its early iterate, or from its seed.

    Raises UsageError if its early iterate has to be made with other settings, and as `finish.finish` does.
    """
    job = Job.of(prepared, replace(config.run, seed=ticket.seed, initialiser=ticket.initialiser), reporter)
    job = kept(job, checkpoints, config, {"ticket": ticket, "teacher": teacher})
    return train_from(ticket_start(ticket, job), job, config, teacher)


def train_mask(
    masks: Mapping[str, torch.Tensor],
    config: TrainConfig,
    reporter: ProgressReporter = SILENT,
    *,
    prepared: Prepared,
    teacher: Teacher | None = None,
    checkpoints: Checkpoints | None = None,
) -> TrainedResult:
    """Train the weights of a seed that masks keep; these are given by the names of gated tensors, in their shapes.

    Raises UsageError for masks that are not the network's, and as `finish.finish` does.
    """
    job = Job.of(prepared, config.run, reporter)
    job = kept(job, checkpoints, config, {"mask": masks, "teacher": teacher})
    return train_from(mask_start(masks, job), job, config, teacher)


def train_from(start: Start, job: Job, config: TrainConfig, teacher: Teacher | None = None) -> TrainedResult:
    """Train from a start for the budget of a job, and measure what comes of it."""
    recipe = weight_recipe(start.network.module, "default", config.learning_rate, trained=start.trained)
    steps = job.run.budget.steps
    job.reporter.note(
        f"{job.prepared.source.name} on {job.prepared.data_name}: {int(start.network.mask.sum()):,} of "
        f"{start.network.size:,} weights trained, {steps:,} steps of {job.run.budget.batch_size} on "
        f"{job.prepared.device}"
    )
    check_readable(job, start.network)
    trainer = trainer_of(start, job, recipe, teacher)
    trained = train_through(job, trainer, values=config.values)
    settings = {**start.said, "weights": recipe.settings()}
    if teacher:
        settings["teacher"] = teacher.settings()
    result = measured(job, finish(job, start.network, trained, config.values, "train", settings))
    if not config.controls:
        return result
    try:
        return replace(result, controls=train_controls(start, job, config, teacher))
    except KeyboardInterrupt as interrupt:  # the ticket itself is made
        raise UnmeasuredInterrupt(result.ticket) from interrupt
    except Exception as error:
        raise UnmeasuredError(result.ticket, error) from error
