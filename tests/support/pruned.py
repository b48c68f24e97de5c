"""Jobs of pruning on digits, and networks whose weights are trained, as small as they come."""

import functools
from dataclasses import replace
from typing import Any

import torch

from slt_compress.config import SearchConfig
from slt_compress.models.source import Given
from slt_compress.pipeline.prepare import Prepared, prepare
from slt_compress.progress import SILENT, ProgressReporter
from slt_compress.pruning.config import TRAINED
from slt_compress.pruning.finish import Job
from slt_compress.pruning.network import TrainedNetwork, initialise
from slt_compress.pruning.recipes import WeightRecipe
from slt_compress.pruning.trainer import WeightTrainer

LENET = "lenet-300-100"


@functools.cache
def _prepared(steps: int, batch_size: int) -> Prepared:
    return prepare(LENET, SearchConfig(max_steps=steps, batch_size=batch_size))


def prepared_lenet(steps: int = 6, batch_size: int = 64) -> Prepared:
    """Return what a LeNet on digits needs, the same object for the same budget."""
    return _prepared(steps, batch_size)


def lenet_job(steps: int = 6, reporter: ProgressReporter = SILENT, **fields: Any) -> Job:
    """Return a job of so many steps of 64 on digits; `fields` are of its config."""
    config = replace(TRAINED, max_steps=steps, batch_size=64, **fields)
    return Job.of(prepared_lenet(steps), config, reporter)


def trained_network(job: Job, seed: int = 0) -> TrainedNetwork:
    """Return the network of a job as training starts from it."""
    module = job.prepared.source.build()
    initialise(module, seed, job.origin.initialiser)
    return TrainedNetwork(module)


def trainer_for(job: Job, network: TrainedNetwork, recipe: WeightRecipe | None = None) -> WeightTrainer:
    """Return a trainer, of Adam with a learning rate of 0.01 if no recipe is given."""
    return WeightTrainer(network, job.run, recipe or WeightRecipe(0.01))


def generator() -> torch.Generator:
    """Return a generator of draws between equals."""
    return torch.Generator().manual_seed(0)


def own_network() -> Given:
    """Return a function that builds a small network of a user's own for digits."""

    def build() -> torch.nn.Module:
        hidden = (torch.nn.Linear(64, 24), torch.nn.PReLU(), torch.nn.LayerNorm(24))
        return torch.nn.Sequential(torch.nn.Flatten(), *hidden, torch.nn.Linear(24, 10))

    return build
