"""Labelled images: how they are held, cut into parts and batched. Where they come from is `datasets`.

Images that fit into memory are one uint8 tensor, batched by indexing, which costs nothing beside the network.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F

from slt_compress.data.preprocessing import Preprocessing
from slt_compress.data.sampler import WHOLE, Shard, batch_indices
from slt_compress.progress import ReportCount

Batch = tuple[torch.Tensor, torch.Tensor]  # uint8 (n, channels, size, size), int64 (n,)
Part = Literal["train", "test"]

MAX_VALIDATION = 5_000  # images; a tenth of the training split where that is less
_STATISTICS_SAMPLE = 10_000  # images that a mean and a standard deviation are measured on


class Split(Protocol):
    """Labelled images that can be read in batches and cut into parts."""

    def __len__(self) -> int: ...

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: torch.Generator | None = None,
        drop_last: bool = False,
        skip: int = 0,
        shard: Shard = WHOLE,
    ) -> Iterator[Batch]:
        """Yield every image once, in stored order or in the order that `shuffle` draws, without the first `skip`
        batches. A shard leaves of each batch every stride-th image, from the first on.
        """

    def take(self, indices: torch.Tensor) -> "Split":
        """Return the images at these int64 positions, in this order."""

    def to(self, device: torch.device) -> "Split":
        """Return the split with its batches on a device; in memory, the images move there once."""


class TensorSplit:
    """Images held in memory: uint8 (n, channels, size, size) and int64 labels (n,)."""

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
        shard: Shard = WHOLE,
    ) -> Iterator[Batch]:
        # Stored order is read off on the host; a shuffled one moves to the images at once, not batch by batch.
        device = self.labels.device if shuffle else torch.device("cpu")
        for indices in batch_indices(len(self), batch_size, shuffle, drop_last, skip, shard, device):
            part = indices if shuffle else slice(int(indices[0]), int(indices[-1]) + 1, shard[1])
            yield self.images[part], self.labels[part]

    def take(self, indices: torch.Tensor) -> "TensorSplit":
        return TensorSplit(self.images[indices], self.labels[indices])

    def to(self, device: torch.device) -> "TensorSplit":
        return TensorSplit(self.images.to(device), self.labels.to(device))


class Reader(Protocol):
    """Reads a part of a data set, resized to squares of `size` px. `report` gets the number done and the total."""

    def __call__(self, part: Part, size: int, report: ReportCount | None = None) -> Split: ...


@dataclass(frozen=True)
class Dataset:
    """An opened data set.

    Attributes:
        name: as it was opened by.
        classes: names, in the order of the labels.
        channels: planes of an image.
        size: the images' common size in px, None where they differ or are large.
        published: mean and standard deviation per channel of pixels in [0, 1], None where nobody has published them.
        read: gives a part of it.
    """

    name: str
    classes: tuple[str, ...]
    channels: int
    size: int | None
    published: tuple[tuple[float, ...], tuple[float, ...]] | None
    read: Reader

    def preprocessing(self, size: int, train: Split) -> Preprocessing:
        """Return the published mean and standard deviation, or measure those of the training split."""
        mean, std = self.published or measure(train)
        return Preprocessing(size, self.channels, mean, std)


def hold_out(train: Split) -> tuple[Split, Split]:
    """Cut a training split into (rest, validation): a tenth, 1 to `MAX_VALIDATION` images, the same for every seed."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    count = max(1, min(MAX_VALIDATION, len(train) // 10))
    return train.take(order[count:]), train.take(order[:count])


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
