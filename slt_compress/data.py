"""Pictures by name: `open_dataset(name, folder)` gives labelled uint8 splits, normalised on the way to the network.

Data sets that fit into memory are held as one uint8 tensor and batched by indexing, which costs nothing beside the
network. Larger folders are decoded by worker processes while the network runs.
"""

import contextlib
import difflib
import os
import pickle
import sys
import urllib.error
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F

from slt_compress.errors import DataError, UsageError

Part = Literal["train", "test"]
Batch = tuple[torch.Tensor, torch.Tensor]  # uint8 (n, channels, size, size), int64 (n,)

DEFAULT_FOLDER = Path("~/.cache/slt-compress").expanduser()
IN_MEMORY_BYTES = 2 * 2**30  # folders whose decoded pictures need more are streamed
MAX_VALIDATION = 5_000  # pictures; a tenth of the training split where that is less
_COMMON_SIZE_SAMPLE = 256  # pictures opened to find out whether a folder has one small common size
_STATISTICS_SAMPLE = 10_000  # training pictures that the mean and standard deviation of a folder are measured on


class Split(Protocol):
    """Labelled pictures that can be read in batches and cut into parts."""

    def __len__(self) -> int: ...

    def batches(
        self, batch_size: int, *, shuffle: torch.Generator | None = None, drop_last: bool = False
    ) -> Iterator[Batch]:
        """Yield every picture once, in stored order, or in the order the generator draws."""

    def take(self, indices: torch.Tensor) -> "Split":
        """Return the pictures at these int64 positions, in this order."""

    def to(self, device: torch.device) -> "Split":
        """Return the split with its batches on a device; in memory, the pictures move there once."""


class TensorSplit:
    """Pictures held in memory: uint8 (n, channels, size, size) and int64 labels (n,)."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def batches(
        self, batch_size: int, *, shuffle: torch.Generator | None = None, drop_last: bool = False
    ) -> Iterator[Batch]:
        for indices in _batch_indices(len(self), batch_size, shuffle, drop_last):
            if shuffle is None:
                part = slice(int(indices[0]), int(indices[-1]) + 1)
                yield self.images[part], self.labels[part]
            else:
                chosen = indices.to(self.labels.device)
                yield self.images[chosen], self.labels[chosen]

    def take(self, indices: torch.Tensor) -> "TensorSplit":
        return TensorSplit(self.images[indices], self.labels[indices])

    def to(self, device: torch.device) -> "TensorSplit":
        return TensorSplit(self.images.to(device), self.labels.to(device))


class FolderSplit:
    """Pictures decoded from files on demand, by worker processes, resized and centre-cropped to a square."""

    def __init__(
        self,
        files: Sequence[Path],
        labels: torch.Tensor,
        size: int,
        channels: int,
        device: torch.device | None = None,
    ) -> None:
        self.files = list(files)
        self.labels = labels
        self.size = size
        self.channels = channels
        self.device = device or torch.device("cpu")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Batch:
        return _decode(self.files[index], self.size, self.channels), self.labels[index]

    def batches(
        self, batch_size: int, *, shuffle: torch.Generator | None = None, drop_last: bool = False
    ) -> Iterator[Batch]:
        loader: torch.utils.data.DataLoader[Batch] = torch.utils.data.DataLoader(
            self,  # type: ignore[arg-type]
            batch_sampler=[indices.tolist() for indices in _batch_indices(len(self), batch_size, shuffle, drop_last)],
            num_workers=min(8, os.cpu_count() or 1),
            pin_memory=self.device.type == "cuda",
        )
        for images, labels in loader:
            yield images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)

    def take(self, indices: torch.Tensor) -> "FolderSplit":
        files = [self.files[index] for index in indices.tolist()]
        return FolderSplit(files, self.labels[indices], self.size, self.channels, self.device)

    def to(self, device: torch.device) -> "FolderSplit":
        return FolderSplit(self.files, self.labels, self.size, self.channels, device)


@dataclass(frozen=True)
class Preprocessing:
    """What a network expects of a picture: square of `size` px, `channels` planes, and per plane (x/255 - mean)/std."""

    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Turn uint8 (n, channels, size, size) into normalised float32 of the same shape and device."""
        mean, std = (torch.tensor(values, device=images.device).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return images.float().div_(255).sub_(mean).div_(std)


@dataclass(frozen=True)
class Dataset:
    """An opened data set. `size` is the pictures' common size in px, None where they differ or are large."""

    name: str
    classes: tuple[str, ...]
    channels: int
    size: int | None
    published: tuple[tuple[float, ...], tuple[float, ...]] | None  # mean and std per channel, pixels in [0, 1]
    read: Callable[[Part, int], Split]  # at a size in px

    def preprocessing(self, size: int, train: Split) -> Preprocessing:
        """Return the published mean and standard deviation, or measure those of the training split."""
        mean, std = self.published or _measure(train)
        return Preprocessing(size, self.channels, mean, std)


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
        return _open_folder(folder)
    return _open_torchvision(name, folder or DEFAULT_FOLDER)


def check_name(name: str) -> None:
    """Raise UsageError, with close matches, if no data set has this name."""
    if name not in NAMES:
        close = difflib.get_close_matches(name, NAMES, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(NAMES)}"
        raise UsageError(f"unknown data set {name!r}: {hint}")


def hold_out(train: Split) -> tuple[Split, Split]:
    """Cut a training split into (rest, validation): a tenth, at most `MAX_VALIDATION`, the same whatever the seed."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    count = min(MAX_VALIDATION, len(train) // 10)
    return train.take(order[count:]), train.take(order[:count])


def _batch_indices(
    count: int, batch_size: int, shuffle: torch.Generator | None, drop_last: bool
) -> Iterator[torch.Tensor]:
    order = torch.arange(count) if shuffle is None else torch.randperm(count, generator=shuffle)
    for batch in torch.split(order, batch_size):
        if not drop_last or len(batch) == batch_size:
            yield batch


def _resize(images: torch.Tensor, size: int) -> torch.Tensor:
    """Resize uint8 (n, channels, height, width) to squares of `size` px, antialiased."""
    if images.shape[-2:] == (size, size):
        return images
    parts = [
        F.interpolate(part, (size, size), mode="bilinear", antialias=True, align_corners=False)
        for part in torch.split(images, 1024)
    ]
    return torch.cat(parts)


# digits ---------------------------------------------------------------------------------------------------------------


def _open_digits() -> Dataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = torch.from_numpy(np.rint(bunch.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=bunch.target, random_state=0)

    def read(part: Part, size: int) -> Split:
        chosen = torch.from_numpy(train if part == "train" else test)
        return TensorSplit(_resize(images[chosen], size), labels[chosen])

    return Dataset("digits", _DIGITS, 1, 8, ((0.3053,), (0.3759,)), read)


# torchvision ----------------------------------------------------------------------------------------------------------

_DIGITS = tuple("0123456789")
_PUBLISHED = {
    "mnist": ((0.1307,), (0.3081,)),
    "fashion-mnist": ((0.2860,), (0.3530,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
}
NAMES = ("digits", *_PUBLISHED, "imagefolder")


def _open_torchvision(name: str, folder: Path) -> Dataset:
    def read(part: Part, size: int) -> Split:
        data = _read_torchvision(name, folder, part)
        images = torch.as_tensor(data.data)
        if images.ndim == 3:
            images = images.unsqueeze(1)
        elif images.shape[-1] == 3:
            images = images.permute(0, 3, 1, 2).contiguous()
        labels = torch.as_tensor(data.labels if name == "svhn" else data.targets, dtype=torch.int64)
        return TensorSplit(_resize(images, size), labels)

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
            f"{name} is not in {folder} and cannot be downloaded ({error}); on a machine with internet run "
            f"'slt-compress evaluate' or 'search' with --dataset {name} --data-dir FOLDER, copy FOLDER here and name "
            "it with --data-dir"
        ) from error


# imagefolder ----------------------------------------------------------------------------------------------------------

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}


def _open_folder(folder: Path) -> Dataset:
    train_folder = _part_folder(folder, ("train",))
    test_folder = _part_folder(folder, ("test", "val"))
    classes = tuple(sorted(entry.name for entry in train_folder.iterdir() if entry.is_dir()))
    if len(classes) < 2:
        raise DataError(f"{train_folder} needs a folder for each of at least two classes, found {len(classes)}")
    found = {part: _list_files(root, classes) for part, root in (("train", train_folder), ("test", test_folder))}
    size, channels = _common_size(found["train"][0])

    def read(part: Part, size: int) -> Split:
        split = FolderSplit(*found[part], size, channels)
        if len(split) * channels * size**2 > IN_MEMORY_BYTES:
            return split
        images = torch.empty((len(split), channels, size, size), dtype=torch.uint8)
        for index, file in enumerate(split.files):
            images[index] = _decode(file, size, channels)
        return TensorSplit(images, split.labels)

    return Dataset("imagefolder", classes, channels, size, None, read)


def _part_folder(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        if (folder / name).is_dir():
            return folder / name
    raise DataError(f"{folder} has no folder {' or '.join(f'{name}/' for name in names)} with a folder per class in it")


def _list_files(root: Path, classes: Sequence[str]) -> tuple[list[Path], torch.Tensor]:
    extra = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and entry.name not in classes)
    if extra:
        raise DataError(f"{root} has class folders that train/ has not: {', '.join(extra[:5])}")
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        pictures = (
            sorted(path for path in (root / name).rglob("*") if path.suffix.lower() in _SUFFIXES)
            if (root / name).is_dir()
            else []
        )
        if not pictures:
            raise DataError(f"{root / name} holds no pictures ({', '.join(sorted(_SUFFIXES))})")
        files += pictures
        labels += [label] * len(pictures)
    return files, torch.tensor(labels)


def _common_size(files: Sequence[Path]) -> tuple[int | None, int]:
    """Return the size that an even sample of pictures shares, if square and small, and their number of channels."""
    from slt_compress.models import SMALL_INPUT

    step = max(1, len(files) // _COMMON_SIZE_SAMPLE)
    sizes, grey = set(), True
    for file in files[::step]:
        with _open_picture(file) as picture:
            sizes.add(picture.size)
            grey &= picture.mode in ("1", "L", "I;16")
    channels = 1 if grey else 3
    width, height = next(iter(sizes))
    return (width if len(sizes) == 1 and width == height <= SMALL_INPUT else None), channels


@contextlib.contextmanager
def _open_picture(file: Path) -> Iterator[Any]:
    from PIL import Image

    try:
        with Image.open(file) as picture:
            yield picture
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read the picture {file}: {error}") from error


def _decode(file: Path, size: int, channels: int) -> torch.Tensor:
    """Return a picture as uint8 (channels, size, size): shorter side resized to `size`, centre cropped."""
    from PIL import Image, ImageOps

    with _open_picture(file) as picture:
        converted = picture.convert("L" if channels == 1 else "RGB")
        if converted.size != (size, size):
            converted = ImageOps.fit(converted, (size, size), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(converted, np.uint8).reshape(size, size, channels).transpose(2, 0, 1).copy())


def _measure(train: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return per-channel mean and standard deviation of pixels in [0, 1], rounded to four digits."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:_STATISTICS_SAMPLE]
    count, total, squares = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for images, _ in train.take(order).batches(256):
        pixels = images.double().div_(255)
        count += pixels[:, 0].numel()
        total = total + pixels.sum((0, 2, 3)).cpu()
        squares = squares + pixels.square().sum((0, 2, 3)).cpu()
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=1e-8).sqrt()
    return tuple(round(value, 4) for value in mean.tolist()), tuple(round(value, 4) for value in std.tolist())
