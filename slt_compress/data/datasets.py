"""Data sets by name: `open_dataset(name, folder)` gives their classes and reads their splits."""

import contextlib
import difflib
import os
import sys
import urllib.error
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from slt_compress.data import digits
from slt_compress.data.downloads import check_idx, check_sums
from slt_compress.data.hub import open_hub
from slt_compress.data.image_folder import open_image_folder
from slt_compress.data.listing import open_listing
from slt_compress.data.places import CSV
from slt_compress.data.reference import HF, PREFIX, parse
from slt_compress.data.splits import Dataset, IndexedSplit, Part, Reading, TensorSplit, Wanted, resize
from slt_compress.errors import DataError, MissingDatasetError, UsageError, first_line
from slt_compress.progress import ReportCount

DEFAULT_FOLDER = Path("~/.cache/slt-compress")
DIGITS, IMAGE_FOLDER = "digits", "imagefolder"

_DIGITS = tuple("0123456789")
_RGB = 3


@dataclass(frozen=True)
class _Torchvision:
    """A data set of torchvision.

    Attributes:
        reader: name of torchvision's class.
        size: of the images, in px.
        mean, std: as published, per channel, of pixels in [0, 1].
        classes: names, None where torchvision's class knows them.
        subfolder: of the data folder, where torchvision would put the files into the folder itself.
    """

    reader: str
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...] | None = None
    subfolder: str = ""


_TORCHVISION = {
    "mnist": _Torchvision("MNIST", 28, (0.1307,), (0.3081,), _DIGITS),
    "fashion-mnist": _Torchvision("FashionMNIST", 28, (0.2860,), (0.3530,)),
    "cifar10": _Torchvision("CIFAR10", 32, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": _Torchvision("CIFAR100", 32, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "svhn": _Torchvision("SVHN", 32, (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970), _DIGITS, "svhn"),
}
DATASET_NAMES = (DIGITS, *_TORCHVISION, IMAGE_FOLDER, CSV, f"{PREFIX}NAME")


def open_dataset(name: str, folder: Path | None, reading: Reading = Reading(), wanted: Wanted | None = None) -> Dataset:
    """Open a data set, downloading it where torchvision or the library `datasets` can and no copy is found.

    Args:
        name: one of `DATASET_NAMES`; what follows "hf:" is described in `data.hub`.
        folder: of the images. For "csv" the file that lists them, or its folder; for "hf:NAME" none.
        reading: how images in files or tables are read; the others always lie in memory.
        wanted: of which part alone there is need, and how it is labelled; of torchvision's, only that part is looked
            for.

    Raises UsageError for an unknown name, DataError where the images are missing or unusable, MissingPackageError
    without a library that the data set needs.
    """
    check_dataset_name(name)
    if name.startswith(PREFIX):
        if folder is not None:
            raise UsageError(f"{name} takes no `data_dir`: name a folder as hf:FOLDER; downloads are kept in HF_HOME")
        return open_hub(name, reading, wanted)
    if name == CSV:
        if folder is None:
            raise DataError(f"{CSV} needs `data_dir`, a CSV file with the columns path and label, or its folder")
        return open_listing(folder, reading, wanted)
    if name == DIGITS and folder is not None:
        raise UsageError(
            f"`data_dir` has no meaning for `dataset={DIGITS}`, which are part of scikit-learn: name the data set that "
            f"{folder} holds with `dataset`"
        )
    if folder is not None and not os.path.isdir(folder):  # noqa: PTH112, pathlib raises for some paths
        if os.path.exists(folder):  # noqa: PTH110
            raise DataError(f"{folder} is no folder: `data_dir` names the folder that {name} is read from")
        advice = "" if name == IMAGE_FOLDER else f" (make it first if {name} is to be downloaded into it)"
        raise DataError(f"the data folder {folder} does not exist{advice}")
    if name != IMAGE_FOLDER and reading.asked_for:
        raise UsageError(f"`{reading.asked_for}` is for images in files or tables; {name} is read as a whole")
    if name == DIGITS:
        return _open_digits()
    if name == IMAGE_FOLDER:
        if folder is None:
            raise DataError(
                f"{IMAGE_FOLDER} needs `data_dir`, a folder with train/ and test/ (or val/), each with a folder per "
                "class"
            )
        return open_image_folder(folder, reading, wanted)
    return _open_torchvision(name, folder or _default_folder(name), wanted)


def _default_folder(name: str) -> Path:
    """Return where downloads are kept. Raises DataError for a user without a home folder."""
    try:
        return DEFAULT_FOLDER.expanduser()
    except RuntimeError as error:
        raise DataError(
            f"{name} is read from {DEFAULT_FOLDER} and there is no home folder: give `data_dir`, the folder to read it "
            "from or download it into"
        ) from error


def check_dataset_name(name: str) -> None:
    """Raise UsageError, with close matches, if no data set has this name."""
    if name == HF or name.startswith(PREFIX):
        parse(name)
    elif name not in DATASET_NAMES:
        close = difflib.get_close_matches(name, DATASET_NAMES, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(DATASET_NAMES)}"
        raise UsageError(f"unknown data set {name!r}: {hint}")


def _open_digits() -> Dataset:
    images, labels = map(torch.from_numpy, digits.read())
    train, test = digits.split(labels.numpy())

    def read(part: Part, size: int, report: ReportCount | None = None) -> IndexedSplit:  # noqa: ARG001, at once
        chosen = torch.from_numpy(train if part == "train" else test)
        return TensorSplit(resize(images[chosen].unsqueeze(1), size), labels[chosen])

    return Dataset(DIGITS, _DIGITS, 1, 8, ((0.3053,), (0.3759,)), read)


def _open_torchvision(name: str, folder: Path, wanted: Wanted | None) -> Dataset:
    entry = _TORCHVISION[name]

    def read(part: Part, size: int, report: ReportCount | None = None) -> IndexedSplit:  # noqa: ARG001, at once
        data = _read_torchvision(name, folder, part)
        images = torch.as_tensor(data.data)
        if images.ndim == 3:
            images = images.unsqueeze(1)
        elif images.shape[-1] == _RGB:
            images = images.permute(0, 3, 1, 2).contiguous()
        labels = torch.as_tensor(data.labels if entry.reader == "SVHN" else data.targets, dtype=torch.int64)
        return TensorSplit(resize(images, size), labels)

    part = wanted.part if wanted else "test"
    classes = entry.classes or tuple(_read_torchvision(name, folder, part).classes)
    return Dataset(name, classes, len(entry.mean), entry.size, (entry.mean, entry.std), read)


def _of_part(reader: Any, part: Part) -> Any:
    """Return torchvision's class so that it asks for the files of one part alone, else it does for those of both."""
    fields: dict[str, Any] = {}
    if hasattr(reader, "resources"):  # MNIST
        prefix = "train" if part == "train" else "t10k"
        fields["resources"] = [resource for resource in reader.resources if resource[0].startswith(prefix)]
    elif hasattr(reader, "train_list"):  # CIFAR
        fields["test_list" if part == "train" else "train_list"] = []
    return type(reader.__name__, (reader,), fields)


def _read_torchvision(name: str, folder: Path, part: Part) -> Any:
    """Return torchvision's data set from `folder`, downloaded there if it is not in it."""
    from torchvision import datasets

    entry = _TORCHVISION[name]
    whole, root = getattr(datasets, entry.reader), folder / entry.subfolder
    reader = _of_part(whole, part)
    chosen: dict[str, Any] = {"split": part} if entry.reader == "SVHN" else {"train": part == "train"}
    if hasattr(reader, "resources"):
        check_idx(root / entry.reader / "raw", "train" if part == "train" else "t10k", len(_DIGITS))
    try:
        return reader(root, download=False, **chosen)
    except (RuntimeError, OSError):  # absent, incomplete or damaged
        check_sums(whole, root, part)
    except Exception as error:  # what a library's readers raise for content they were never meant for
        raise DataError(f"{name} in {folder} is damaged ({first_line(error)}); delete it and run again") from error
    _make_folder(folder)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torchvision reports downloads on stdout
            return reader(root, download=True, **chosen)
    except (RuntimeError, OSError, urllib.error.URLError) as error:
        reason = first_line(error)
        raise MissingDatasetError(name, f"{name} is not in {folder} and cannot be downloaded ({reason})") from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot make the folder {folder} ({error.strerror or error}): give `data_dir`, a folder to read from or "
            "download into"
        ) from error
