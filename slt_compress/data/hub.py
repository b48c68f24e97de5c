"""Image data sets of Hugging Face, from the hub or from a folder, through the library `datasets`.

How they are named is in `reference`. Without names, the splits are train with test, or with validation where there is
no test. Of a single split, named or the only one, every fifth row is drawn for the test. Other splits are left out.

Nothing that comes with a data set is run: since version 4 the library has no loading scripts.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

import torch

from slt_compress.data.images import as_dataset
from slt_compress.data.labels import check_forms, check_known, draw_test, targets, task_for
from slt_compress.data.reference import HF, PREFIX, Reference, parse
from slt_compress.data.splits import Dataset, Part, Reading, Wanted
from slt_compress.data.table import LabelType, Rows, Table, TableImages, image_column, label_column, read_rows
from slt_compress.data.walk import is_litter
from slt_compress.errors import DataError, MissingDatasetError, MissingPackageError, UsageError
from slt_compress.hub.client import described, of_network, quiet

_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
_MAJOR = 4  # version of the library: the first that runs no code of a data set
_AS_FOLDER = "a folder with a folder per class can be opened as imagefolder, which leaves out what is none"
_TEST_NAMES = ("test", "validation", "val", "valid")
_SAVED = ("dataset_dict.json", "state.json")  # files that `save_to_disk` writes into its folder


def open_hub(text: str, reading: Reading = Reading(), wanted: Wanted | None = None) -> Dataset:
    """Open a data set that is named as `parse` reads it, or what is wanted of it.

    Raises UsageError for another form, MissingPackageError without the library, MissingDatasetError if the hub cannot
    be reached, and DataError if there is no such data set, or it is not one of labelled images.
    """
    reference = parse(text)
    library = _library()
    loaded = _load(library, reference)
    splits = _choose(loaded, reference, wanted)
    tables = {name: loaded[name] for name in splits.values()}
    first = next(iter(tables.values()))
    try:
        image = image_column(library, first.features, reference.options.get("image"))
        label = label_column(library, first.features, reference.options.get("label"))
    except DataError as error:
        advice = f"; {_AS_FOLDER}" if os.path.isdir(reference.path / "train") else ""  # noqa: PTH112
        raise DataError(f"{reference.name}: {error}{advice}") from error
    if any(table.features.get(name) != first.features[name] for table in tables.values() for name in (image, label)):
        raise DataError(f"{reference.name}: the columns {image} and {label} differ between {' and '.join(tables)}")
    kind = LabelType.of(library, first.features[label])
    assert kind
    rows = {name: read_rows(f"{reference.name}, {name}", table, label, kind) for name, table in tables.items()}
    parts = {part: rows[name] for part, name in splits.items()}
    if len(parts) > len(tables):
        parts = _drawn(reference, parts["train"])
    if wanted:
        parts = {wanted.part: parts[wanted.part]}
        _check_wanted(reference, parts[wanted.part], kind, wanted)
        classes = list(wanted.classes)
    else:
        classes = kind.classes(parts["train"].labels)
        check_forms(reference.name, classes)
        litter = [name for name in classes if is_litter(name)]
        if litter:
            raise DataError(f"{reference.name} has the class {litter[0]}, left behind by other software; {_AS_FOLDER}")
    if len(classes) < (1 if kind.several else 2):
        raise DataError(f"{parts['train'].split} needs more labels in {label}, found {', '.join(classes) or 'none'}")

    def part(chosen: Rows) -> tuple[TableImages, torch.Tensor]:
        labels = targets(kind.shown(chosen.labels), classes, chosen.name, several=kind.several)
        return TableImages(library, chosen, image), labels

    found = {name: part(chosen) for name, chosen in parts.items()}
    return as_dataset(HF, classes, found, task_for(kind.several), reading, wanted)


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
            problem = f"; it is there, but cannot be imported ({described(error)})"
    except AttributeError:
        pass  # another module or folder of that name
    raise MissingPackageError(
        f"data sets of Hugging Face need the package datasets, {_MAJOR}.0 or newer: pip install "
        f'"datasets>={_MAJOR}"{problem}'
    )


def _load(library: Any, reference: Reference) -> dict[str, Table]:
    """Return the splits of a data set. Raises as `open_hub`."""
    path, options = reference.path, reference.options
    here = os.path.exists(path)  # noqa: PTH110
    saved = here and any(os.path.isfile(path / name) for name in _SAVED)  # noqa: PTH113
    if not here and not _HUB_NAME.fullmatch(reference.name):
        raise DataError(f"{path} does not exist, and is no name of the Hugging Face hub")
    for option in ("revision", *(("config",) if saved else ())):
        if here and option in options:
            raise UsageError(f"{path} is on this machine, it has no {option}")
    try:
        with quiet(library.utils):
            if saved:
                loaded = library.load_from_disk(str(path))
            elif path.is_file():
                loaded = library.load_dataset("parquet", data_files=str(path))
            else:
                name = str(path.resolve()) if here else reference.name
                loaded = library.load_dataset(name, options.get("config"), revision=options.get("revision"))
    except Exception as error:  # of the library, of pyarrow, of the network
        offline = None if here or isinstance(error, library.exceptions.DatasetNotFoundError) else of_network(error)
        if offline:
            raise MissingDatasetError(
                PREFIX + reference.name,
                f"{reference.name} is no folder here nor in the library's cache, and the Hugging Face hub cannot be "
                f"reached ({described(offline)})",
            ) from error
        homeless = "; HF_HOME names the folder for downloads" if "home directory" in str(error) else ""
        raise DataError(f"{reference.name} cannot be opened ({described(error)}){homeless}") from error
    return dict(loaded) if isinstance(loaded, dict) else {str(loaded.split or "train"): loaded}


def _check_wanted(reference: Reference, rows: Rows, kind: LabelType, wanted: Wanted) -> None:
    """Raise DataError if rows have labels that a network does not know, or another number of them."""
    if kind.several != wanted.several:
        number = "several labels" if kind.several else "one label"
        raise DataError(f"{reference.name} has {number} an image, the network is for another task")
    check_known(HF, (name for names in kind.shown(rows.labels) for name in names), wanted.classes)


def _choose(tables: Mapping[str, Table], reference: Reference, wanted: Wanted | None) -> dict[Part, str]:
    """Return the names of the training and the test split, or of the one that is wanted.

    They are the same where the test rows are to be drawn.
    """
    names = reference.splits
    tests = [name for name in _TEST_NAMES if name in tables]
    if not names and ("train" in tables or (wanted and wanted.part == "test" and tests)):
        names = ("train", *tests[:1])
    if not names and len(tables) == 1:
        names = tuple(tables)
    there = ", ".join(f"{name} ({len(table):,} rows)" for name, table in tables.items())
    if not names or (len(names) == 1 < len(tables) and not reference.splits):
        raise DataError(
            f"{reference.name} has the splits {there}: name those for training and test, "
            f"{PREFIX}{reference.name}#TRAIN,TEST, or one that test rows are drawn from"
        )
    chosen: dict[Part, str] = {"train": names[0], "test": names[-1]}
    if wanted and len(names) > 1:
        chosen = {wanted.part: chosen[wanted.part]}
    for name in chosen.values():
        if name not in tables:
            raise DataError(f"{reference.name} has no split {name}, only {there}")
    return chosen


def _drawn(reference: Reference, rows: Rows) -> dict[Part, Rows]:
    """Return the rows in two parts. Raises DataError if they are too few for that."""
    train, test = draw_test(rows.labels)
    if not test:
        raise DataError(
            f"{rows.split} has too few rows to draw test rows from them: every label must remain with a training row; "
            f"name a split for the test: {PREFIX}{reference.name}#TRAIN,TEST"
        )
    return {"train": rows.take(train), "test": rows.take(test)}
