"""Where a training under a fixed mask begins: the weights and the mask of a ticket, or of another tool's file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from slt_compress.errors import TicketError, UsageError, few
from slt_compress.models.registry import architecture_digest
from slt_compress.pipeline.prepare import Prepared
from slt_compress.pruning.finish import Job
from slt_compress.pruning.network import TrainedNetwork, initialise
from slt_compress.pruning.recipes import WeightRecipe
from slt_compress.pruning.rewind import NOT_REWOUND, Rewinding, check_same_run, dense_start, recorded
from slt_compress.pruning.trainer import WeightTrainer
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.distillation import Teacher


@dataclass(frozen=True)
class Start:
    """Where a training under a mask begins.

    Attributes:
        network: with its weights and its mask.
        rewinding: whose steps are behind it, of the schedule of its learning rate too.
        trained: whether its weights are trained already.
        factors: what generated weights are multiplied with, by tensor; None: what `network.initialise` says.
        said: what the new ticket says of it.
    """

    network: TrainedNetwork
    rewinding: Rewinding
    trained: bool
    factors: Mapping[str, float] | None
    said: dict[str, Any]


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
        network = dense_start(job, ticket.seed, recorded(ticket))
    masks = {layer.name: torch.from_numpy(ticket.mask(layer.name)) for layer in ticket.layers}
    network.mask = flat_mask(network, masks, job.prepared.source.name)
    rewinding = recorded(ticket)
    factors = None if stored else {layer.name: layer.scale for layer in ticket.layers}
    return Start(network, rewinding, stored and not rewinding.steps, factors, said)


def mask_start(masks: Mapping[str, torch.Tensor], job: Job) -> Start:
    """Return where the training of masks begins, by the names of gated tensors: at the weights of the seed.

    Raises UsageError for masks that are not the network's.
    """
    module = job.prepared.source.build()
    initialise(module, job.run.seed, job.origin.initialiser)
    network = TrainedNetwork(module, job.prepared.device)
    network.mask = flat_mask(network, masks, job.prepared.source.name)
    return Start(network, NOT_REWOUND, False, None, {"mask": "of a file"})


def same_network(ticket: Ticket, prepared: Prepared) -> None:
    """Raise TicketError if the data, or the user's code, makes another network than that of the ticket."""
    if architecture_digest(prepared.source.build()) != ticket.provenance.architecture:
        raise TicketError(
            f"the ticket is of {ticket.provenance.model.title} with other tensors than those of "
            f"{prepared.source.name} for {prepared.dataset}: give the data that it was made for, or the same code"
        )


def trainer_of(start: Start, job: Job, recipe: WeightRecipe, teacher: Teacher | None) -> WeightTrainer:
    """Return what trains the kept weights of a start; a rewound one goes on with the schedule that it has begun."""
    trainer = WeightTrainer(start.network, job.run, recipe)
    trainer.harden(start.network.mask)
    trainer.restart(-start.rewinding.steps, job.run.budget.steps + start.rewinding.steps)
    if teacher:
        trainer.loss = teacher.loss(job.run.task, job.run.task.mean_loss)
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
