"""Data sets by name: `open_dataset(name, folder)` gives their classes and reads their splits."""

import contextlib
import difflib
import pickle
import sys
import urllib.error
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slt_compress.data.hub import HF, PREFIX, open_hub, parse
from slt_compress.data.image_folder import open_image_folder
from slt_compress.data.listing import open_listing
from slt_compress.data.splits import Dataset, IndexedSplit, Part, TensorSplit, resize
from slt_compress.errors import DataError, MissingDatasetError, UsageError
from slt_compress.progress import ReportCount

DEFAULT_FOLDER = Path("~/.cache/slt-compress").expanduser()
DIGITS, IMAGE_FOLDER, CSV = "digits", "imagefolder", "csv"

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


def open_dataset(name: str, folder: Path | None) -> Dataset:
    """Open a data set, downloading it where torchvision or the library `datasets` can and no copy is found.

    Args:
        name: one of `DATASET_NAMES`; what follows "hf:" is described in `data.hub`.
        folder: of the images. For "csv" the file that lists them, or its folder; for "hf:NAME" none.

    Raises UsageError for an unknown name, DataError where the images are missing or unusable, MissingPackageError
    without a library that the data set needs.
    """
    check_dataset_name(name)
    if name.startswith(PREFIX):
        if folder is not None:
            raise UsageError(f"{name} takes no `data_dir`: name a folder as hf:FOLDER; downloads are kept in HF_HOME")
        return open_hub(name)
    if name == CSV:
        if folder is None:
            raise DataError(f"{CSV} needs `data_dir`, a CSV file with the columns path and label, or its folder")
        return open_listing(folder)
    if name == DIGITS and folder is not None:
        raise UsageError(
            f"`data_dir` has no meaning for `dataset={DIGITS}`, which are part of scikit-learn: name the data set that "
            f"{folder} holds with `dataset`"
        )
    if folder is not None and not folder.is_dir():
        raise DataError(
            f"the data folder {folder} does not exist (make it first if {name} is to be downloaded into it)"
        )
    if name == DIGITS:
        return _open_digits()
    if name == IMAGE_FOLDER:
        if folder is None:
            raise DataError(
                f"{IMAGE_FOLDER} needs `data_dir`, a folder with train/ and test/ (or val/), each with a folder per "
                "class"
            )
        return open_image_folder(folder)
    return _open_torchvision(name, folder or DEFAULT_FOLDER)


def check_dataset_name(name: str) -> None:
    """Raise UsageError, with close matches, if no data set has this name."""
    if name == HF or name.startswith(PREFIX):
        parse(name)
    elif name not in DATASET_NAMES:
        close = difflib.get_close_matches(name, DATASET_NAMES, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(DATASET_NAMES)}"
        raise UsageError(f"unknown data set {name!r}: {hint}")


def _open_digits() -> Dataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = torch.from_numpy(np.rint(bunch.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=bunch.target, random_state=0)

    def read(part: Part, size: int, report: ReportCount | None = None) -> IndexedSplit:  # noqa: ARG001, at once
        chosen = torch.from_numpy(train if part == "train" else test)
        return TensorSplit(resize(images[chosen], size), labels[chosen])

    return Dataset(DIGITS, _DIGITS, 1, 8, ((0.3053,), (0.3759,)), read)


def _open_torchvision(name: str, folder: Path) -> Dataset:
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

    classes = entry.classes or tuple(_read_torchvision(name, folder, "test").classes)
    return Dataset(name, classes, len(entry.mean), entry.size, (entry.mean, entry.std), read)


def _read_torchvision(name: str, folder: Path, part: Part) -> Any:
    """Return torchvision's data set from `folder`, downloaded there if it is not in it."""
    from torchvision import datasets

    entry = _TORCHVISION[name]
    chosen: dict[str, Any] = {"split": part} if entry.reader == "SVHN" else {"train": part == "train"}

    def make(*, download: bool) -> Any:
        return getattr(datasets, entry.reader)(folder / entry.subfolder, download=download, **chosen)

    try:
        return make(download=False)
    except (RuntimeError, OSError):
        pass  # absent or incomplete: bring it
    except (ValueError, AssertionError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(f"{name} in {folder} is damaged ({error}); delete it and run again") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(sys.stderr):  # torchvision reports downloads on stdout
            return make(download=True)
    except (RuntimeError, OSError, urllib.error.URLError) as error:
        raise MissingDatasetError(name, f"{name} is not in {folder} and cannot be downloaded ({error})") from error
