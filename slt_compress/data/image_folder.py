"""A user's own images: `train/` and `test/` (or `val/`), each with a folder per class.

Folders whose decoded images fit into memory are decoded once, larger ones by worker processes while the network
runs.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slt_compress.data.sampler import WHOLE, Shard, batch_indices
from slt_compress.data.splits import Batch, Dataset, Part, Split, TensorSplit
from slt_compress.errors import DataError
from slt_compress.progress import ReportCount

IN_MEMORY_BYTES = 2 * 2**30  # folders whose decoded images need more are streamed
LARGEST_COMMON_SIZE = 64  # px: larger images are resized to what the network was made for
_COMMON_SIZE_SAMPLE = 256  # images opened to find out whether a folder has one small common size
_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}


class ImageFolderSplit:
    """Images decoded from files on demand, by worker processes, resized and centre-cropped to a square."""

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
        self,
        batch_size: int,
        *,
        shuffle: torch.Generator | None = None,
        drop_last: bool = False,
        skip: int = 0,
        shard: Shard = WHOLE,
    ) -> Iterator[Batch]:
        order = batch_indices(len(self), batch_size, shuffle, drop_last, skip, shard)
        loader: torch.utils.data.DataLoader[Batch] = torch.utils.data.DataLoader(
            self,  # type: ignore[arg-type]
            batch_sampler=[indices.tolist() for indices in order],
            num_workers=min(8, _cores()),
            pin_memory=self.device.type == "cuda",
        )
        for images, labels in loader:
            yield images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)

    def take(self, indices: torch.Tensor) -> "ImageFolderSplit":
        files = [self.files[index] for index in indices.tolist()]
        return ImageFolderSplit(files, self.labels[indices], self.size, self.channels, self.device)

    def to(self, device: torch.device) -> "ImageFolderSplit":
        return ImageFolderSplit(self.files, self.labels, self.size, self.channels, device)


def open_image_folder(folder: Path) -> Dataset:
    """Open a folder of images. Raises DataError, naming the place, if it is not laid out as expected."""
    train_folder = _part_folder(folder, ("train",))
    test_folder = _part_folder(folder, ("test", "val"))
    classes = tuple(sorted(entry.name for entry in train_folder.iterdir() if entry.is_dir()))
    if len(classes) < 2:
        raise DataError(f"{train_folder} needs a folder for each of at least two classes, found {len(classes)}")
    found = {part: _list_files(root, classes) for part, root in (("train", train_folder), ("test", test_folder))}
    size, channels = _common_size(found["train"][0])

    def read(part: Part, size: int, report: ReportCount | None = None) -> Split:
        split = ImageFolderSplit(*found[part], size, channels)
        if len(split) * channels * size**2 > IN_MEMORY_BYTES:
            return split
        images = torch.empty((len(split), channels, size, size), dtype=torch.uint8)
        for index, file in enumerate(split.files):
            images[index] = _decode(file, size, channels)
            if report:
                report(index + 1, len(split))
        return TensorSplit(images, split.labels)

    return Dataset("imagefolder", classes, channels, size, None, read)


def _cores() -> int:
    """Return how many cores this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
        images = (
            sorted(path for path in (root / name).rglob("*") if path.suffix.lower() in _SUFFIXES)
            if (root / name).is_dir()
            else []
        )
        if not images:
            raise DataError(f"{root / name} holds no images ({', '.join(sorted(_SUFFIXES))})")
        files += images
        labels += [label] * len(images)
    return files, torch.tensor(labels)


def _common_size(files: Sequence[Path]) -> tuple[int | None, int]:
    """Return the size that an even sample of images shares, if square and small, and their number of channels."""
    step = max(1, len(files) // _COMMON_SIZE_SAMPLE)
    sizes, grey = set(), True
    for file in files[::step]:
        with _open_image(file) as image:
            sizes.add(image.size)
            grey &= image.mode in ("1", "L", "I;16")
    channels = 1 if grey else 3
    width, height = next(iter(sizes))
    return (width if len(sizes) == 1 and width == height <= LARGEST_COMMON_SIZE else None), channels


@contextlib.contextmanager
def _open_image(file: Path) -> Iterator[Any]:
    from PIL import Image

    try:
        with Image.open(file) as image:
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read the image {file}: {error}") from error


def _decode(file: Path, size: int, channels: int) -> torch.Tensor:
    """Return an image as uint8 (channels, size, size): shorter side resized to `size`, centre cropped."""
    from PIL import Image, ImageOps

    with _open_image(file) as image:
        converted = image.convert("L" if channels == 1 else "RGB")
        if converted.size != (size, size):
            converted = ImageOps.fit(converted, (size, size), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(converted, np.uint8).reshape(size, size, channels).transpose(2, 0, 1).copy())
