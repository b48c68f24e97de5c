"""Labelled pictures: how they are held, cut into parts, batched and normalised. Where they come from is `data`.

Pictures that fit into memory are one uint8 tensor, batched by indexing, which costs nothing beside the network.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal, Protocol

import torch
import torch.nn.functional as F

Batch = tuple[torch.Tensor, torch.Tensor]  # uint8 (n, channels, size, size), int64 (n,)
Part = Literal["train", "test"]
Report = Callable[[int, int], None]

SMALL = 64  # px: pictures up to this size are small: their folders have a size of their own, stems are adapted to them

MAX_VALIDATION = 5_000  # pictures; a tenth of the training split where that is less
_STATISTICS_SAMPLE = 10_000  # pictures that a mean and a standard deviation are measured on


class Split(Protocol):
    """Labelled pictures that can be read in batches and cut into parts."""

    def __len__(self) -> int: ...

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: torch.Generator | None = None,
        drop_last: bool = False,
        skip: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> Iterator[Batch]:
        """Yield every picture once, in stored order, or in the order the generator draws, but for `skip` batches.

        A share (first, step) leaves of each batch every step-th picture, from the first on.
        """

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
        self,
        batch_size: int,
        *,
        shuffle: torch.Generator | None = None,
        drop_last: bool = False,
        skip: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> Iterator[Batch]:
        # Stored order is read off on the host; a shuffled one moves to the pictures at once, not batch by batch.
        device = self.labels.device if shuffle else torch.device("cpu")
        for indices in batch_indices(len(self), batch_size, shuffle, drop_last, skip, share, device):
            part = indices if shuffle else slice(int(indices[0]), int(indices[-1]) + 1, share[1])
            yield self.images[part], self.labels[part]

    def take(self, indices: torch.Tensor) -> "TensorSplit":
        return TensorSplit(self.images[indices], self.labels[indices])

    def to(self, device: torch.device) -> "TensorSplit":
        return TensorSplit(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Preprocessing:
    """What a network expects of a picture: square of `size` px, `channels` planes, and per plane (x/255 - mean)/std."""

    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Turn uint8 (n, channels, size, size) into normalised float32 of the same shape and device."""
        mean, std = (_per_channel(tuple(values), images.device) for values in (self.mean, self.std))
        return images.float().div_(255).sub_(mean).div_(std)


@cache
def _per_channel(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    return torch.tensor(values, device=device).view(1, -1, 1, 1)


def as_pixels(images: torch.Tensor) -> torch.Tensor:
    """Turn uint8 (n, channels, size, size) into (n, size, size, channels), as cameras and image libraries have it."""
    return images.permute(0, 2, 3, 1).contiguous()


class Reader(Protocol):
    """Reads a part of a data set, resized to squares of `size` px. `report` gets the number done and the total."""

    def __call__(self, part: Part, size: int, report: Report | None = None) -> Split: ...


@dataclass(frozen=True)
class Dataset:
    """An opened data set. `size` is the pictures' common size in px, None where they differ or are large."""

    name: str
    classes: tuple[str, ...]
    channels: int
    size: int | None
    published: tuple[tuple[float, ...], tuple[float, ...]] | None  # mean and std per channel, pixels in [0, 1]
    read: Reader

    def preprocessing(self, size: int, train: Split) -> Preprocessing:
        """Return the published mean and standard deviation, or measure those of the training split."""
        mean, std = self.published or measure(train)
        return Preprocessing(size, self.channels, mean, std)


def hold_out(train: Split) -> tuple[Split, Split]:
    """Cut a training split into (rest, validation): a tenth, 1 to `MAX_VALIDATION`, the same whatever the seed."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    count = max(1, min(MAX_VALIDATION, len(train) // 10))
    return train.take(order[count:]), train.take(order[:count])


def batch_indices(
    count: int,
    batch_size: int,
    shuffle: torch.Generator | None,
    drop_last: bool,
    skip: int = 0,
    share: tuple[int, int] = (0, 1),
    device: torch.device | None = None,
) -> Iterator[torch.Tensor]:
    """Yield the positions of each batch's pictures, but for the first `skip`, which change nothing in the draw.

    A share (first, step) leaves of each batch every step-th picture, from the first on.
    """
    order = torch.arange(count) if shuffle is None else torch.randperm(count, generator=shuffle)
    for batch in torch.split(order.to(device), batch_size)[skip:]:
        if not drop_last or len(batch) == batch_size:
            yield batch[share[0] :: share[1]]


def resize(images: torch.Tensor, size: int) -> torch.Tensor:
    """Resize uint8 (n, channels, height, width) to squares of `size` px, antialiased."""
    if images.shape[-2:] == (size, size):
        return images
    parts = [
        F.interpolate(part, (size, size), mode="bilinear", antialias=True, align_corners=False)
        for part in torch.split(images, 1024)
    ]
    return torch.cat(parts)


def measure(train: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return per-channel mean and standard deviation of pixels in [0, 1], rounded to four digits."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:_STATISTICS_SAMPLE]
    count, total, squares = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for images, _ in train.take(order).batches(256):
        pixels = images.cpu().double().div_(255)
        count += pixels[:, 0].numel()
        total = total + pixels.sum((0, 2, 3))
        squares = squares + pixels.square().sum((0, 2, 3))
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=1e-8).sqrt()
    return tuple(round(value, 4) for value in mean.tolist()), tuple(round(value, 4) for value in std.tolist())
