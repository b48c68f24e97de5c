"""Tables of the library `datasets` as labelled images: which columns these are, and what is in them.

- image: the column of the type Image.
- label: the column of the type ClassLabel, or of lists of it, where an image has several labels; of more than one, the
  one called label or labels. Without such a type, the column of strings or whole numbers, or of lists of them, that has
  one of the names in `LABEL_NAMES`.

What is ambiguous must be named. A label of -1 stands for none in the type ClassLabel, as in test splits without labels.
"""

import contextlib
import io
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slt_compress.data.decoding import opened, readable, shown
from slt_compress.errors import DataError

LABEL_NAMES = ("label", "labels", "class", "classes", "category", "target")

Table = Any  # a datasets.Dataset
Features = Mapping[str, Any]  # names of columns -> their types


@dataclass(frozen=True)
class LabelType:
    """What the labels in a column are.

    Attributes:
        names: of the classes, where the type is ClassLabel.
        several: whether a row has a list of them.
    """

    names: tuple[str, ...] | None
    several: bool

    @classmethod
    def of(cls, library: Any, feature: Any) -> "LabelType | None":
        """Return it for the type of a column; None if it holds no labels."""
        several = isinstance(feature, library.List | library.LargeList)
        inner = feature.feature if several else feature
        if isinstance(inner, library.ClassLabel):
            return cls(tuple(inner.names), several)
        if isinstance(inner, library.Value) and re.fullmatch(r"bool|u?int\d+|(large_)?string(_view)?", inner.dtype):
            return cls(None, several)
        return None

    def classes(self, labels: Sequence[Sequence[Any]]) -> list[str]:
        """Return the names of all classes: those of the type, or those that occur in rows, in their order."""
        return list(self.names or map(str, sorted({value for row in labels for value in row})))

    def shown(self, labels: Sequence[Sequence[Any]]) -> list[list[str]]:
        """Return the labels of rows by their names."""
        return [[self.names[value] if self.names else str(value) for value in row] for row in labels]


@dataclass(frozen=True)
class Rows:
    """Rows of a split.

    Attributes:
        split: what it is called in messages.
        table: with just these rows.
        positions: of the rows in the split.
        labels: of each row, as they are stored: whole numbers, bools or strings.
    """

    split: str
    table: Table
    positions: Sequence[int]
    labels: Sequence[Sequence[Any]]

    def name(self, index: int) -> str:
        """Return what a row is called in messages, as the library counts them: from 0."""
        return f"{self.split}[{self.positions[index]}]"

    def take(self, indices: Sequence[int]) -> "Rows":
        """Return some of the rows."""
        positions = [self.positions[index] for index in indices]
        return Rows(self.split, self.table.select(indices), positions, [self.labels[index] for index in indices])


class TableImages:
    """Images in a column of rows."""

    def __init__(self, library: Any, rows: Rows, column: str) -> None:
        table = rows.table.with_format(None).select_columns([column])
        self._mode = table.features[column].mode  # as which the column wants its images to be seen
        self._table = table.cast_column(column, library.Image(decode=False))  # what is decoded says less of its file
        self._column = column
        self._rows = Rows(rows.split, None, rows.positions, ())  # for their names

    def __len__(self) -> int:
        return len(self._table)

    def name(self, index: int) -> str:
        return self._rows.name(index)

    @contextlib.contextmanager
    def open(self, index: int) -> Iterator[Any]:
        name = self.name(index)
        stored = self._stored(index)
        content = stored["bytes"]
        with opened(stored["path"] if content is None else io.BytesIO(content), name) as image:
            yield shown(image, self._mode) if self._mode in ("L", "RGB") else image

    def check(self, index: int) -> None:
        stored = self._stored(index)
        # One within an archive is no file of its own.
        if stored["bytes"] is not None or os.path.isfile(stored["path"]):  # noqa: PTH113
            with self.open(index):
                pass

    def _stored(self, index: int) -> Any:
        name = self.name(index)
        with readable(name):
            stored = self._table[index][self._column]
        if stored is None:
            raise DataError(f"{name} has no image")
        return stored


def read_rows(split: str, table: Table, column: str, kind: LabelType) -> Rows:
    """Read the labels of all rows of a split. Raises DataError for a row without one, and if there are no rows."""
    if not len(table):
        raise DataError(f"{split} has no rows")
    found = table.with_format(None).select_columns([column])[:][column]
    rows = Rows(split, table, range(len(table)), found if kind.several else [[value] for value in found])
    for index, labels in enumerate(rows.labels):
        if labels is None or any(_is_missing(value, kind) for value in labels):
            raise DataError(f"{rows.name(index)} has no label in {column}; name splits that have them with #TRAIN,TEST")
        if len(set(labels)) < len(labels):
            raise DataError(
                f"{rows.name(index)} has a label twice in {column}: {str(labels)[:100]}; a list of zeros and ones, one "
                "for each label, is not understood"
            )
    return rows


def image_column(library: Any, features: Features, named: str | None) -> str:
    """Return the column of the images, the one that was named if it can be.

    Raises DataError, with all columns, if it cannot, or if it is unclear which one it is.
    """
    fit = [name for name, feature in features.items() if isinstance(feature, library.Image)]
    return _only(features, "image", named, fit, fit)


def label_column(library: Any, features: Features, named: str | None) -> str:
    """Return the column of the labels, as `image_column` does."""
    kinds = {name: kind for name, feature in features.items() if (kind := LabelType.of(library, feature))}
    fit = [name for name, kind in kinds.items() if kind.names]
    if len(fit) > 1:
        fit = [name for name in fit if name in LABEL_NAMES[:2]] or fit
    return _only(features, "label", named, kinds, fit or [name for name in kinds if name in LABEL_NAMES])


def _only(features: Features, what: str, named: str | None, usable: Collection[str], fit: Sequence[str]) -> str:
    if named in usable:
        return str(named)
    if named is None and len(fit) == 1:
        return fit[0]
    problem = f"the {what} cannot be {named}" if named else f"it is unclear which is the {what}"
    expected = "Image" if what == "image" else "ClassLabel, or of strings or whole numbers"
    there = ", ".join(f"{name} ({_type_name(feature)})" for name, feature in features.items())
    raise DataError(f"{problem}; name a column of the type {expected} with #{what}=COLUMN; there are {there}")


def _type_name(feature: Any) -> str:
    name = type(feature).__name__
    inner = getattr(feature, "feature", None)
    if inner is not None:
        return f"{name} of {_type_name(inner)}"
    return str(feature.dtype) if name == "Value" else name


def _is_missing(value: Any, kind: LabelType) -> bool:
    return value is None or value == "" or (kind.names is not None and not 0 <= value < len(kind.names))
