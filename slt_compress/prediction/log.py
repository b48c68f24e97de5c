"""The log of predictions: a line an image, as CSV or as JSON lines. Needs no torch.

    path             the image
    class            the most probable one
    probability      its probability, a softmax of the logits
    margin           how far it is ahead of the second most probable, as a difference of probabilities
    class2, probability2, …   the further ones, where they were asked for
    entropy          of all probabilities, in nats
    largest_logit
    input_mean       mean of the image's pixels, as a fraction of the full range, after it was resized
    input_contrast   their standard deviation, likewise
    label            the true class, where it is known

The last five are there on request. `read_log` takes logs of other software too, with some of these columns and others
besides.
"""

import csv
import io
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from slt_compress import files
from slt_compress.errors import DataError, UsageError, few

CSV, JSON_LINES = ".csv", ".jsonl"
FEATURES = ("entropy", "largest_logit", "input_mean", "input_contrast")
TEXTS = ("path", "class", "label")
_SHARES = ("probability", "margin", "input_mean", "input_contrast")  # from 0 to 1
NUMBERS = ("probability", "margin", *FEATURES)
_DIGITS = 7  # that count, of a number in a log: as many as float32 has

LoggedRow = Mapping[str, Any]  # those of `TEXTS` and `NUMBERS` that a line has: strings and finite floats


@dataclass(frozen=True)
class Prediction:
    """What a network makes of an image.

    Attributes:
        path: the image, as it was named.
        ranked: the most probable classes with their probabilities, the most probable first.
        margin: how far the first is ahead of the second, as a difference of probabilities.
        features: values of `FEATURES`, empty where they were not asked for.
        label: the true class, None where it is not known.
    """

    path: str
    ranked: tuple[tuple[str, float], ...]
    margin: float
    features: tuple[float, ...] = ()
    label: str | None = None

    @property
    def name(self) -> str:
        """The most probable class."""
        return self.ranked[0][0]

    @property
    def probability(self) -> float:
        """The probability of the most probable class."""
        return self.ranked[0][1]

    def fields(self) -> dict[str, str | float]:
        """Return the line of the log."""
        found: dict[str, str | float] = {"path": self.path, "class": self.name}
        found |= {"probability": _short(self.probability), "margin": _short(self.margin)}
        for place, (name, probability) in enumerate(self.ranked[1:], 2):
            found |= {f"class{place}": name, f"probability{place}": _short(probability)}
        found |= dict(zip(FEATURES, map(_short, self.features), strict=False))
        return found if self.label is None else {**found, "label": self.label}


def suffix_of(path: Path) -> str:
    """Return which form the name of a log asks for. Raises UsageError for another one."""
    suffix = path.suffix.lower()
    if suffix not in (CSV, JSON_LINES):
        raise UsageError(f"a log of predictions ends in {CSV} or {JSON_LINES}, got {path}")
    return suffix


def lines(predictions: Iterable[Prediction], form: str) -> Iterator[str]:
    """Yield the lines of a log, with their ends; that of CSV begins with the names of its columns."""
    for index, prediction in enumerate(predictions):
        fields = prediction.fields()
        if form == JSON_LINES:
            yield json.dumps(fields, allow_nan=False) + "\n"
        else:
            yield _csv_line(fields) + _csv_line(fields.values()) if index == 0 else _csv_line(fields.values())


def write_log(path: Path, predictions: Iterable[Prediction]) -> int:
    """Write a log, as its suffix says, as the predictions come. Return how many there are.

    The file appears when it is complete: what fails before leaves nothing, and so does a log without a line. Raises
    OutputError if it cannot be written.
    """
    form, count = suffix_of(path), 0
    written = lines(predictions, form)
    first = next(written, None)
    if first is None:
        return 0
    with (
        files.replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        for count, line in enumerate(itertools.chain([first], written), 1):  # noqa: B007, the last one is the number
            file.write(line)
    return count


def read_log(path: Path) -> Iterator[LoggedRow]:
    """Yield what the lines of a log say, of the columns in `TEXTS` and `NUMBERS` that it has.

    Raises DataError, with the line, for what is no log, no number, or out of range; UsageError for another suffix.
    """
    form = suffix_of(path)
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            yield from (_csv_rows if form == CSV else _json_rows)(path, file)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _csv_rows(path: Path, file: TextIO) -> Iterator[LoggedRow]:
    reader = csv.reader(file, strict=True)
    try:
        names = next(reader, None)
        if names is None:
            raise DataError(f"{path} is empty, expected a line with the names of the columns")
        _check_columns(path, names)
        for values in reader:
            if not values:  # an empty line
                continue
            if len(values) != len(names):
                raise DataError(f"{path}, line {reader.line_num}: {len(values)} values for {len(names)} columns")
            yield _row(path, reader.line_num, dict(zip(names, values, strict=True)))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from error


def _json_rows(path: Path, file: TextIO) -> Iterator[LoggedRow]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: no JSON object: {line[:60]!r}") from error
        if not isinstance(fields, dict):
            raise DataError(f"{path}, line {number}: no JSON object: {line[:60]!r}")
        _check_columns(path, list(fields))
        yield _row(path, number, fields)


def _check_columns(path: Path, names: Sequence[str]) -> None:
    """Raise DataError if none of the columns is known, or one is there twice."""
    known = [name for name in (*TEXTS, *NUMBERS) if name in names]
    if not set(known) - {"path"}:
        raise DataError(f"{path} has the columns {few(names)}, expected some of {', '.join((*TEXTS[1:], *NUMBERS))}")
    twice = [name for name in known if list(names).count(name) > 1]
    if twice:
        raise DataError(f"{path} has the column {twice[0]} twice")


def _row(path: Path, line: int, fields: Mapping[str, Any]) -> LoggedRow:
    found: dict[str, Any] = {}
    for name in TEXTS:
        value = fields.get(name)
        if value is not None and value != "":  # such as the label of an image that nobody has looked at
            found[name] = str(value)
    for name in NUMBERS:
        if fields.get(name) in (None, ""):
            continue
        try:
            value = float(fields[name])
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value) or (name in _SHARES and not 0 <= value <= 1):
            expected = "a number from 0 to 1" if name in _SHARES else "a finite number"
            raise DataError(f"{path}, line {line}: {name} is {str(fields[name])[:40]!r}, expected {expected}")
        found[name] = value
    return found


def _csv_line(values: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(values)  # characters of which are quoted in a value
    return text.getvalue().removesuffix("\r\n") + "\n"


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
