"""What to measure a finished network on: images, or data of a user's own."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from slt_compress.data.datasets import DATASET_NAMES, open_dataset
from slt_compress.data.hub import HF
from slt_compress.data.own import first_batch
from slt_compress.data.splits import IndexedSplit, Part, Reading, Split, Wanted
from slt_compress.errors import DataError, UsageError, few
from slt_compress.pipeline.trial import records
from slt_compress.progress import SILENT, ProgressReporter, warn
from slt_compress.tasks.record import MULTI_LABEL, TensorRecord
from slt_compress.ticket.record import NetworkRecord


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


def check_inputs(record: NetworkRecord, split: Split) -> None:
    """Raise UsageError, with both shapes, if a user's data is not what a network takes."""
    found = records(first_batch(split, "test")[0])
    if record.preprocessing:  # pixels, which it is given as whole numbers
        found = tuple(replace(one, dtype="float32") if one.dtype == "uint8" else one for one in found)
    if found != record.inputs:
        raise UsageError(f"the network takes {_described(record.inputs)}, the data has {_described(found)}")


def _described(tensors: Sequence[TensorRecord]) -> str:
    return ", ".join(f"{one.dtype} {one.shape}" for one in tensors)
