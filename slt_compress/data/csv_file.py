"""The CSV file that lists a user's own images: which file that is, and its rows. Needs no torch."""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from slt_compress.errors import DataError

BETWEEN_LABELS = ";"
TRAIN, TEST, VALIDATION = "train", "test", "val"

_DEFAULT_NAME = "labels.csv"  # where a folder holds several
_PATH, _LABEL, _SPLIT = "path", "label", "split"
_SPLITS = {TRAIN: TRAIN, TEST: TEST, **dict.fromkeys(("val", "validation", "valid"), VALIDATION)}
_FEW = 3  # files that are named
_LONGEST = 200  # characters of a header that are shown


@dataclass(frozen=True)
class Row:
    """A row of the file.

    Attributes:
        line: where it ends in the file, from 1.
        image: absolute, or relative to the working folder.
        cell: its labels, as written.
        split: a value of `_SPLITS`, empty without that column.
    """

    line: int
    image: Path
    cell: str
    split: str

    @property
    def labels(self) -> tuple[str, ...]:
        """Each label once, in their order."""
        names = (name.strip() for name in self.cell.split(BETWEEN_LABELS))
        return tuple(dict.fromkeys(name for name in names if name))


def find_file(place: Path) -> Path:
    """Return the file that was named, or the one in the folder that was named."""
    if not os.path.isdir(place):  # noqa: PTH112, pathlib raises for some paths
        if not os.path.isfile(place):  # noqa: PTH113
            fault = "is no regular file" if os.path.exists(place) else "does not exist"  # noqa: PTH110
            raise DataError(f"{place} {fault}, expected a CSV file with the columns path and label")
        return place
    try:
        names = sorted(path for path in os.listdir(place) if not path.startswith("."))  # noqa: PTH208
    except OSError as error:
        raise DataError(f"cannot open the folder {place}: {error.strerror or error}") from error
    found = [place / name for name in names if name.lower().endswith(".csv") and (place / name).is_file()]
    named = [path for path in found if path.name == _DEFAULT_NAME]
    if len(found) == 1 or named:
        return (named or found)[0]
    if not found:
        raise DataError(f"{place} holds no CSV file")
    shown = ", ".join(path.name for path in found[:_FEW])
    raise DataError(f"{place} holds {len(found)} CSV files ({shown}): name one of them, or call it {_DEFAULT_NAME}")


def read_rows(file: Path) -> Iterator[Row]:
    """Yield the rows of the file, without blank lines. Raises DataError where it is not as expected."""
    reader = csv.reader(io.StringIO(_text(file), newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        columns = {name: _column(file, header, name) for name in (_PATH, _LABEL)}
        if _SPLIT in header:
            columns[_SPLIT] = _column(file, header, _SPLIT)
        for cells in reader:
            if not cells:
                continue
            where = f"{file}, line {reader.line_num}"
            if len(cells) != len(header):
                raise DataError(
                    f"{where}: the first line names {len(header)} columns, this one has {len(cells)}; a cell with a "
                    'comma needs quotes, "a, b"'
                )
            path, cell = cells[columns[_PATH]].strip(), cells[columns[_LABEL]]
            split = cells[columns[_SPLIT]].strip() if _SPLIT in columns else ""
            if not path:
                raise DataError(f"{where}: no path")
            if _SPLIT in columns and split.lower() not in _SPLITS:
                raise DataError(f"{where}: unknown split {split!r}, expected train, test or val")
            yield Row(reader.line_num, file.parent / path, cell, _SPLITS.get(split.lower(), ""))
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num}: {error}") from error


def _text(file: Path) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file}, line {line}: not UTF-8; save the file in this encoding") from error


def _column(file: Path, header: Sequence[str], name: str) -> int:
    """Return which cell of a row is in a column."""
    if header.count(name) != 1:
        problem = "two columns" if name in header else "no column"
        found = ", ".join(map(repr, header))[:_LONGEST] or "nothing"
        raise DataError(
            f"{file}, line 1: {problem} {name!r}; expected a line path,label or path,label,split, found {found}"
        )
    return header.index(name)
