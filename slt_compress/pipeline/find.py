"""The jobs that start from names: search a ticket, and fetch the images to measure one on.

Here the parts meet that otherwise do not know one another: data, models, search, ticket and evaluation.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from slt_compress.config import SearchConfig
from slt_compress.data.augment import Augmentation
from slt_compress.data.datasets import open_dataset
from slt_compress.data.splits import Dataset, Part, Split, hold_out
from slt_compress.errors import DataError, OutputError, UnreachableError, UsageError
from slt_compress.evaluation.accuracy import Evaluation, evaluate, torch_classifier
from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.masking.topk import count_to_open
from slt_compress.methods import registry
from slt_compress.models.registry import (
    architecture_digest,
    build_model,
    check_model_input,
    check_model_name,
    default_input_size,
    library_version,
    resolve_model,
)
from slt_compress.models.spec import ModelSpec
from slt_compress.prng import SeedRecipe
from slt_compress.progress import SILENT, ProgressReporter, TrainingProgress
from slt_compress.ticket.record import NetworkRecord
from slt_compress.ticket.schema import Provenance, SearchRecord, few
from slt_compress.ticket.ticket import Ticket
from slt_compress.training import malloc
from slt_compress.training.checkpoint import Checkpoints
from slt_compress.training.device import BF16, choose_device, choose_precision
from slt_compress.training.distributed import SINGLE_PROCESS, DistributedContext
from slt_compress.training.loop import Budget, TrainingRun
from slt_compress.training.search import FoundMask, search
from slt_compress.version import __version__


@dataclass(frozen=True)
class SearchResult:
    """A ticket with its metrics, and what was measured on the way to it.

    Attributes:
        ticket: with its accuracies and its loss in its provenance.
        test: of the network that a reader of the ticket's file gets, on the test split.
        validation: likewise, on held-out training images.
        dense_bytes: size of the restored network's state dict in fp32.
        epochs: passes over the training images.
        seconds: time of the optimiser steps.
        images_per_second: training images, over all steps.
        history: about a hundred reports of the search; a resumed one has those since it was resumed.
    """

    ticket: Ticket
    test: Evaluation
    validation: Evaluation
    dense_bytes: int
    epochs: float
    seconds: float
    images_per_second: float
    history: tuple[TrainingProgress, ...] = ()

    @property
    def accuracy(self) -> float:
        """On the test split, as a fraction."""
        return self.test.accuracy


@dataclass(frozen=True)
class Prepared:
    """What all jobs on one model and data set share, whatever their method, sparsity and seed."""

    dataset: Dataset
    spec: ModelSpec
    device: torch.device
    run: TrainingRun
    test: Split


def prepare(
    model: str,
    config: SearchConfig,
    reporter: ProgressReporter = SILENT,
    context: DistributedContext = SINGLE_PROCESS,
) -> Prepared:
    """Read the images that a search needs, sized for its model, and plan its budget.

    Raises UsageError for an unknown model, or images that it cannot take; DataError if the images cannot be read.
    """
    device = context.local_device(choose_device(config.device))
    if device.type == "cpu":
        malloc.keep_freed_memory()
    check_model_name(model)
    with context.one_of_each_machine_first():
        dataset = open_dataset(config.dataset, config.data_dir)
    spec = resolve_model(
        model,
        classes=len(dataset.classes),
        channels=dataset.channels,
        input_size=config.input_size or dataset.size or default_input_size(model),
    )
    check_model_input(build_model(spec), spec)
    with context.one_of_each_machine_first(), reporter.counter("reading training images") as report:
        everything = dataset.read("train", spec.input_size, report)
    train, validation = (part.to(device) for part in hold_out(everything))
    with context.one_of_each_machine_first(), reporter.counter("reading test images") as report:
        test = dataset.read("test", spec.input_size, report).to(device)
    budget = Budget.plan(len(train), config.batch_size, config.epochs, config.max_steps)
    _check_processes(context, budget, (validation, test))
    run = TrainingRun(
        train=train,
        validation=validation,
        preprocessing=dataset.preprocessing(spec.input_size, train),
        budget=budget,
        seed=config.seed,
        augmentation=Augmentation(config.augment, config.seed),
        precision=choose_precision(config.precision, device),
    )
    return Prepared(dataset, spec, device, run, test)


def find_ticket(
    model: str,
    config: SearchConfig,
    reporter: ProgressReporter = SILENT,
    *,
    prepared: Prepared | None = None,
    checkpoints: Checkpoints | None = None,
    context: DistributedContext = SINGLE_PROCESS,
) -> SearchResult:
    """Search a ticket and measure it once on the test images, through the network that a reader of its file gets.

    `prepared` is what `prepare` returned for the same model, images and budget; without it, it is made. The last of
    `checkpoints` stays; delete it when the ticket is saved. All processes of a context get the same ticket.
    """
    prepared = prepared or prepare(model, config, reporter, context)
    run = replace(prepared.run, seed=config.seed, augmentation=Augmentation(config.augment, config.seed))
    initialiser = config.initialiser or registry.initialiser(config.method, config.recipe)
    origin = SeedRecipe(config.seed, initialiser, config.freeze)
    module = build_model(prepared.spec)
    network = FlatNetwork(module, config.seed, config.density, prepared.device, initialiser, config.freeze)
    count_to_open(network, config.density)  # raises if fixed gates rule the sparsity out
    reporter.note(_announcement(model, config, network, prepared, context))
    if checkpoints:
        checkpoints = replace(checkpoints, identity=_identity(config, prepared, initialiser))
        if checkpoints.every and not checkpoints.resume and checkpoints.file.exists():
            reporter.note(f"the checkpoint in {checkpoints.folder} will be replaced; `resume` would continue from it")
        checkpoints = replace(checkpoints, resume=checkpoints.resume and _can_resume(checkpoints, reporter, context))
    history: list[TrainingProgress] = []
    with reporter.training_progress() as report:

        def record(progress: TrainingProgress) -> None:
            history.append(progress)
            if report:
                report(progress)

        found = search(network, run, config, report=record, checkpoints=checkpoints, context=context)
    ticket = _pack(network, found, config, prepared, origin)
    ticket, validation, test = _measure(ticket, config.statistics, prepared, reporter, context)
    return SearchResult(
        ticket=ticket.with_metrics(accuracy=test.accuracy, loss=test.loss, validation_accuracy=validation.accuracy),
        test=test,
        validation=validation,
        dense_bytes=sum(tensor.nbytes for tensor in module.state_dict().values()),
        epochs=run.budget.epochs if found.steps else 0,
        seconds=found.seconds,
        images_per_second=found.images_per_second,
        history=tuple(history),
    )


def images_for(
    record: NetworkRecord,
    name: str,
    folder: Path | None,
    reporter: ProgressReporter = SILENT,
    *,
    part: Part = "test",
    most: int | None = None,
) -> Split:
    """Return a split of a data set in the size that a network expects.

    Of more than `most` images, it is a draw that is the same every time.

    Raises DataError if they are of other classes or another number of channels.
    """
    dataset = open_dataset(name, folder)
    if list(dataset.classes) != record.classes:
        raise DataError(
            f"the network tells apart {len(record.classes)} classes ({few(record.classes)}), {name} has "
            f"{len(dataset.classes)} ({few(dataset.classes)})"
        )
    if dataset.channels != record.preprocessing.channels:
        raise DataError(
            f"the network takes {record.preprocessing.channels} channels, the images have {dataset.channels}"
        )
    with reporter.counter(f"reading {'training' if part == 'train' else part} images") as report:
        split = dataset.read(part, record.preprocessing.size, report)
    if most is not None and most < len(split):
        split = split.take(torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[:most])
    return split


def _check_processes(context: DistributedContext, budget: Budget, evaluated: Sequence[Split]) -> None:
    """Raise UsageError if there is not enough work for every process."""
    if budget.batch_size < 2 * context.size:
        raise UsageError(
            f"{context.size} processes need batches of at least {2 * context.size} images, two for each, "
            f"got {budget.batch_size}"
        )
    if min(map(len, evaluated)) < context.size:
        counts = " and ".join(str(len(split)) for split in evaluated)
        raise UsageError(
            f"{context.size} processes need at least as many held-out and test images, found {counts}; start fewer "
            "processes"
        )


def _announcement(
    model: str, config: SearchConfig, network: FlatNetwork, prepared: Prepared, context: DistributedContext
) -> str:
    """Return what a search says of itself before it begins."""
    run = prepared.run
    steps = run.budget.steps if registry.METHODS[config.method].optimises else 0
    return (
        f"{model} on {config.dataset}: {network.size:,} gated weights, {len(run.train):,} training images, "
        f"{steps:,} steps of {run.budget.batch_size} on {prepared.device}"
        + (" in bf16" if run.precision == BF16 else "")
        + (f", shared by {context.size} processes" if context.size > 1 else "")
    )


def _pack(
    network: FlatNetwork, found: FoundMask, config: SearchConfig, prepared: Prepared, origin: SeedRecipe
) -> Ticket:
    """Return the ticket of a mask, without metrics."""
    return Ticket.pack(
        {name: mask.numpy() for name, mask in found.masks.items()},
        {slot.name: slot.scale for slot in network.slots},
        {name: values.numpy() for name, values in found.statistics.items()},
        Provenance(
            model=prepared.spec,
            library=library_version(prepared.spec),
            architecture=architecture_digest(network.module),
            dataset=config.dataset,
            classes=list(prepared.dataset.classes),
            preprocessing=prepared.run.preprocessing,
            method=SearchRecord(config.method, found.steps, prepared.run.budget.batch_size, found.settings),
            metrics={},
        ),
        origin=origin,
        codec=config.codec,
    )


def _measure(
    ticket: Ticket, statistics: str, prepared: Prepared, reporter: ProgressReporter, context: DistributedContext
) -> tuple[Ticket, Evaluation, Evaluation]:
    """Return the ticket with its statistics in the chosen form, and its held-out and test evaluations.

    "auto" is decided on held-out images. The test split is evaluated once, after that.
    """

    def evaluate_on(name: str, split: Split, candidate: Ticket) -> Evaluation:
        """Evaluate the network that a reader of the ticket's file gets."""
        classifier = torch_classifier(Ticket.from_bytes(candidate.to_bytes()).restore(), prepared.device)
        with reporter.counter(f"evaluating on {name} images") as report:
            return evaluate(classifier, split, prepared.run.preprocessing, report, context)

    if statistics == "fp16":
        ticket = ticket.with_half_statistics()
    validation = evaluate_on("held-out", prepared.run.validation, ticket)
    if statistics == "auto" and ticket.statistics:
        with contextlib.suppress(UnreachableError):  # too large for fp16
            half = ticket.with_half_statistics()
            shorter = evaluate_on("held-out", prepared.run.validation, half)
            if torch.equal(validation.predictions, shorter.predictions):
                ticket, validation = half, shorter
    return ticket, validation, evaluate_on("test", prepared.test, ticket)


def _identity(config: SearchConfig, prepared: Prepared, initialiser: str) -> dict[str, Any]:
    """Return all that decides about the course of a search: only between equal ones may a checkpoint pass."""
    run = prepared.run
    return {
        "version": __version__,
        "model": prepared.spec.to_json(),
        "data set": config.dataset,
        "classes": list(prepared.dataset.classes),
        "number of training images": len(run.train),
        "preprocessing": run.preprocessing.to_json(),
        "method": config.method,
        "recipe": config.recipe,
        "options": dict(config.options),
        "learning rate": config.learning_rate,
        "augmentation": config.augment,
        "precision": run.precision,
        "density": config.density,
        "freezing": vars(config.freeze),
        "initialiser": initialiser,
        "seed": config.seed,
        "number of steps": run.budget.steps,
        "batch size": run.budget.batch_size,
        "device": prepared.device.type,
    }


def _can_resume(checkpoints: Checkpoints, reporter: ProgressReporter, context: DistributedContext) -> bool:
    """Return whether there is a checkpoint to resume from, and say so.

    Raises OutputError if this process finds another one than the main process, or none.
    """
    step = checkpoints.find()
    reached = step or 0
    if context.broadcast(reached) != reached:
        raise OutputError(f"the main process's checkpoint is not in {checkpoints.folder} here: share the folder")
    if step is None:
        reporter.note(f"no checkpoint in {checkpoints.folder}: the search starts afresh")
    else:
        reporter.note(f"resuming from the checkpoint of step {step:,}")
    return step is not None
