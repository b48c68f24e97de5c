"""Search a ticket, and measure it once on the test split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from slt_compress.config import SearchConfig
from slt_compress.data.augment import Augmentation
from slt_compress.data.batches import CPU, call, move
from slt_compress.data.splits import count
from slt_compress.data.workers import lost_workers
from slt_compress.errors import DataError, SltError, TicketError, UsageError, reason
from slt_compress.evaluation.accuracy import Evaluation
from slt_compress.hub.download import located
from slt_compress.masking.parameters import embedding_names, set_constants, slopes
from slt_compress.methods import registry
from slt_compress.models.source import Given
from slt_compress.pipeline.byte_limit import ByteLimit, begin
from slt_compress.pipeline.gates import Searched, put_gates
from slt_compress.pipeline.measure import (
    check_reference,
    evaluate_ticket,
    provenance,
    reference_of,
    settle,
    statistics_of,
)
from slt_compress.pipeline.prepare import OwnData, Prepared, prepare, refuse_idle_batches
from slt_compress.pipeline.resume import can_resume, check, identity
from slt_compress.pipeline.start import start_mask
from slt_compress.pipeline.teacher import open_teacher
from slt_compress.pipeline.temperature import tempered
from slt_compress.prng import SeedRecipe, fixed_gates
from slt_compress.progress import SILENT, ProgressReporter, TrainingProgress, warn
from slt_compress.tasks.task import Task
from slt_compress.ticket.schema import SearchRecord
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.checkpoint import Checkpoints
from slt_compress.training.device import BF16
from slt_compress.training.distributed import SINGLE_PROCESS, DistributedContext
from slt_compress.training.search import FoundMask, Guidance, search


@dataclass(frozen=True)
class SearchResult:
    """A ticket with its metrics, and what was measured on the way to it.

    Attributes:
        ticket: with its accuracies and its loss in its provenance.
        test: of the network that a reader of the ticket's file gets, on the test split.
        validation: likewise, on held-out training images.
        dense_bytes: size of the restored network's state dict in fp32.
        epochs: passes over the training examples, None where their number is not known.
        seconds: time of the optimiser steps.
        images_per_second: training examples, over all steps.
        history: about a hundred reports of the search; a resumed one has those since it was resumed.
        neuron_sparsity: share of neurons that are removed, None where these have no gates.
    """

    ticket: Ticket
    test: Evaluation
    validation: Evaluation
    dense_bytes: int
    epochs: float | None
    seconds: float
    images_per_second: float
    history: tuple[TrainingProgress, ...] = ()
    neuron_sparsity: float | None = None

    @property
    def metric(self) -> float:
        """On the test split."""
        return self.test.metric

    @property
    def accuracy(self) -> float:
        """On the test split, as a fraction. Raises AttributeError where another metric was measured."""
        return self.test.accuracy


class UnmeasuredError(SltError):
    """A search has found a ticket, but measuring it has failed.

    Attributes:
        ticket: what was found, without metrics, ready to be saved.
        others: further tickets of the same search, those that were measured before with their metrics.
        reason: what failed.
    """

    def __init__(self, ticket: Ticket, error: BaseException, others: Sequence[Ticket] = ()) -> None:
        self.ticket = ticket
        self.others = tuple(others)
        self.reason = reason(error)
        super().__init__(
            f"a ticket was found, but measuring it has failed ({self.reason}); this error has it as its attribute, "
            "error.ticket.save(FILE) keeps it"
        )


class UnmeasuredInterrupt(KeyboardInterrupt):
    """Somebody has interrupted a search that had found a ticket and was measuring it.

    Attributes:
        ticket, others: as in `UnmeasuredError`.
    """

    def __init__(self, ticket: Ticket, others: Sequence[Ticket] = ()) -> None:
        self.ticket = ticket
        self.others = tuple(others)
        super().__init__("a ticket was found, and is not measured; this interrupt has it as its attribute")


@lost_workers()
def find_ticket(
    model: str | Given,
    config: SearchConfig,
    reporter: ProgressReporter = SILENT,
    *,
    data: OwnData | None = None,
    task: Task | None = None,
    prepared: Prepared | None = None,
    checkpoints: Checkpoints | None = None,
    context: DistributedContext = SINGLE_PROCESS,
) -> SearchResult:
    """Search a ticket and measure it once on the test images, through the network that a reader of its file gets.

    Args:
        model: name of a network, or a user's module or the function that builds it.
        config: all settings.
        reporter: who is told how it is going.
        data: a user's own data, instead of the data set that the config names.
        task: loss and metric, those of the data if none is given.
        prepared: what `prepare` returned for the same model, data, task and budget; made if not given.
        checkpoints: the last one stays; delete it when the ticket is saved.
        context: the processes that share the search; all get the same ticket.

    Raises UnmeasuredError, with the ticket, if it is found but cannot be measured: an image may turn out to be damaged;
    UnmeasuredInterrupt, likewise, if a KeyboardInterrupt comes then. Where that was so early that the statistics of the
    norms are those of the steps, it is said; with checkpoints, the state is kept instead, see `training.search`.
    """
    if prepared is None:  # the runs of a comparison share settings that mean nothing for some of them
        kept = checkpoints or Checkpoints(Path())
        config.refuse_idle(checkpoint_every=kept.every, resume=kept.resume)
        prepared = prepare(model, config, reporter, context, data=data, task=task)
        if not registry.METHODS[config.method].optimises:
            refuse_idle_batches(prepared, config)
    if config.reference:
        check_reference(prepared)
    if config.teacher is not None:
        config = replace(config, teacher=located(config.teacher))
    run = replace(prepared.run, seed=config.seed, augmentation=Augmentation(config.augment, config.seed))
    initialiser = config.initialiser or registry.initialiser(config.method, config.recipe)
    origin = SeedRecipe(config.seed, initialiser, config.freeze)
    module = prepared.source.build()
    constants = {} if prepared.source.is_named else slopes(module)
    if config.max_bytes is not None:
        config = begin(config, module)
    searched = put_gates(module, prepared, config, origin)
    set_constants(module, constants)
    if not prepared.source.is_named:
        rehearse(prepared)
        if frozen := _frozen(module):
            reporter.note(frozen)
    searched.gates.ranking(config.density, layered=False)  # raises if fixed gates rule the sparsity out
    readable = _readable(searched, config, prepared, origin, constants)
    if config.statistics != "auto" and not readable.statistics:
        raise UsageError(f"`statistics` has no meaning for {prepared.source.name}, which has none to be stored")
    fit = None
    if config.max_bytes is not None:
        config = replace(config, statistics="fp16") if config.statistics == "auto" and readable.statistics else config
        fit = _byte_limit(searched, config, prepared, origin, constants, reporter)
    guidance = Guidance(
        fit=fit,
        start=None if config.init_from is None else start_mask(config.init_from, searched.network, origin),
        teacher=None if config.teacher is None else open_teacher(config.teacher, prepared),
    )
    reporter.note(_announcement(config, searched, prepared, context))
    if checkpoints:
        check(checkpoints, reporter)
        if checkpoints.every and checkpoints.every >= run.budget.steps:
            steps = f"{run.budget.steps:,} steps"
            reporter.note(f"`checkpoint_every={checkpoints.every}` keeps nothing of a search of {steps}")
        checkpoints = replace(checkpoints, identity=identity(config, prepared, initialiser, module))
        checkpoints = replace(checkpoints, resume=checkpoints.resume and can_resume(checkpoints, reporter, context))
    history: list[TrainingProgress] = []
    with reporter.training_progress() as report:

        def record(progress: TrainingProgress) -> None:
            history.append(progress)
            if report:
                report(progress)

        found = search(
            *(searched.gates, run, config),
            report=record,
            checkpoints=checkpoints,
            context=context,
            guidance=guidance,
        )
    pack = partial(pack_ticket, searched, found, config, prepared, origin, constants)
    ticket = None
    try:
        ticket = pack()
        if found.failure:
            warn(reporter, "the statistics of the norms are not measured: the ticket has those of the steps")
            raise found.failure
        with lost_workers():
            ticket = tempered(ticket, prepared, reporter, context)
            ticket, validation = settle(ticket, config.statistics, prepared, reporter, context)
            if config.reference:
                ticket = ticket.with_reference(reference_of(ticket, prepared, reporter))
            test = evaluate_ticket("test", ticket, prepared, reporter, context)  # once, after all is decided
    except KeyboardInterrupt as interrupt:
        raise UnmeasuredInterrupt(ticket or pack()) from interrupt
    except Exception as error:  # whatever it is, the search was long
        if not ticket:
            raise
        raise UnmeasuredError(ticket, error) from error
    name = test.metric_name
    metrics = {name: test.metric, "loss": test.loss, f"validation_{name}": validation.metric}
    neuron_sparsity = searched.neuron_sparsity(found.masks)
    if neuron_sparsity is not None:
        metrics["neuron_sparsity"] = neuron_sparsity
    return SearchResult(
        ticket=ticket.with_metrics(**metrics),
        test=test,
        validation=validation,
        dense_bytes=sum(tensor.nbytes for tensor in module.state_dict().values()),
        epochs=run.budget.epochs if found.steps else 0,
        seconds=found.seconds,
        images_per_second=found.images_per_second,
        history=tuple(history),
        neuron_sparsity=neuron_sparsity,
    )


def _announcement(config: SearchConfig, searched: Searched, prepared: Prepared, context: DistributedContext) -> str:
    """Return what a search says of itself before it begins."""
    run = prepared.run
    examples = count(run.train)
    train = f"a stream of {prepared.examples}" if examples is None else f"{examples:,} training {prepared.examples}"
    steps = run.budget.steps if registry.METHODS[config.method].optimises else 0
    limit = "" if config.max_bytes is None else f" in at most {config.max_bytes:,} bytes"
    return (
        f"{prepared.source.name} on {prepared.data_name}: {searched.described}{limit}, {train}, "
        f"{steps:,} steps of {run.budget.batch_size} on {prepared.device}"
        + (" in bf16" if run.precision == BF16 else "")
        + (f", shared by {context.size} processes" if context.size > 1 else "")
    )


def rehearse(prepared: Prepared) -> None:
    """Train a user's network for a step. Raises UsageError, with the name, for a buffer that no ticket can hold."""
    trained = prepared.source.build().train()
    inputs, _ = next(iter(prepared.run.train.batches(2)))
    with torch.no_grad():
        call(trained, move(prepared.run.feed(inputs), CPU))
    prepared.source.unsettled_buffers(trained)


def _readable(
    searched: Searched,
    config: SearchConfig,
    prepared: Prepared,
    origin: SeedRecipe,
    constants: Mapping[str, float],
) -> Ticket:
    """Return a ticket of the network as a reader gets it, with all gates open.

    Raises DataError, before the search, if a reader would refuse the ticket, such as for too many classes; TicketError,
    with the name, for a part of a user's network that no ticket can hold.
    """
    try:
        return Ticket.from_bytes(_pack_open(searched, config, prepared, origin, constants).to_bytes())
    except TicketError as error:
        if not prepared.source.is_named:
            raise
        raise DataError(f"no ticket can hold what the data names: {error}") from error


def _byte_limit(
    searched: Searched,
    config: SearchConfig,
    prepared: Prepared,
    origin: SeedRecipe,
    constants: Mapping[str, float],
    reporter: ProgressReporter,
) -> ByteLimit:
    """Return what chooses the density of a search for `max_bytes`."""
    assert config.max_bytes is not None

    def pack(settings: Mapping[str, Any], mask: torch.Tensor | None) -> Ticket:
        if mask is None:
            ticket = _pack_open(searched, config, prepared, origin, constants, settings)
        else:
            found = FoundMask(searched.gates.named(mask), dict(settings), _steps(config, prepared), 0.0, 0.0)
            ticket = pack_ticket(searched, found, config, prepared, origin, constants)
        return ticket.with_half_statistics() if config.statistics == "fp16" else ticket

    return ByteLimit(
        gates=searched.gates,
        limit=config.max_bytes,
        codec=config.codec,
        pack=pack,
        metric=prepared.run.task.record.metric,
        reference=len(prepared.classes) if config.reference else None,
        reporter=reporter,
    )


def _pack_open(
    searched: Searched,
    config: SearchConfig,
    prepared: Prepared,
    origin: SeedRecipe,
    constants: Mapping[str, float],
    settings: Mapping[str, Any] | None = None,
) -> Ticket:
    """Return a ticket with every gate open but those that the seed closes."""
    masks = {slot.name: torch.ones(slot.shape, dtype=torch.bool) for slot in searched.network.slots}
    if config.freeze.ratio:
        for name, mask in masks.items():
            _, closed = fixed_gates(config.seed, name, mask.numel(), config.freeze)
            mask &= ~torch.from_numpy(closed).view(mask.shape)
    found = FoundMask(masks, dict(settings or {}), _steps(config, prepared), 0.0, 0.0)
    return pack_ticket(
        Searched(searched.network, searched.network),
        found,
        replace(config, codec="raw", max_bytes=None),
        prepared,
        origin,
        constants,
    )


def _steps(config: SearchConfig, prepared: Prepared) -> int:
    """Return how many optimiser steps the search makes."""
    return prepared.run.budget.steps if registry.METHODS[config.method].optimises else 0


def pack_ticket(
    searched: Searched,
    found: FoundMask,
    config: SearchConfig,
    prepared: Prepared,
    origin: SeedRecipe,
    constants: Mapping[str, float],
) -> Ticket:
    """Return the ticket of a mask, without metrics."""
    module = searched.network.module
    record = SearchRecord(config.method, found.steps, prepared.run.budget.batch_size, found.settings)
    return Ticket.assemble(
        searched.layers(found.masks),
        provenance(prepared, module, record),
        origin=origin,
        statistics=statistics_of(prepared, module),
        codec=config.codec,
        constants=constants,
    )


def _frozen(module: nn.Module) -> str:
    """Return a note about tensors that are not gated though they may be meant as weights."""
    tables = {id(layer.weight) for layer in module.modules() if isinstance(layer, nn.Embedding | nn.EmbeddingBag)}
    names = [name for name in embedding_names(module) if id(module.get_parameter(name)) not in tables]
    return f"not gated, as they are weights of no layer, but drawn from the seed: {', '.join(names)}" if names else ""
