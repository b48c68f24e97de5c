"""The early iterate that a ticket is rewound to: the dense network after the first steps of its training.

A ticket names the seed, the step and the recipe, and the iterate is made again by training the dense network for these
steps. That is exact where the arithmetic is: on the same machine, with the same number of threads and the same
releases. Elsewhere sums may round in another order, and the iterate is one of the same kind, not the same. At step 0 it
is the generated network, which is the same everywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from slt_compress.errors import TicketError, UsageError
from slt_compress.pipeline.resume import make_steps
from slt_compress.pruning.finish import Job
from slt_compress.pruning.network import State, TrainedNetwork, initialise
from slt_compress.pruning.recipes import WeightRecipe
from slt_compress.pruning.steps import TrainingState
from slt_compress.pruning.trainer import WeightTrainer
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.loop import Clock


@dataclass(frozen=True)
class Rewinding:
    """How the early iterate comes about.

    Attributes:
        steps: k, of dense training.
        schedule: steps of the training that these are the first of, whose learning rates they have.
        recipe: of the weights.
    """

    steps: int
    schedule: int
    recipe: WeightRecipe

    def settings(self, job: Job) -> dict[str, Any]:
        """Return it as a ticket records it, with what else decides about the iterate."""
        return {
            "schedule": self.schedule,
            "recipe": self.recipe.settings(),
            "batch_size": job.run.budget.batch_size,
            "augment": job.run.augmentation.name,
            "precision": job.run.precision,
        }


NOT_REWOUND = Rewinding(0, 1, WeightRecipe(1.0))


def recorded(ticket: Ticket) -> Rewinding:
    """Return how the iterate of a ticket comes about. Raises TicketError if it does not say so."""
    steps = ticket.provenance.rewind_steps
    said: Any = ticket.provenance.method.settings.get("rewinding")
    if not steps:
        return NOT_REWOUND
    try:
        recipe = dict(said["recipe"])
        drops = tuple(float(one) for one in recipe.pop("drops"))
        numbers = {one: float(recipe[one]) for one in ("learning_rate", "weight_decay", "momentum", "warmup")}
        return Rewinding(
            steps, int(said["schedule"]), WeightRecipe(optimiser=recipe["optimiser"], drops=drops, **numbers)
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TicketError(
            f"the ticket is rewound to step {steps}, and does not say how that is reached: its weights cannot be made"
        ) from error


def check_same_run(ticket: Ticket, job: Job) -> None:
    """Raise UsageError if this training is not on the data, and with the batches, that the iterate was made with."""
    if not ticket.provenance.rewind_steps:
        return
    said = ticket.provenance.method.settings.get("rewinding") or {}
    run = job.run
    found = {
        "dataset": (job.prepared.dataset, ticket.provenance.dataset),
        "batch_size": (run.budget.batch_size, said.get("batch_size")),
        "augment": (run.augmentation.name, said.get("augment")),
        "precision": (run.precision, said.get("precision")),
    }
    for name, (here, there) in found.items():
        if here != there:
            raise UsageError(
                f"the ticket is rewound to step {ticket.provenance.rewind_steps} of a training with `{name}={there}`, "
                f"which is made again first: give that, got {here}"
            )


def early_iterate(job: Job, network: TrainedNetwork, rewinding: Rewinding) -> State:
    """Train a dense network for the first steps of a schedule, and return its state then."""
    if rewinding.steps:
        budget = replace(job.run.budget, steps=rewinding.steps)
        run = replace(job.run, budget=budget)
        trainer = WeightTrainer(network, run, rewinding.recipe)
        trainer.restart(0, rewinding.schedule)
        for _ in make_steps(
            *(trainer, TrainingState(trainer), run, Clock(), job.reporter),
            checkpoints=job.part("start").checkpoints,
        ):
            pass
    network.set_gate(network.mask)
    return network.state()


def dense_start(
    job: Job, seed: int, rewinding: Rewinding, factors: Mapping[str, float] | None = None
) -> TrainedNetwork:
    """Return the dense network that training starts from: that of a seed, after the steps of a rewinding.

    `factors` as in `network.initialise`.
    """
    module = job.prepared.source.build()
    initialise(module, seed, job.origin.initialiser, factors)
    network = TrainedNetwork(module, job.prepared.device)
    early_iterate(replace(job, run=replace(job.run, seed=seed)), network, rewinding)
    return network
