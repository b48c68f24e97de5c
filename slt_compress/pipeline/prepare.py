"""From a request to what a search needs: network, data, task and budget, all checked before the first step."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from slt_compress.config import SearchConfig
from slt_compress.data.augment import Augmentation
from slt_compress.data.batches import as_given
from slt_compress.data.datasets import open_dataset
from slt_compress.data.images import DamagedImagesError
from slt_compress.data.own import StreamSplit, as_split, first_batch
from slt_compress.data.preprocessing import Preprocessing
from slt_compress.data.splits import Dataset, IndexedSplit, Part, Reading, Split, count, hold_out
from slt_compress.data.workers import lost_workers
from slt_compress.errors import DataError, UsageError
from slt_compress.masking.parameters import statistic_names
from slt_compress.models.registry import (
    build_model,
    check_model_input,
    check_model_name,
    default_input_size,
    resolve_model,
)
from slt_compress.models.source import Given, NetworkSource, named_source, own_source
from slt_compress.pipeline.trial import check_classes, records, try_out
from slt_compress.progress import SILENT, ProgressReporter, warn
from slt_compress.tasks.record import CLASSIFICATION, SEGMENTATION, TensorRecord
from slt_compress.tasks.task import CLASSIFY, Task
from slt_compress.training import malloc
from slt_compress.training.device import choose_device, choose_precision
from slt_compress.training.distributed import SINGLE_PROCESS, DistributedContext
from slt_compress.training.loop import Budget, TrainingRun

_IMAGE = 3  # dimensions of an image, without the batch
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


def own_data(dataset: object, train: Any, test: Any, validation: Any) -> OwnData | None:
    """Return the data that was passed, None if none was. Raises UsageError if a part is missing."""
    if train is None and test is None and validation is None:
        return None
    if dataset:
        raise UsageError("give a `dataset` by name, or `train` and `test`, not both")
    if train is None or test is None:
        raise UsageError(
            f"data of your own needs `train` and `test`; `{'train' if train is None else 'test'}` is missing"
        )
    return OwnData(train, test, validation)


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


@lost_workers()
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
    if config.model_arguments and not isinstance(model, str):
        raise UsageError("`model_arguments` are for a network by name; build your own with what it needs")
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


def refuse_idle_batches(prepared: Prepared, config: SearchConfig) -> None:
    """Raise UsageError for a `batch_size` where no steps are made and the network has no statistics to be measured."""
    asked = prepared.preprocessing and config.batch_size != SearchConfig.batch_size  # loaders have a size of their own
    if asked and not statistic_names(prepared.source.build()):
        raise UsageError(
            f"`batch_size` has no meaning where nothing is optimised and the network, {prepared.source.name}, has no "
            "running statistics to measure"
        )


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
        reading = Reading(config.workers, config.skip_unreadable, partial(warn, reporter))
        dataset = open_dataset(config.dataset, config.data_dir, reading)
    source, size = _source_for(model, dataset, config)
    if config.input_size not in (None, size):
        warn(reporter, f"`input_size={config.input_size}` is too small for {source.name}: its images have {size} px")
    with context.one_of_each_machine_first():
        parts = _read(dataset, size, reporter)
    train, validation = (part.to(device) for part in hold_out(parts["train"]))
    test = parts["test"].to(device)
    augmentation = Augmentation(config.augment, config.seed)
    augmentation.check(size)
    budget = Budget.plan(len(train), config.batch_size, config.epochs, config.max_steps)
    _check_processes(context, budget, (validation, test))
    preprocessing = dataset.preprocessing(size, train)
    chosen = task or dataset.task
    outputs: tuple[TensorRecord, ...] = ()
    if task or not isinstance(model, str):
        outputs = try_out(source, train, validation, preprocessing, chosen)
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
        augmentation=augmentation,
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


def _read(dataset: Dataset, size: int, reporter: ProgressReporter) -> dict[Part, IndexedSplit]:
    """Return the training and the test split. Raises DamagedImagesError with all that is damaged in either."""
    found: dict[Part, IndexedSplit] = {}
    damaged: list[str] = []
    parts: dict[Part, str] = {"train": "training", "test": "test"}
    for part, name in parts.items():
        try:
            with reporter.counter(f"reading {name} images") as report:
                found[part] = dataset.read(part, size, report)
        except DamagedImagesError as error:
            damaged += error.reasons
    if damaged:
        raise DamagedImagesError(damaged)
    return found


def _prepare_own(
    source: NetworkSource, data: OwnData, config: SearchConfig, device: torch.device, task: Task
) -> Prepared:
    for name in ("augment", "input_size", "data_dir", "workers", "skip_unreadable"):
        if getattr(config, name) != getattr(SearchConfig, name):
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
    outputs = try_out(source, train, validation, as_given, task)
    check_classes(task, test, outputs)
    task = _settled(task, outputs, device)
    inputs, _ = first_batch(train, "train")
    run = TrainingRun(
        train=train.to(device),
        validation=validation.to(device),
        feed=as_given,
        budget=Budget.plan(_examples(train, batch_size), batch_size, config.epochs, config.max_steps),
        seed=config.seed,
        precision=choose_precision(config.precision, device),
        task=task,
    )
    return Prepared(
        source=source,
        dataset=OWN_DATA,
        classes=(),
        preprocessing=None,
        inputs=records(inputs),
        outputs=outputs,
        device=device,
        run=run,
        test=test.to(device),
    )


def _source_for(model: str | Given, dataset: Dataset, config: SearchConfig) -> tuple[NetworkSource, int]:
    """Return the network for the images of a data set, and the size in px that these are to have."""
    if not isinstance(model, str):
        size = config.input_size or dataset.size
        if size is None:
            raise UsageError("the images have no common size: give `input_size`, the one that your network takes")
        return own_source(model), size
    spec = resolve_model(
        model,
        classes=len(dataset.classes),
        channels=dataset.channels,
        input_size=config.input_size or dataset.size or default_input_size(model),
        arguments=config.model_arguments,
    )
    check_model_input(build_model(spec), spec)
    return named_source(spec), spec.input_size


def _settled(task: Task, outputs: Sequence[TensorRecord], device: torch.device) -> Task:
    """Return the task for outputs of these shapes: with the name of a segmentation where they are images, and with a
    loss that is a module on the device.
    """
    if task.record.name == CLASSIFICATION and len(outputs) == 1 and len(outputs[0].shape) == _IMAGE:
        task = replace(task, record=replace(task.record, name=SEGMENTATION))
    if isinstance(task.loss, nn.Module):
        task = replace(task, loss=copy.deepcopy(task.loss).to(device))
    return task


def _examples(split: Split, batch_size: int) -> int | None:
    """Return the number of examples of a pass, None if it is not known."""
    if isinstance(split, StreamSplit):
        return None if split.batches_a_pass is None else split.batches_a_pass * batch_size
    return count(split)


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
