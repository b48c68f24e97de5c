"""The front door for Python: prune, find_ticket and train.

>>> pruned = slt_compress.prune("lenet-300-100", "digits", method="magnitude", sparsity=0.9, values="int8")
>>> found = slt_compress.find_ticket("lenet-300-100", "digits", rewind_steps=20, sparsity=(0.8, 0.9))
>>> trained = slt_compress.train(found.tickets[0].ticket, controls=True)
>>> trained.accuracy, [(control.name, control.test.accuracy) for control in trained.controls]

The command line is a thin layer above these functions. They print nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from slt_compress.data.workers import lost_workers
from slt_compress.errors import UsageError
from slt_compress.models.defaults import torch_defaults
from slt_compress.models.registry import known_name
from slt_compress.models.source import Given
from slt_compress.models.spec import ModelSpec
from slt_compress.pipeline.prepare import OWN_DATA, OwnData, Prepared, own_data, prepare
from slt_compress.pipeline.teacher import open_teacher, teacher_of
from slt_compress.pipeline.weights_file import plain_tensors, read_weights
from slt_compress.progress import SILENT, ProgressReporter
from slt_compress.pruning import rounds
from slt_compress.pruning.config import TRAINED, FindConfig, PruneConfig, TrainConfig, with_shared
from slt_compress.pruning.prune import prune as run_pruning
from slt_compress.pruning.results import FindResult, TrainedResult
from slt_compress.pruning.retrain import train_mask, train_ticket
from slt_compress.pruning.under_mask import same_network
from slt_compress.tasks.task import Loss, Metric, Task, recorded_task, task_of
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.checkpoint import Checkpoints
from slt_compress.training.distillation import Teacher

Weights = Mapping[str, torch.Tensor] | str | Path  # a state dict, or the file of one


@torch_defaults()
def prune(
    model: str | Given,
    dataset: str | None = None,
    *,
    train: Any = None,
    test: Any = None,
    validation: Any = None,
    loss: str | Loss | None = None,
    metric: str | Metric | None = None,
    weights: Weights | None = None,
    config: PruneConfig | None = None,
    reporter: ProgressReporter = SILENT,
    checkpoints: Checkpoints | None = None,
    **settings: Any,
) -> TrainedResult:
    """Train a network and prune it, and measure what is left once on the test split.

    Args:
        model, dataset, train, test, validation, loss, metric, reporter: as in `slt_compress.search`.
        weights: trained weights to start from, a state dict or the file of one, .safetensors or what torch has saved.
        config: all settings.
        checkpoints: where the state is kept, so that a killed training can be resumed; `checkpoints.remove()` deletes
            them when the ticket is saved.
        settings: fields of `PruneConfig` that differ from it, such as `method`, `sparsity` or `values`, and those of
            `SearchConfig` that both have, such as `epochs` or `seed`.

    Raises UsageError for settings out of range and for weights that are not the network's, DataError if data or weights
    cannot be read, UnmeasuredError and UnmeasuredInterrupt as `slt_compress.search` does.
    """
    chosen = with_shared(config or PruneConfig(), _named(dataset, settings))
    data, task = own_data(dataset, train, test, validation), _task(loss, metric)
    start = _tensors("weights", weights)
    return run_pruning(model, chosen, reporter, data=data, task=task, weights=start, checkpoints=checkpoints)


@torch_defaults()
def find_ticket(
    model: str | Given,
    dataset: str | None = None,
    *,
    train: Any = None,
    test: Any = None,
    validation: Any = None,
    loss: str | Loss | None = None,
    metric: str | Metric | None = None,
    config: FindConfig | None = None,
    reporter: ProgressReporter = SILENT,
    checkpoints: Checkpoints | None = None,
    **settings: Any,
) -> FindResult:
    """Search tickets that train well: masks on the weights of a seed, or on those of an early step of training.

    `settings` are fields of `FindConfig`, such as `sparsity` or `rewind_steps`; otherwise as `prune`.
    """
    chosen = with_shared(config or FindConfig(), _named(dataset, settings))
    data, task = own_data(dataset, train, test, validation), _task(loss, metric)
    return rounds.find(model, chosen, reporter, data=data, task=task, checkpoints=checkpoints)


@torch_defaults()
@lost_workers()
def train(
    ticket: Ticket | str | Path | Given,
    dataset: str | None = None,
    *,
    mask: Weights | None = None,
    train: Any = None,
    test: Any = None,
    validation: Any = None,
    loss: str | Loss | None = None,
    metric: str | Metric | None = None,
    source: Given | None = None,
    teacher: Ticket | Weights | None = None,
    config: TrainConfig | None = None,
    reporter: ProgressReporter = SILENT,
    checkpoints: Checkpoints | None = None,
    **settings: Any,
) -> TrainedResult:
    """Train the weights that a mask keeps, and measure the network once on the test split.

    Args:
        ticket: a ticket, or the file of one. With `mask`, a network as in `slt_compress.search` instead.
        dataset: name of the data set, the ticket's own if none is given.
        mask: a tensor of 0 and 1 for each gated weight, by name, or the file of these.
        train, test, validation, loss, metric: as in `slt_compress.search`.
        source: your module, or the function that builds it, for a ticket of one.
        teacher: a trained network to learn from: a ticket or the file of one, or a state dict of the same network.
        config: all settings.
        checkpoints: as in `prune`; the controls have some too.
        settings: fields of `TrainConfig` that differ from it, such as `values` or `controls`, and those that
            `SearchConfig` has too, such as `epochs`. Without a mask the seed is the ticket's.

    Raises UsageError, TicketError and DataError for what does not fit together or cannot be read.
    """
    chosen = with_shared(config or TrainConfig(), _named(dataset, settings))
    data, task = own_data(dataset, train, test, validation), _task(loss, metric)
    if mask is not None:
        is_file = isinstance(ticket, str) and ticket.endswith(".safetensors")
        if isinstance(ticket, Ticket | Path) or is_file or source is not None:
            raise UsageError("`mask` is for a network by name or one of yours; a ticket has its own")
        prepared = prepare(ticket, chosen.run, reporter, data=data, task=task)
        masks = _tensors("mask", mask)
        assert masks is not None
        learnt = _teacher(teacher, prepared)
        return train_mask(masks, chosen, reporter, prepared=prepared, teacher=learnt, checkpoints=checkpoints)
    if not isinstance(ticket, Ticket | str | Path):
        raise UsageError("training a network needs a `mask`; to choose one too, prune it")
    opened = ticket if isinstance(ticket, Ticket) else Ticket.load(ticket)
    if data is not None or task is not None:
        task = recorded_task(opened.provenance.task, loss, metric)
    return _train_ticket(opened, chosen, reporter, source, _Request(dataset, data, task, teacher, checkpoints))


@dataclass(frozen=True)
class _Request:
    """What was asked for besides the settings."""

    dataset: str | None
    data: OwnData | None
    task: Task | None
    teacher: "Ticket | Weights | None"
    checkpoints: Checkpoints | None


def _train_ticket(
    ticket: Ticket, config: TrainConfig, reporter: ProgressReporter, source: Given | None, request: _Request
) -> TrainedResult:
    """Train a ticket on its own network, and on its own data unless other data is asked for."""
    for name in ("seed", "initialiser", "model_arguments"):
        if getattr(config.run, name) != getattr(TRAINED, name):
            raise UsageError(f"`{name}` has no meaning for a ticket, which has its own")
    said, run, data = ticket.provenance, config.run, request.data
    if data is None and request.dataset is None:
        if said.dataset == OWN_DATA:
            raise UsageError("the ticket was made on data of your own: give `train` and `test`, or a `dataset`")
        run = replace(run, dataset=said.dataset)
    if isinstance(said.model, ModelSpec):
        if source is not None:
            raise UsageError(f"`source` has no meaning for a ticket of {said.model.title}, which is built by name")
        if run.input_size not in (None, said.model.input_size):
            raise UsageError(f"`input_size` of the ticket's network is {said.model.input_size}, got {run.input_size}")
        run = replace(run, input_size=said.model.input_size, model_arguments=dict(said.model.arguments))
    elif source is None:
        raise UsageError(f"the ticket is of your own network, {said.model.title}: give `source`, what builds it")
    elif data is None and run.input_size is None and said.preprocessing:
        run = replace(run, input_size=said.preprocessing.size)
    model = known_name(said.model) if source is None and isinstance(said.model, ModelSpec) else source
    assert model is not None
    prepared = prepare(model, run, reporter, data=data, task=request.task)
    same_network(ticket, prepared)
    teacher = _teacher(request.teacher, prepared)
    config = replace(config, run=run)
    return train_ticket(ticket, config, reporter, prepared=prepared, teacher=teacher, checkpoints=request.checkpoints)


def _named(dataset: str | None, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    return settings if dataset is None else {"dataset": dataset, **settings}


def _task(loss: str | Loss | None, metric: str | Metric | None) -> Task | None:
    return None if loss is None and metric is None else task_of(loss, metric)


def _tensors(name: str, given: Weights | None) -> Mapping[str, torch.Tensor] | None:
    """Return the tensors that were passed as this argument."""
    if given is None:
        return None
    return read_weights(Path(given)) if isinstance(given, str | Path) else plain_tensors(given, f"`{name}`")


def _teacher(given: "Ticket | Weights | None", prepared: Prepared) -> Teacher | None:
    """Return the teacher that was passed, on the device of the training."""
    if given is None:
        return None
    if isinstance(given, str | Path):
        return open_teacher(Path(given), prepared)
    return teacher_of(given, prepared)
