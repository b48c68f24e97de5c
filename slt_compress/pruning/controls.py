"""What a ticket is compared with: the same training of a random mask, and of its mask on weights of another seed."""

import numpy as np
import torch

from slt_compress import prng
from slt_compress.pruning.config import TrainConfig
from slt_compress.pruning.finish import Job, evaluate_as_it_is, measure_statistics, train_through
from slt_compress.pruning.network import TrainedNetwork
from slt_compress.pruning.recipes import weight_recipe
from slt_compress.pruning.results import Control
from slt_compress.pruning.rewind import dense_start
from slt_compress.pruning.under_mask import Start, trainer_of
from slt_compress.training.distillation import Teacher

RANDOM_MASK, OTHER_WEIGHTS = "random-mask", "other-weights"


def train_controls(ticket: Start, own: Job, config: TrainConfig, teacher: Teacher | None = None) -> tuple[Control, ...]:
    """Train two networks as a ticket was trained, and measure them on the test examples.

    "random-mask" has the same weights, and in each tensor as many of them, drawn from the next seed. "other-weights"
    has the same mask on weights of that seed. Both begin where dense training from their seed is after the steps of the
    rewinding. `own` is the job of the ticket.
    """
    seed, mask, rewinding = own.run.seed, ticket.network.mask, ticket.rewinding
    other = (seed + 1) % 2**64  # a ticket may have the random mask of its own seed
    found = []
    for name, chosen in ((RANDOM_MASK, seed), (OTHER_WEIGHTS, other)):
        job = own.part(name)
        network = dense_start(job, chosen, rewinding, ticket.factors)
        network.mask = random_like(network, mask, other) if name == RANDOM_MASK else mask
        job.reporter.note(f"the same training of {name.replace('-', ' ')}")
        start = Start(network, rewinding, False, ticket.factors, {})
        recipe = weight_recipe(network.module, "default", config.learning_rate)
        train_through(job, trainer_of(start, job, recipe, teacher))
        measure_statistics(job, network)
        found.append(Control(name, *(evaluate_as_it_is(split, job, network) for split in ("test", "held-out"))))
    return tuple(found)


def random_like(network: TrainedNetwork, mask: torch.Tensor, seed: int) -> torch.Tensor:
    """Return a mask from the seed, flat bool, that keeps as many weights of each tensor as another does."""
    found = torch.zeros_like(mask)
    for slot, part, other in zip(network.slots, network.split(found), network.split(mask), strict=True):
        drawn = prng.random_mask(seed, slot.name, slot.size, int(other.sum()))
        part.copy_(torch.from_numpy(np.ascontiguousarray(drawn)))
    return found
