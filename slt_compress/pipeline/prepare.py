"""From a request to what a search needs: network, data, task and budget, all checked before the first step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from slt_compress.config import SearchConfig
from slt_compress.data.augment import Augmentation
from slt_compress.data.batches import CPU, Feed, Tensors, as_given, call, length, move
from slt_compress.data.datasets import open_dataset
from slt_compress.data.own import as_split
from slt_compress.data.preprocessing import Preprocessing
from slt_compress.data.splits import Dataset, IndexedSplit, Split, TensorSplit, count, hold_out
from slt_compress.errors import DataError, SltError, UsageError
from slt_compress.evaluation.accuracy import evaluate, torch_classifier
from slt_compress.models.registry import (
    build_model,
    check_model_input,
    check_model_name,
    default_input_size,
    resolve_model,
)
from slt_compress.models.source import Given, NetworkSource, named_source, own_source
from slt_compress.progress import SILENT, ProgressReporter
from slt_compress.tasks.record import TensorRecord
from slt_compress.tasks.task import CLASSIFY, NamedLoss, NamedMetric, Task
from slt_compress.training import malloc
from slt_compress.training.device import choose_device, choose_precision
from slt_compress.training.distributed import SINGLE_PROCESS, DistributedContext
from slt_compress.training.loop import Budget, TrainingRun

_TRIED = 32  # examples that a network is tried on before a search
OWN_DATA = "python"  # what a ticket records as the name of data that is passed in Python


@dataclass(frozen=True)
class OwnData:
    """A user's data, each a data set or a loader of torch.

    Attributes:
        train: what the mask is searched on.
        test: what the result is measured on, once.
        validation: held-out examples; None: a tenth of `train`, where that can be read in any order.
    """

    train: Any
    test: Any
    validation: Any = None


@dataclass(frozen=True)
class Prepared:
    """What all jobs on one model and data share, whatever their method, sparsity and seed.

    Attributes:
        source: builds the network.
        dataset: name of the data, as a ticket records it.
        classes: names, empty where the data has none.
        preprocessing: of images that were opened by name; None for a user's own data.
        inputs, outputs: what goes into the network and comes out of it.
        device: where it computes.
        run: training and held-out data, budget and task.
        test: what the result is measured on.
    """

    source: NetworkSource
    dataset: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing | None
    inputs: tuple[TensorRecord, ...]
    outputs: tuple[TensorRecord, ...]
    device: torch.device
    run: TrainingRun
    test: Split

    @property
    def examples(self) -> str:
        """What the data consists of."""
        return "images" if self.preprocessing else "examples"

    @property
    def data_name(self) -> str:
        """What the data is called."""
        return self.dataset if self.preprocessing else "data of your own"


def prepare(
    model: str | Given,
    config: SearchConfig,
    reporter: ProgressReporter = SILENT,
    context: DistributedContext = SINGLE_PROCESS,
    *,
    data: OwnData | None = None,
    task: Task | None = None,
) -> Prepared:
    """Read the data that a search needs, sized for its model, and plan its budget.

    `task` is that of the data set if none is given, and classification for a user's own data.

    Raises UsageError for an unknown model, or data that it or the task cannot take; DataError if the data cannot be
    read.
    """
    device = context.local_device(choose_device(config.device))
    if device.type == "cpu":
        malloc.keep_freed_memory()
    if data is None:
        return _prepare_images(model, config, reporter, context, device, task)
    if isinstance(model, str):
        raise UsageError(
            f"{model!r} is built for a `dataset` by name; for data of your own pass a function that builds the network"
        )
    if context.size > 1:
        raise UsageError("several processes cannot share data of your own yet: start one")
    return _prepare_own(own_source(model), data, config, device, task or CLASSIFY)


def _prepare_images(
    model: str | Given,
    config: SearchConfig,
    reporter: ProgressReporter,
    context: DistributedContext,
    device: torch.device,
    task: Task | None,
) -> Prepared:
    if isinstance(model, str):
        check_model_name(model)
    with context.one_of_each_machine_first():
        dataset = open_dataset(config.dataset, config.data_dir)
    source, size = _source_for(model, dataset, config.input_size)
    with context.one_of_each_machine_first(), reporter.counter("reading training images") as report:
        everything = dataset.read("train", size, report)
    train, validation = (part.to(device) for part in hold_out(everything))
    with context.one_of_each_machine_first(), reporter.counter("reading test images") as report:
        test = dataset.read("test", size, report).to(device)
    budget = Budget.plan(len(train), config.batch_size, config.epochs, config.max_steps)
    _check_processes(context, budget, (validation, test))
    preprocessing = dataset.preprocessing(size, train)
    chosen = task or dataset.task
    outputs: tuple[TensorRecord, ...] = ()
    if task or not isinstance(model, str):
        outputs = _try(source, train, validation, preprocessing, chosen)
        if not task and [record.shape for record in outputs] != [(len(dataset.classes),)]:
            shapes = ", ".join(str(record.shape) for record in outputs)
            raise UsageError(
                f"{source.name} must give {len(dataset.classes)} logits an image, a class of {dataset.name} each, "
                f"its outputs have the shape {shapes}"
            )
    run = TrainingRun(
        train=train,
        validation=validation,
        feed=preprocessing,
        budget=budget,
        seed=config.seed,
        augmentation=Augmentation(config.augment, config.seed),
        precision=choose_precision(config.precision, device),
        task=chosen,
    )
    return Prepared(
        source=source,
        dataset=dataset.name,
        classes=dataset.classes,
        preprocessing=preprocessing,
        inputs=(TensorRecord((dataset.channels, size, size)),),
        outputs=outputs or (TensorRecord((len(dataset.classes),)),),
        device=device,
        run=run,
        test=test,
    )


def _prepare_own(
    source: NetworkSource, data: OwnData, config: SearchConfig, device: torch.device, task: Task
) -> Prepared:
    for name, value in (("augment", config.augment != "none"), ("input_size", config.input_size)):
        if value:
            raise UsageError(f"`{name}` is for images of a `dataset`; data of your own is taken as it is")
    train, batch_size = as_split(data.train, "train", config.batch_size)
    test, _ = as_split(data.test, "test", config.batch_size)
    if data.validation is not None:
        validation, _ = as_split(data.validation, "validation", config.batch_size)
    elif isinstance(train, IndexedSplit):
        if len(train) < 2:
            raise DataError("`train` needs at least two examples: one of them is held out")
        train, validation = hold_out(train)
    else:
        raise UsageError("`train` cannot be read in any order, so nothing can be held out of it: give `validation`")
    outputs = _try(source, train, validation, as_given, task)
    inputs, _ = next(iter(train.batches(2)))
    run = TrainingRun(
        train=train.to(device),
        validation=validation.to(device),
        feed=as_given,
        budget=Budget.plan(count(train), batch_size, config.epochs, config.max_steps),
        seed=config.seed,
        precision=choose_precision(config.precision, device),
        task=task,
    )
    return Prepared(
        source=source,
        dataset=OWN_DATA,
        classes=(),
        preprocessing=None,
        inputs=_records(inputs),
        outputs=outputs,
        device=device,
        run=run,
        test=test.to(device),
    )


def _source_for(model: str | Given, dataset: Dataset, input_size: int | None) -> tuple[NetworkSource, int]:
    """Return the network for the images of a data set, and the size in px that these are to have."""
    if not isinstance(model, str):
        size = input_size or dataset.size
        if size is None:
            raise UsageError("the images have no common size: give `input_size`, the one that your network takes")
        return own_source(model), size
    spec = resolve_model(
        model,
        classes=len(dataset.classes),
        channels=dataset.channels,
        input_size=input_size or dataset.size or default_input_size(model),
    )
    check_model_input(build_model(spec), spec)
    return named_source(spec), spec.input_size


def _try(source: NetworkSource, train: Split, validation: Split, feed: Feed, task: Task) -> tuple[TensorRecord, ...]:
    """Pass a batch through a new network, loss and metric, and return what comes out of the network.

    Raises UsageError, with the shapes, for what does not fit together: now, and not after an hour.
    """
    module = source.build().requires_grad_()
    inputs, targets = (move(part, CPU) for part in next(iter(train.batches(_TRIED))))
    fed = feed(inputs)
    outputs = _attempt(lambda: call(module, fed), f"the network {source.name} cannot take {_shapes(fed)}")
    if any(len(leaf) != length(inputs) for leaf in tree_leaves(outputs)):
        raise UsageError(
            f"the network {source.name} must return a row for each example: of {length(inputs)} examples came "
            f"{_shapes(outputs)}"
        )
    _check_classes(task, train, outputs)
    found = f"outputs {_shapes(outputs)} and targets {_shapes(targets)}"
    names = task.record
    if isinstance(task.loss, NamedLoss) and task.loss.same_shape and outputs.shape != targets.shape:
        raise UsageError(f"the loss {names.loss} needs outputs and targets of one shape, got {found}")
    loss = _attempt(lambda: task.search_loss(outputs, targets), f"the loss {names.loss} cannot be computed of {found}")
    if not isinstance(loss, torch.Tensor) or loss.ndim or not loss.requires_grad:
        got = _shapes(loss) if isinstance(loss, torch.Tensor) else repr(loss)
        raise UsageError(f"the loss {names.loss} must be a scalar that depends on the network's weights, got {got}")
    if isinstance(task.metric, NamedMetric):
        with torch.no_grad():
            _attempt(
                lambda: task.measure(task.kept(outputs), targets),
                f"the metric {names.metric} cannot be computed of {found}",
            )
    else:  # it may need more than a batch, all classes say
        _attempt(
            lambda: evaluate(torch_classifier(module, CPU), validation.to(CPU), feed, task=task),
            f"the metric {names.metric} cannot be computed of the held-out examples",
        )
    return _records(outputs)


def _check_classes(task: Task, train: Split, outputs: Tensors) -> None:
    """Raise UsageError if a class among targets in memory has no logit: later, a step would fail on it."""
    if task.record.loss != CLASSIFY.record.loss or not isinstance(train, TensorSplit) or outputs.ndim < 2:
        return
    if not train.targets.is_floating_point() and int(train.targets.max()) >= outputs.shape[1]:
        raise UsageError(
            f"the targets go up to class {int(train.targets.max())}, the network has logits for {outputs.shape[1]} "
            "classes"
        )


def _attempt(what: Callable[[], Any], failure: str) -> Any:
    """Call the user's code. Raises UsageError with what it raised."""
    try:
        return what()
    except SltError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(f"{failure} ({type(error).__name__}: {reason})") from error


def _shapes(tensors: Tensors) -> str:
    leaves = tree_leaves(tensors)
    found = [f"{tuple(leaf.shape)} {str(leaf.dtype).removeprefix('torch.')}" for leaf in leaves]
    return found[0] if len(found) == 1 else f"[{', '.join(found)}]"


def _records(batch: Tensors) -> tuple[TensorRecord, ...]:
    """Return what a file says of the tensors of a batch."""
    return tuple(
        TensorRecord(tuple(leaf.shape[1:]), str(leaf.dtype).removeprefix("torch.")) for leaf in tree_leaves(batch)
    )


def _check_processes(context: DistributedContext, budget: Budget, evaluated: Sequence[IndexedSplit]) -> None:
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
