"""Image data sets of Hugging Face, from the hub or from a folder, through the library `datasets`.

They are named hf:NAME, or hf:NAME#TRAIN,TEST,image=COLUMN,label=COLUMN,config=NAME,revision=NAME with as much behind
the # as is needed. Without names, the splits are train with test, or with validation where there is no test. Of a
single split, named or the only one, every fifth row is drawn for the test. Other splits are left out.

Nothing that comes with a data set is run: since version 4 the library has no loading scripts.
"""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from slt_compress.data.images import as_dataset
from slt_compress.data.labels import draw_test, targets, task_for
from slt_compress.data.splits import Dataset
from slt_compress.data.table import LabelType, Rows, Table, TableImages, image_column, label_column, read_rows
from slt_compress.errors import DataError, MissingDatasetError, MissingPackageError, UsageError, first_line

HF = "hf"
PREFIX = f"{HF}:"

_FORM = "hf:NAME#TRAIN,TEST,image=COLUMN,label=COLUMN,config=NAME,revision=NAME"
_OPTIONS = ("image", "label", "config", "revision")
_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
_MAJOR = 4  # version of the library: the first that runs no code of a data set
_TEST_NAMES = ("test", "validation", "val", "valid")
_SAVED = ("dataset_dict.json", "state.json")  # files that `save_to_disk` writes into its folder


@dataclass(frozen=True)
class Reference:
    """A data set as it is named.

    Attributes:
        name: of the hub, or a folder or parquet file.
        splits: none, one to draw test rows from, or those for training and test.
        options: columns, config and revision, where they were given.
    """

    name: str
    splits: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return _expanded(self.name)


def _expanded(text: str) -> Path:
    """Return the path that ~ stands in. Raises UsageError if it stands for no folder."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{text} begins with ~ and there is no home folder: give the whole path") from error


def parse(text: str) -> Reference:
    """Read hf:NAME and what may follow it. Raises UsageError for another form."""
    whole = text.removeprefix(HF).removeprefix(":").strip()
    if not whole:
        raise UsageError(
            f"{HF} needs a name: give `dataset` as hf:NAME, a data set of the Hugging Face hub, or as hf:FOLDER"
        )
    name, sign, rest = whole.rpartition("#")
    if not sign or _expanded(whole).exists():
        return Reference(whole)
    splits: list[str] = []
    options: dict[str, str] = {}
    for word in map(str.strip, rest.split(",")):
        key, equals, value = map(str.strip, word.partition("="))
        if equals and key in _OPTIONS and key not in options and value:
            options[key] = value
        elif word and not equals and not options and word not in splits:
            splits.append(word)
        else:
            raise UsageError(f"cannot read {word!r} in {text}: expected {_FORM}")
    if not name or len(splits) > len(("train", "test")):
        raise UsageError(f"expected {_FORM}, got {text}")
    return Reference(name, tuple(splits), options)


def open_hub(text: str) -> Dataset:
    """Open a data set that is named as `parse` reads it.

    Raises UsageError for another form, MissingPackageError without the library, MissingDatasetError if the hub cannot
    be reached, and DataError if there is no such data set, or it is not one of labelled images.
    """
    reference = parse(text)
    library = _library()
    tables = _choose(_load(library, reference), reference)
    train = next(iter(tables.values()))
    try:
        image = image_column(library, train.features, reference.options.get("image"))
        label = label_column(library, train.features, reference.options.get("label"))
    except DataError as error:
        raise DataError(f"{reference.name}: {error}") from error
    if any(table.features.get(name) != train.features[name] for table in tables.values() for name in (image, label)):
        raise DataError(f"{reference.name}: the columns {image} and {label} differ between {' and '.join(tables)}")
    kind = LabelType.of(library, train.features[label])
    assert kind
    rows = [read_rows(f"{reference.name}, {name}", table, label, kind) for name, table in tables.items()]
    if len(rows) == 1:
        rows = _drawn(reference, rows[0])
    classes = kind.classes(rows[0].labels)
    if len(classes) < (1 if kind.several else 2):
        raise DataError(f"{rows[0].split} needs more labels in {label}, found {', '.join(classes) or 'none'}")

    def part(chosen: Rows) -> tuple[TableImages, torch.Tensor]:
        labels = targets(kind.shown(chosen.labels), classes, chosen.name, several=kind.several)
        return TableImages(library, chosen, image), labels

    return as_dataset(HF, classes, {"train": part(rows[0]), "test": part(rows[1])}, task_for(kind.several))


def _library() -> Any:
    """Import the library. Raises MissingPackageError if it is not there, too old, or cannot be imported."""
    problem = ""
    try:
        import datasets

        if int(datasets.__version__.partition(".")[0]) >= _MAJOR:
            return datasets
        problem = f"; found {datasets.__version__}"
    except ImportError as error:
        if error.name != "datasets":
            problem = f"; it is there, but cannot be imported ({_described(error)})"
    except AttributeError:
        pass  # another module or folder of that name
    raise MissingPackageError(
        f"data sets of Hugging Face need the package datasets, {_MAJOR}.0 or newer: pip install "
        f'"datasets>={_MAJOR}"{problem}'
    )


def _load(library: Any, reference: Reference) -> dict[str, Table]:
    """Return the splits of a data set. Raises as `open_hub`."""
    path, options = reference.path, reference.options
    here = path.exists()
    saved = any((path / name).is_file() for name in _SAVED)
    if not here and not _HUB_NAME.fullmatch(reference.name):
        raise DataError(f"{path} does not exist, and is no name of the Hugging Face hub")
    for option in ("revision", *(("config",) if saved else ())):
        if here and option in options:
            raise UsageError(f"{path} is on this machine, it has no {option}")
    try:
        with _quiet(library):
            if saved:
                loaded = library.load_from_disk(str(path))
            elif path.is_file():
                loaded = library.load_dataset("parquet", data_files=str(path))
            else:
                name = str(path.resolve()) if here else reference.name
                loaded = library.load_dataset(name, options.get("config"), revision=options.get("revision"))
    except Exception as error:  # of the library, of pyarrow, of the network
        offline = None if here or isinstance(error, library.exceptions.DatasetNotFoundError) else _of_network(error)
        if offline:
            raise MissingDatasetError(
                PREFIX + reference.name,
                f"{reference.name} is no folder here nor in the library's cache, and the Hugging Face hub cannot be "
                f"reached ({_described(offline)})",
            ) from error
        homeless = "; HF_HOME names the folder for downloads" if "home directory" in str(error) else ""
        raise DataError(f"{reference.name} cannot be opened ({_described(error)}){homeless}") from error
    return dict(loaded) if isinstance(loaded, dict) else {str(loaded.split or "train"): loaded}


@contextlib.contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Keep the library from drawing bars, printing, logging and warning: what goes wrong, it raises as well."""
    from huggingface_hub import utils as hub

    shown = [bars for bars in (library.utils, hub) if not bars.are_progress_bars_disabled()]
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            for bars in shown:
                bars.disable_progress_bars()
            yield
    finally:
        for bars in shown:
            bars.enable_progress_bars()
        logging.disable(disabled)


def _of_network(error: BaseException | None) -> BaseException | None:
    """Return the network's error that led to an error, None if it came from elsewhere."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    while error and not isinstance(error, ConnectionError | TimeoutError | LocalEntryNotFoundError):
        error = error.__cause__ or error.__context__
    return error


def _choose(tables: Mapping[str, Table], reference: Reference) -> dict[str, Table]:
    """Return the training and the test split, or the one that test rows are to be drawn from."""
    names = reference.splits
    if not names and len(tables) == 1:
        names = tuple(tables)
    if not names and "train" in tables:
        names = ("train", *[name for name in _TEST_NAMES if name in tables][:1])
    there = ", ".join(f"{name} ({len(table):,} rows)" for name, table in tables.items())
    if not names or (len(names) == 1 < len(tables) and not reference.splits):
        raise DataError(
            f"{reference.name} has the splits {there}: name those for training and test, "
            f"{PREFIX}{reference.name}#TRAIN,TEST, or one that test rows are drawn from"
        )
    for name in names:
        if name not in tables:
            raise DataError(f"{reference.name} has no split {name}, only {there}")
    return {name: tables[name] for name in names}


def _drawn(reference: Reference, rows: Rows) -> list[Rows]:
    """Return the rows in two parts. Raises DataError if they are too few for that."""
    train, test = draw_test(rows.labels)
    if not test:
        raise DataError(
            f"{rows.split} has too few rows to draw test rows from them: every label must remain with a training row; "
            f"name a split for the test: {PREFIX}{reference.name}#TRAIN,TEST"
        )
    return [rows.take(train), rows.take(test)]


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
