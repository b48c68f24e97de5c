"""What to measure a finished network on, images or data of a user's own, and what to calibrate an exported one with."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from slt_compress.data.datasets import DATASET_NAMES, DIGITS, open_dataset
from slt_compress.data.own import as_split, first_batch
from slt_compress.data.reference import HF
from slt_compress.data.splits import IndexedSplit, Part, Reading, Split, Wanted
from slt_compress.errors import DataError, UsageError, few
from slt_compress.evaluation.accuracy import BATCH_SIZE
from slt_compress.pipeline.trial import records
from slt_compress.progress import SILENT, ProgressReporter, warn
from slt_compress.tasks.record import MULTI_LABEL, TensorRecord
from slt_compress.ticket.record import NetworkRecord

EXACT_IMAGES = 2_000  # test images that are enough to check an export whose predictions must all be the same
MEASURED_IMAGES = 10_000  # test images to measure the accuracy that an export loses
CALIBRATION_IMAGES = 256  # training images to calibrate one with


def images_for(
    record: NetworkRecord,
    name: str | None,
    folder: Path | None,
    reporter: ProgressReporter = SILENT,
    *,
    part: Part = "test",
    most: int | None = None,
    reading: Reading = Reading(),
) -> IndexedSplit:
    """Return a split of a data set in the size that a network expects.

    `name` None stands for the data set that the network was found on. A file may name only what leads nowhere by
    itself: never a path, nor a data set of the hub.

    Of more than `most` images, it is a draw that is the same every time. The other part of the data set need not be
    there; `reading` says how images in files are read, and the reporter is told what is left out.

    Raises UsageError if the network does not take images, DataError if they are of other classes or another number of
    channels.
    """
    if record.preprocessing is None:
        raise UsageError("the network was found on data of your own: measure it with `test`, not with a `dataset`")
    if name is None:
        name = record.dataset
        if name not in (*DATASET_NAMES, HF):
            raise UsageError(f"the file names the data set {name!r}, which there is none of: give `dataset`")
    several = record.task.name == MULTI_LABEL
    wanted = Wanted(part, tuple(record.classes), several, record.preprocessing.channels)
    dataset = open_dataset(name, folder, replace(reading, warn=partial(warn, reporter)), wanted)
    if list(dataset.classes) != record.classes:
        raise DataError(
            f"the network tells apart {len(record.classes)} classes ({few(record.classes)}), {name} has "
            f"{len(dataset.classes)} ({few(dataset.classes)})"
        )
    if dataset.task.record.name != record.task.name:
        raise DataError(f"the network is for {record.task.name}, {name} for {dataset.task.record.name}")
    if dataset.channels != record.preprocessing.channels:
        raise DataError(
            f"the network takes {record.preprocessing.channels} channels, the images have {dataset.channels}"
        )
    with reporter.counter(f"reading {'training' if part == 'train' else part} images") as report:
        split = dataset.read(part, record.preprocessing.size, report)
    if most is not None and most < len(split):
        split = split.take(torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[:most])
    return split


def images_to_check(
    record: NetworkRecord,
    name: str | None,
    folder: Path | None,
    reporter: ProgressReporter = SILENT,
    *,
    exact: bool,
    reading: Reading = Reading(),
) -> tuple[IndexedSplit | None, IndexedSplit | None]:
    """Return the test images that an export is checked on and the training images that it is calibrated with.

    An `exact` export needs fewer images, and none to calibrate. Both are None where they might have to be downloaded,
    or are not known. Raises as `images_for` does.
    """
    recorded = name or record.dataset
    if not (name or folder or (record.preprocessing and recorded == DIGITS)):
        if reading.asked_for:
            raise UsageError(
                f"`{reading.asked_for}` has no meaning where no images are read: name their folder with `data_dir`"
            )
        if record.preprocessing is None:
            reporter.note("no data to check the file on but random inputs: give `test`")
        else:
            where = "name them with `dataset=hf:NAME`" if recorded == HF else "name their folder with `data_dir`"
            reporter.note(f"no images of {recorded} to check the file on; {where}")
        return None, None
    most = EXACT_IMAGES if exact else MEASURED_IMAGES
    test = images_for(record, name, folder, reporter, most=most, reading=reading)
    if exact:
        return test, None
    train = images_for(record, name, folder, reporter, part="train", most=CALIBRATION_IMAGES, reading=reading)
    return test, train


def own_data_to_check(test: Any, train: Any) -> tuple[Split | None, IndexedSplit | None]:
    """Return a user's data that an export is checked on, and some of what it is calibrated on.

    Raises UsageError for data to calibrate on that cannot be read in any order.
    """
    split = None if test is None else as_split(test, "test", BATCH_SIZE)[0]
    if train is None:
        return split, None
    calibration, _ = as_split(train, "train", BATCH_SIZE)
    if not isinstance(calibration, IndexedSplit):
        raise UsageError("`train` must be data that can be read in any order, to calibrate on some of it")
    chosen = torch.randperm(len(calibration), generator=torch.Generator().manual_seed(0))[:CALIBRATION_IMAGES]
    return split, calibration.take(chosen)


def check_inputs(record: NetworkRecord, split: Split) -> None:
    """Raise UsageError, with both shapes, if a user's data is not what a network takes."""
    found = records(first_batch(split, "test")[0])
    if record.preprocessing:  # pixels, which it is given as whole numbers
        found = tuple(replace(one, dtype="float32") if one.dtype == "uint8" else one for one in found)
    if found != record.inputs:
        raise UsageError(f"the network takes {_described(record.inputs)}, the data has {_described(found)}")


def _described(tensors: Sequence[TensorRecord]) -> str:
    return ", ".join(f"{one.dtype} {one.shape}" for one in tensors)
