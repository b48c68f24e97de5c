"""Train the kept weights of a ticket, or of another tool's mask, while the mask stays as it is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from slt_compress.errors import TicketError, UsageError, few
from slt_compress.models.source import Given
from slt_compress.pipeline.prepare import OwnData, Prepared, prepare
from slt_compress.progress import SILENT, ProgressReporter
from slt_compress.pruning.config import TrainConfig
from slt_compress.pruning.finish import Job, finish, train_through
from slt_compress.pruning.network import TrainedNetwork, initialise
from slt_compress.pruning.prune import ROUNDED
from slt_compress.pruning.recipes import WeightRecipe, weight_recipe
from slt_compress.pruning.results import TrainedResult
from slt_compress.pruning.rewind import check_same_run, dense_start, recorded
from slt_compress.pruning.teacher import Teacher
from slt_compress.pruning.trainer import WeightTrainer
from slt_compress.tasks.task import Task
from slt_compress.ticket.ticket import Ticket


@dataclass(frozen=True)
class Start:
    """Where a training under a mask begins.

    Attributes:
        network: with its weights and its mask.
        behind: steps of its schedule that are behind it, those of a rewinding.
        trained: whether its weights are trained already.
        said: what the new ticket says of it.
    """

    network: TrainedNetwork
    behind: int
    trained: bool
    said: dict[str, Any]


def train_ticket(
    ticket: Ticket,
    config: TrainConfig,
    reporter: ProgressReporter = SILENT,
    *,
    prepared: Prepared,
    teacher: Teacher | None = None,
) -> TrainedResult:
    """Train the kept weights of a ticket, from those that it stores, from its early iterate, or from its seed.

    Raises TicketError if the ticket is of another network than `prepared` is made for, UsageError if its early iterate
    has to be made with other settings, and as `finish.finish` does.
    """
    job = Job.of(prepared, replace(config.run, seed=ticket.seed, initialiser=ticket.initialiser), reporter)
    return train_from(ticket_start(ticket, job), job, config, teacher)


def train_mask(
    masks: Mapping[str, torch.Tensor],
    config: TrainConfig,
    reporter: ProgressReporter = SILENT,
    *,
    prepared: Prepared,
    teacher: Teacher | None = None,
) -> TrainedResult:
    """Train the weights of a seed that masks keep; these are given by the names of gated tensors, in their shapes.

    Raises UsageError for masks that are not the network's.
    """
    job = Job.of(prepared, config.run, reporter)
    module = prepared.source.build()
    initialise(module, config.run.seed, job.origin.initialiser)
    network = TrainedNetwork(module, prepared.device)
    network.mask = flat_mask(network, masks, prepared.source.name)
    return train_from(Start(network, 0, False, {"mask": "of a file"}), job, config, teacher)


def ticket_start(ticket: Ticket, job: Job) -> Start:
    """Return where the training of a ticket begins."""
    method = ticket.provenance.method
    said = {"mask": f"of a ticket of {method.name}", "mask_sparsity": ticket.sparsity}
    stored = any(layer.values for layer in ticket.layers)
    if stored or not ticket.provenance.rewind_steps:
        source = job.prepared.source
        module = ticket.restore() if source.is_named else ticket.apply_to(source.build())
        network = TrainedNetwork(module, job.prepared.device)
    else:
        check_same_run(ticket, job)
        job.reporter.note(f"training the dense network for {ticket.provenance.rewind_steps:,} steps, to rewind to")
        network = dense_start(job, ticket.seed, recorded(ticket), ticket.initialiser)
    masks = {layer.name: torch.from_numpy(ticket.mask(layer.name)) for layer in ticket.layers}
    network.mask = flat_mask(network, masks, job.prepared.source.name)
    behind = ticket.provenance.rewind_steps
    return Start(network, behind, stored and not behind, said)


def train_from(start: Start, job: Job, config: TrainConfig, teacher: Teacher | None = None) -> TrainedResult:
    """Train from a start for the budget of a job, and measure what comes of it."""
    recipe = weight_recipe(start.network.module, "default", config.learning_rate, trained=start.trained)
    steps = job.run.budget.steps
    job.reporter.note(
        f"{job.prepared.source.name} on {job.prepared.data_name}: {int(start.network.mask.sum()):,} of "
        f"{start.network.size:,} weights trained, {steps:,} steps of {job.run.budget.batch_size} on "
        f"{job.prepared.device}"
    )
    trainer = trainer_of(start, job, recipe, teacher)
    rounded_from = steps - int(steps * ROUNDED.get(config.values, 0.0))

    def after(done: int, trainer: WeightTrainer) -> None:
        if done == rounded_from < steps:
            trainer.rounding = config.values

    trained = train_through(job, trainer, after)
    settings = {**start.said, "weights": recipe.settings()}
    if teacher:
        settings["teacher"] = teacher.settings()
    return finish(job, start.network, trained, config.values, "train", settings)


def trainer_of(start: Start, job: Job, recipe: WeightRecipe, teacher: Teacher | None) -> WeightTrainer:
    """Return what trains the kept weights of a start; a rewound one goes on with the schedule that it has begun."""
    trainer = WeightTrainer(start.network, job.run, recipe)
    trainer.harden(start.network.mask)
    trainer.restart(-start.behind, job.run.budget.steps + start.behind)
    if teacher:
        trainer.loss = teacher.loss(job.run)
    return trainer


def flat_mask(network: TrainedNetwork, masks: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    """Return masks by tensor name as one of the network, flat bool.

    Raises UsageError, naming the first few, for masks that are missing, unexpected, of another shape, not of 0 and 1,
    or all 0.
    """
    wanted = {slot.name: slot for slot in network.slots}
    missing = [one for one in wanted if one not in masks]
    unexpected = [one for one in masks if one not in wanted]
    shapes = [
        f"{one} {tuple(masks[one].shape)} instead of {slot.shape}"
        for one, slot in wanted.items()
        if one in masks and tuple(masks[one].shape) != slot.shape
    ]
    found = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    if problems := [f"{what}: {few(names)}" for what, names in found.items() if names]:
        raise UsageError(f"the masks are not those of {name}: {'; '.join(problems)}")
    flat = torch.zeros_like(network.searchable)
    for slot, part in zip(network.slots, network.split(flat), strict=True):
        mask = masks[slot.name]
        kept = mask != 0
        if not bool((kept == mask).all()):
            raise UsageError(f"the mask {slot.name} must be of 0 and 1 alone")
        part.copy_(kept.flatten())
    if not bool(flat.any()):
        raise UsageError("the masks keep no weight")
    return flat


def prepare_for(
    ticket: Ticket,
    model: str | Given,
    config: TrainConfig,
    reporter: ProgressReporter = SILENT,
    *,
    data: OwnData | None = None,
    task: Task | None = None,
) -> Prepared:
    """Return what training needs of a ticket's network. Raises TicketError if the data makes it another network."""
    prepared = prepare(model, config.run, reporter, data=data, task=task)
    if prepared.source.is_named and prepared.source.spec != ticket.provenance.model:
        raise TicketError(
            f"the ticket is of {ticket.provenance.model.title} for {len(ticket.provenance.classes)} classes; the data "
            f"{prepared.dataset} would need {prepared.source.name}, another network"
        )
    return prepared
