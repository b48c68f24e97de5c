"""A user's own images, listed in a CSV file with the columns path, label and, if there are several parts, split.

    path,label,split
    a/1.jpg,cat,train
    a/2.jpg,dog,test

Paths are relative to the file's folder. An image may have several labels, `cat;dog`, or none; if one image of the file
has, the task is to find all labels of an image. Rows of the split val, validation or valid stand in for test rows where
there are none, and are left out otherwise. Without the column every fifth row is drawn for the test.

Every image is listed once: listed twice, it could be trained on and tested on.
"""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import torch

from slt_compress.data.csv_file import BETWEEN_LABELS, TEST, TRAIN, VALIDATION, Row, find_file, read_rows
from slt_compress.data.images import ImageFiles, as_dataset
from slt_compress.data.labels import check_forms, check_known, draw_test, targets, task_for
from slt_compress.data.splits import Dataset, Part, Reading, Wanted
from slt_compress.errors import DataError

_FEW = 3  # missing images that are named


class _ListedImages(ImageFiles):
    """Images that are called by the line that lists them, too."""

    def __init__(self, file: Path, rows: Sequence[Row]) -> None:
        super().__init__([row.image for row in rows])
        self._file = file
        self._lines = [row.line for row in rows]

    def name(self, index: int) -> str:
        return f"{self.files[index]} ({self._file}, line {self._lines[index]})"


def open_listing(place: Path, reading: Reading = Reading(), wanted: Wanted | None = None) -> Dataset:
    """Open a CSV file of images, or the one that a folder holds, or what is wanted of it.

    Raises DataError, with the line, for whatever is wrong with it, and for images that are not there.
    """
    file = find_file(place)
    rows = list(read_rows(file))
    _check_rows(file, rows)
    if not wanted and not reading.skip_unreadable:
        _check_images(file, rows)
    parts = _parts(file, rows, (wanted.part,) if wanted else ("train", "test"))
    if wanted:
        used = parts[wanted.part]
        several, classes = wanted.several, list(wanted.classes)
        if not reading.skip_unreadable:
            _check_images(file, used)
        if not several:
            _check_single(file, used)
        check_known("csv", (name for row in used for name in row.labels), classes)
    else:
        several = any(BETWEEN_LABELS in row.cell or not row.labels for row in rows)
        classes = _classes(file, parts["train"], several=several)

    def part(chosen: Sequence[Row]) -> tuple[ImageFiles, torch.Tensor]:
        labels = targets(
            [row.labels for row in chosen], classes, lambda index: f"{file}, line {chosen[index].line}", several=several
        )
        return _ListedImages(file, chosen), labels

    found = {name: part(chosen) for name, chosen in parts.items()}
    return as_dataset("csv", classes, found, task_for(several), reading, wanted)


def _classes(file: Path, train: Sequence[Row], *, several: bool) -> list[str]:
    """Return the labels of the training rows, sorted. Raises DataError if there are too few."""
    classes = sorted({name for row in train for name in row.labels})
    check_forms(str(file), classes)
    if not classes:
        raise DataError(f"{file} has no label in its training rows")
    if len(classes) == 1 and not several:
        raise DataError(f"{file} needs at least two different labels in its training rows, found only {classes[0]!r}")
    return classes


def _check_single(file: Path, rows: Sequence[Row]) -> None:
    """Raise DataError if an image has not one label, as a network needs that tells classes apart."""
    for row in rows:
        if len(row.labels) != 1:
            raise DataError(f"{file}, line {row.line}: expected one label, found {row.cell!r}")


def _check_rows(file: Path, rows: Sequence[Row]) -> None:
    """Raise DataError if there are no rows, or an image is listed twice."""
    if not rows:
        raise DataError(f"{file} lists no images")
    lines: dict[str, int] = {}
    for row in rows:
        first = lines.setdefault(os.path.normpath(row.image), row.line)
        if first != row.line:
            raise DataError(
                f"{file}, line {row.line}: {row.image} is on line {first} already; list an image once, its labels "
                f"with {BETWEEN_LABELS} between them"
            )


def _check_images(file: Path, rows: Sequence[Row]) -> None:
    """Raise DataError for images that are missing, or are no files that can be read."""
    faults = {"missing": "paths are relative to the file's folder", "no file": "list the images one by one"}
    faults["not to be read"] = "give yourself permission"
    found: dict[str, list[Row]] = {fault: [] for fault in faults}
    for row in rows:
        if fault := _fault(row.image):
            found[fault].append(row)
    for fault, wrong in found.items():
        if wrong:
            named = ", ".join(f"{row.image} (line {row.line})" for row in wrong[:_FEW])
            count = f"{len(wrong):,} of {len(rows):,} images are" if len(wrong) > 1 else "an image is"
            more = ", …" if len(wrong) > _FEW else ""
            raise DataError(f"{file}: {count} {fault}: {named}{more}; {faults[fault]}")


def _fault(image: Path) -> str:
    """Return what is wrong with a path. For some, such as very long ones, pathlib would raise."""
    if os.path.isfile(image):  # noqa: PTH113
        return "" if os.access(image, os.R_OK) else "not to be read"
    return "no file" if os.path.exists(image) else "missing"  # noqa: PTH110


def _parts(file: Path, rows: Sequence[Row], wanted: Collection[Part]) -> dict[Part, list[Row]]:
    """Return the training and the test rows, those that are wanted."""
    if rows[0].split:
        train = [row for row in rows if row.split == TRAIN]
        test = [row for row in rows if row.split == TEST] or [row for row in rows if row.split == VALIDATION]
        found: dict[Part, list[Row]] = {"train": train, "test": test}
        names: dict[Part, str] = {"train": "train", "test": "test or val"}
        for part in wanted:
            if not found[part]:
                raise DataError(
                    f"{file} has no row of the split {names[part]}; without that column, test rows are drawn"
                )
    else:
        chosen, drawn = draw_test([row.labels for row in rows])
        if not drawn:
            raise DataError(
                f"{file} has too few images to draw test images from them: every label must remain with a training "
                "image"
            )
        found = {"train": [rows[index] for index in chosen], "test": [rows[index] for index in drawn]}
    return {part: found[part] for part in wanted}
