"""Data sets by name: `open_dataset(name, folder)` gives their classes and reads their splits."""

import contextlib
import difflib
import pickle
import sys
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slt_compress.errors import DataError, UsageError
from slt_compress.folders import open_folder
from slt_compress.pictures import Dataset, Part, Report, Split, TensorSplit, resize

DEFAULT_FOLDER = Path("~/.cache/slt-compress").expanduser()

_DIGITS = tuple("0123456789")
_PUBLISHED = {
    "mnist": ((0.1307,), (0.3081,)),
    "fashion-mnist": ((0.2860,), (0.3530,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
}
NAMES = ("digits", *_PUBLISHED, "imagefolder")


def open_dataset(name: str, folder: Path | None) -> Dataset:
    """Open a data set, downloading it where torchvision can and no copy is found.

    Raises UsageError for an unknown name, DataError where the pictures are missing or unusable.
    """
    check_name(name)
    if folder is not None and not folder.is_dir():
        raise DataError(
            f"the data folder {folder} does not exist (make it first if {name} is to be downloaded into it)"
        )
    if name == "digits":
        return _open_digits()
    if name == "imagefolder":
        if folder is None:
            raise DataError(
                "imagefolder needs --data-dir, a folder with train/ and test/ (or val/), each with a folder per class"
            )
        return open_folder(folder)
    return _open_torchvision(name, folder or DEFAULT_FOLDER)


def check_name(name: str) -> None:
    """Raise UsageError, with close matches, if no data set has this name."""
    if name not in NAMES:
        close = difflib.get_close_matches(name, NAMES, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(NAMES)}"
        raise UsageError(f"unknown data set {name!r}: {hint}")


def _open_digits() -> Dataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = torch.from_numpy(np.rint(bunch.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=bunch.target, random_state=0)

    def read(part: Part, size: int, report: Report | None = None) -> Split:  # noqa: ARG001, at once
        chosen = torch.from_numpy(train if part == "train" else test)
        return TensorSplit(resize(images[chosen], size), labels[chosen])

    return Dataset("digits", _DIGITS, 1, 8, ((0.3053,), (0.3759,)), read)


def _open_torchvision(name: str, folder: Path) -> Dataset:
    def read(part: Part, size: int, report: Report | None = None) -> Split:  # noqa: ARG001, at once
        data = _read_torchvision(name, folder, part)
        images = torch.as_tensor(data.data)
        if images.ndim == 3:
            images = images.unsqueeze(1)
        elif images.shape[-1] == 3:
            images = images.permute(0, 3, 1, 2).contiguous()
        labels = torch.as_tensor(data.labels if name == "svhn" else data.targets, dtype=torch.int64)
        return TensorSplit(resize(images, size), labels)

    classes = _DIGITS
    if name in ("fashion-mnist", "cifar10", "cifar100"):
        classes = tuple(_read_torchvision(name, folder, "test").classes)
    mean, std = _PUBLISHED[name]
    return Dataset(name, classes, len(mean), 28 if "mnist" in name else 32, (mean, std), read)


def _read_torchvision(name: str, folder: Path, part: Part) -> Any:
    """Return torchvision's data set from `folder`, downloaded there if it is not in it."""
    from torchvision import datasets

    def make(download: bool) -> Any:
        if name == "svhn":
            return datasets.SVHN(folder / "svhn", split=part, download=download)
        kinds = {
            "mnist": datasets.MNIST,
            "fashion-mnist": datasets.FashionMNIST,
            "cifar10": datasets.CIFAR10,
            "cifar100": datasets.CIFAR100,
        }
        return kinds[name](folder, train=part == "train", download=download)

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
        raise DataError(
            f"{name} is not in {folder} and cannot be downloaded ({error}); on a machine with internet run: "
            f"slt-compress search MODEL --dataset {name} --data-dir FOLDER, copy FOLDER here and name it with "
            "--data-dir; --dataset digits needs no download"
        ) from error
