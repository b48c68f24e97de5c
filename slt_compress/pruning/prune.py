"""Prune a network: train its weights, and choose which of them stay."""

from collections.abc import Mapping

import torch

from slt_compress.errors import UnreachableError, UsageError
from slt_compress.models.source import Given
from slt_compress.pipeline.prepare import OwnData, Prepared, prepare
from slt_compress.pipeline.weights_file import set_values
from slt_compress.progress import SILENT, ProgressReporter
from slt_compress.pruning.config import TRAINED, PruneConfig
from slt_compress.pruning.finish import (
    DivergedError,
    Finished,
    Job,
    check_readable,
    finish,
    measured,
    train_through,
)
from slt_compress.pruning.gated import GatedPruning
from slt_compress.pruning.magnitude import Magnitude
from slt_compress.pruning.names import MAGNITUDE
from slt_compress.pruning.network import TrainedNetwork, initialise
from slt_compress.pruning.recipes import weight_recipe
from slt_compress.pruning.results import TrainedResult
from slt_compress.pruning.resume import kept
from slt_compress.pruning.trainer import WeightTrainer
from slt_compress.tasks.task import Task
from slt_compress.training.checkpoint import Checkpoints
from slt_compress.training.loop import torch_seed


def prune(
    model: str | Given,
    config: PruneConfig,
    reporter: ProgressReporter = SILENT,
    *,
    data: OwnData | None = None,
    task: Task | None = None,
    weights: Mapping[str, torch.Tensor] | None = None,
    prepared: Prepared | None = None,
    checkpoints: Checkpoints | None = None,
) -> TrainedResult:
    """Train a network and prune it, and measure what is left once on the test examples, through the written ticket.

    With several learning rates, each is tried for the whole budget; the best on held-out examples is measured.

    Args:
        model: name of a network, or a user's module or the function that builds it.
        config: all settings.
        reporter: who is told how it is going.
        data: a user's own data, instead of the data set that the config names.
        task: loss and metric, those of the data if none is given.
        weights: a state dict to start from; without it, training starts from the weights of the seed.
        prepared: what `prepare` returned for the same model, data, task and budget; made if not given.
        checkpoints: where the state is kept; the last one stays, delete it when the ticket is saved.

    Raises UsageError for weights that are not the network's, and as `finish.finish` does.
    """
    if weights is not None and config.run.initialiser != TRAINED.initialiser:
        raise UsageError(f"`initialiser={config.run.initialiser}` has no meaning beside `weights`, which replace all")
    job = Job.of(prepared or prepare(model, config.run, reporter, data=data, task=task), config.run, reporter)
    job = kept(job, checkpoints, config, {"weights": weights})
    rates = config.learning_rates
    if len(rates) == 1:
        return measured(job, _prune_at(rates[0], job, config, weights))
    found, failures = [], []
    for rate in filter(None, rates):
        try:
            found.append(_prune_at(rate, job.part(repr(float(rate))), config, weights))
        except (DivergedError, UnreachableError) as error:
            failures.append(error)
            reporter.note(f"learning rate {rate:g}: {error}")
            continue
        of = found[-1].validation
        reporter.note(f"learning rate {rate:g}: {of.metric_name} {of.metric:.4f} of held-out {job.prepared.examples}")
    if not found:
        raise failures[-1]
    return measured(job, max(found, key=lambda one: one.validation.metric))


def _prune_at(
    rate: float | None, job: Job, config: PruneConfig, weights: Mapping[str, torch.Tensor] | None
) -> Finished:
    """Return a network pruned at a learning rate, None for that of its recipe, not yet tested."""
    module = job.prepared.source.build()
    initialise(module, config.run.seed, job.origin.initialiser)
    if weights is not None:
        set_values(module, weights, job.prepared.source.name)
    network = TrainedNetwork(module, job.prepared.device)
    steps = job.run.budget.steps
    recipe = weight_recipe(module, config.recipe, rate, method=config.method, trained=weights is not None)
    generator = torch.Generator(job.prepared.device).manual_seed(torch_seed(config.run.seed))
    pruner = (
        Magnitude(config, steps, generator, trained=weights is not None)
        if config.method == MAGNITUDE
        else GatedPruning(config, steps, generator, trained=weights is not None)
    )
    check_readable(job, network)
    trainer = WeightTrainer(network, job.run, recipe)
    pruner.begin(trainer)
    job.reporter.note(
        f"{job.prepared.source.name} on {job.prepared.data_name}: {network.size:,} weights trained and pruned by "
        f"{config.method}, {steps:,} steps of {job.run.budget.batch_size} on {job.prepared.device}"
    )
    trained = train_through(job, trainer, pruner, config.values)
    settings = {"recipe": config.recipe, "weights": recipe.settings(), "gates": pruner.settings()}
    if weights is not None:
        settings["started_from"] = "weights of a file"
    return finish(job, network, trained, config.values, config.method, settings)
