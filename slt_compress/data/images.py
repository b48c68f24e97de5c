"""Images that lie in files or tables: decoded once where they fit into memory, else by worker processes while the
network runs.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, default_collate

from slt_compress.data.batches import CPU
from slt_compress.data.decoding import is_grey, opened, pixels
from slt_compress.data.sampler import WHOLE, Shard, batch_indices
from slt_compress.data.splits import Batch, Dataset, IndexedSplit, Part, TensorSplit
from slt_compress.errors import DataError
from slt_compress.progress import ReportCount
from slt_compress.tasks.task import CLASSIFY, Task

IN_MEMORY_BYTES = 2 * 2**30  # splits whose decoded images need more are streamed
LARGEST_COMMON_SIZE = 64  # px: larger images are resized to what the network was made for
_COMMON_SIZE_SAMPLE = 256  # images opened to find out whether a data set has one small common size


class Images(Protocol):
    """Images that can be opened by their position. Worker processes get a copy."""

    def __len__(self) -> int: ...

    def open(self, index: int) -> AbstractContextManager[Any]:
        """Give an image of PIL. Raises DataError, naming it, if it cannot be opened or what is done to it fails."""


class ImageFiles:
    """Images in files, one in each."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        """Return what an image is called in a message."""
        return str(self.files[index])

    def open(self, index: int) -> AbstractContextManager[Any]:
        return opened(self.files[index], self.name(index))


class StreamedSplit(IndexedSplit):
    """Images decoded on demand, by worker processes, resized and centre-cropped to a square.

    Attributes:
        images: of which some are in the split.
        labels: of all of them, (n, …).
        positions: which are in the split, int64.
    """

    def __init__(
        self,
        images: Images,
        labels: torch.Tensor,
        size: int,
        channels: int,
        *,
        positions: torch.Tensor | None = None,
        device: torch.device = CPU,
    ) -> None:
        self.images = images
        self.labels = labels
        self.size = size
        self.channels = channels
        self.positions = torch.arange(len(images)) if positions is None else positions
        self.device = device

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, position: int) -> Batch | DataError:
        """Return an image with its label, or what is wrong with it: from a worker, a raised error would bring its
        traceback along.
        """
        try:
            return _decode(self.images, position, self.size, self.channels), self.labels[position]
        except DataError as error:
            return error

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
        loader: DataLoader[Batch | DataError] = DataLoader(
            self,  # type: ignore[arg-type]
            batch_sampler=[self.positions[indices].tolist() for indices in order],
            num_workers=min(8, _cores()),
            collate_fn=_collate,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # torch's global one is the user's
        )
        for batch in loader:
            if isinstance(batch, DataError):
                raise batch
            images, labels = batch
            yield images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)

    def take(self, indices: torch.Tensor) -> "StreamedSplit":
        return self._with(self.positions[indices], self.device)

    def to(self, device: torch.device) -> "StreamedSplit":
        return self._with(self.positions, device)

    def _with(self, positions: torch.Tensor, device: torch.device) -> "StreamedSplit":
        return StreamedSplit(self.images, self.labels, self.size, self.channels, positions=positions, device=device)


def as_dataset(
    name: str,
    classes: Sequence[str],
    parts: Mapping[Part, tuple[Images, torch.Tensor]],
    task: Task = CLASSIFY,
) -> Dataset:
    """Return the data set of images and their labels, int64 (n,) or for several labels an image float32 (n, labels).

    Raises DataError if one of a sample of training images cannot be read.
    """
    size, channels = _common_size(parts["train"][0])

    def read(part: Part, size: int, report: ReportCount | None = None) -> IndexedSplit:
        images, labels = parts[part]
        if len(images) * channels * size**2 > IN_MEMORY_BYTES:
            return StreamedSplit(images, labels, size, channels)
        decoded = torch.empty((len(images), channels, size, size), dtype=torch.uint8)
        for index in range(len(images)):
            decoded[index] = _decode(images, index, size, channels)
            if report:
                report(index + 1, len(images))
        return TensorSplit(decoded, labels)

    return Dataset(name, tuple(classes), channels, size, None, read, task)


def _cores() -> int:
    """Return how many cores this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _collate(examples: list[Batch | DataError]) -> Batch | DataError:
    for example in examples:
        if isinstance(example, DataError):
            return example
    images, labels = default_collate(examples)
    return images, labels


def _common_size(images: Images) -> tuple[int | None, int]:
    """Return the size that an even sample of images shares, if square and small, and their number of channels."""
    step = max(1, len(images) // _COMMON_SIZE_SAMPLE)
    sizes, grey = set(), True
    for index in range(0, len(images), step):
        with images.open(index) as image:
            sizes.add(image.size)  # only squares matter, which orientation leaves as they are
            grey &= is_grey(image)
    channels = 1 if grey else 3
    width, height = next(iter(sizes))
    return (width if len(sizes) == 1 and width == height <= LARGEST_COMMON_SIZE else None), channels


def _decode(images: Images, index: int, size: int, channels: int) -> torch.Tensor:
    """Return an image as uint8 (channels, size, size)."""
    with images.open(index) as image:
        return pixels(image, size, channels)
