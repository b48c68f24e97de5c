"""Labelled examples: how they are held, cut into parts and batched. Where they come from is `datasets` and `own`.

What fits into memory is one tensor, batched by indexing, which costs nothing beside the network.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch.utils._pytree import tree_leaves, tree_map

from slt_compress.data.batches import Tensors, length, move
from slt_compress.data.preprocessing import Preprocessing
from slt_compress.data.sampler import WHOLE, Shard, batch_indices
from slt_compress.progress import ReportCount
from slt_compress.tasks.task import CLASSIFY, Task

Batch = tuple[Tensors, Tensors]  # inputs and targets; of images uint8 (n, channels, size, size), int64 (n,)
Part = Literal["train", "test"]

MAX_VALIDATION = 5_000  # images; a tenth of the training split where that is less
_STATISTICS_SAMPLE = 10_000  # images that a mean and a standard deviation are measured on


def _to_nobody(text: str) -> None:
    pass


class Split(Protocol):
    """Labelled examples that can be read in batches."""

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: torch.Generator | None = None,
        drop_last: bool = False,
        skip: int = 0,
        shard: Shard = WHOLE,
    ) -> Iterator[Batch]:
        """Yield every example once, in stored order or in the order that `shuffle` draws, without the first `skip`
        batches. A shard leaves of each batch every stride-th example, from the first on.
        """

    def passes(self, batch_size: int, order: torch.Generator, first: int = 0, shard: Shard = WHOLE) -> Iterator[Batch]:
        """Yield the whole batches of one pass after the other, without end, from batch `first` on.

        `order` draws a new order for each pass; where batches are left out, it draws what it would have drawn.
        """

    def sample(self, count: int, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield at most `count` examples, of all kinds where the order is ours to draw, in whole batches."""

    def to(self, device: torch.device) -> "Split":
        """Return the split with its batches on a device; in memory, the examples move there once."""


class IndexedSplit(ABC):
    """Examples that can be read in any order, and cut into parts. Subclasses say where they are.

    Attributes:
        names: of the examples, such as their files; None where they have none.
    """

    names: Sequence[str] | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batches(
        self,
        batch_size: int,
        *,
        shuffle: torch.Generator | None = None,
        drop_last: bool = False,
        skip: int = 0,
        shard: Shard = WHOLE,
    ) -> Iterator[Batch]:
        """As in `Split`."""

    @abstractmethod
    def take(self, indices: torch.Tensor) -> "IndexedSplit":
        """Return the examples at these int64 positions, in this order."""

    @abstractmethod
    def to(self, device: torch.device) -> "IndexedSplit":
        """As in `Split`."""

    def passes(self, batch_size: int, order: torch.Generator, first: int = 0, shard: Shard = WHOLE) -> Iterator[Batch]:
        """As in `Split`."""
        finished, skip = divmod(first, len(self) // batch_size)
        for _ in range(finished):
            torch.randperm(len(self), generator=order)  # what the pass has drawn
        while True:
            yield from self.batches(batch_size, shuffle=order, drop_last=True, skip=skip, shard=shard)
            skip = 0

    def sample(self, count: int, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """As in `Split`."""
        chosen = torch.randperm(len(self), generator=generator)[:count]
        return self.take(chosen).batches(min(batch_size, len(chosen)), drop_last=True)


class TensorSplit(IndexedSplit):
    """Examples held in memory, as tensors or tuples of tensors whose first dimension counts them.

    Images are uint8 (n, channels, size, size) with int64 labels (n,).
    """

    def __init__(self, inputs: Tensors, targets: Tensors, names: Sequence[str] | None = None) -> None:
        self.inputs = inputs
        self.targets = targets
        self.names = names

    def __len__(self) -> int:
        return length(self.targets)

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: torch.Generator | None = None,
        drop_last: bool = False,
        skip: int = 0,
        shard: Shard = WHOLE,
    ) -> Iterator[Batch]:
        # Stored order is read off on the host; a shuffled one moves to the examples at once, not batch by batch.
        device = tree_leaves(self.targets)[0].device if shuffle else torch.device("cpu")
        for indices in batch_indices(len(self), batch_size, shuffle, drop_last, skip, shard, device):
            part = indices if shuffle else slice(int(indices[0]), int(indices[-1]) + 1, shard[1])
            yield _at(self.inputs, part), _at(self.targets, part)

    def take(self, indices: torch.Tensor) -> "TensorSplit":
        names = self.names and [self.names[index] for index in indices.tolist()]
        return TensorSplit(_at(self.inputs, indices), _at(self.targets, indices), names)

    def to(self, device: torch.device) -> "TensorSplit":
        return TensorSplit(move(self.inputs, device), move(self.targets, device), self.names)


def count(split: Split) -> int | None:
    """Return the number of examples, None if it is not known."""
    return len(split) if isinstance(split, IndexedSplit) else None


def _at(tensors: Tensors, part: torch.Tensor | slice) -> Tensors:
    return tree_map(lambda tensor: tensor[part], tensors)


class Reader(Protocol):
    """Reads a part of a data set, resized to squares of `size` px. `report` gets the number done and the total."""

    def __call__(self, part: Part, size: int, report: ReportCount | None = None) -> IndexedSplit: ...


@dataclass(frozen=True)
class Reading:
    """How images are read.

    Attributes:
        workers: most processes that decode a split which is too large for memory; 0: none but this one, None: as many
            as there are cores, at most eight.
        skip_unreadable: whether images that cannot be read are left out; else they are an error.
        warn: is told what is left out, and what cannot be done as asked.
    """

    workers: int | None = None
    skip_unreadable: bool = False
    warn: Callable[[str], None] = _to_nobody

    @property
    def asked_for(self) -> str | None:
        """The first of these that is not as by default, None if all are: it has no meaning where no images are read."""
        return "skip_unreadable" if self.skip_unreadable else "workers" if self.workers is not None else None


@dataclass(frozen=True)
class Wanted:
    """What a finished network needs of a data set: one part, with labels in the network's order.

    The other part need not be there, and neither need all of the classes.

    Attributes:
        part: the only one that is read.
        classes: all names, in the order of the logits.
        several: whether an image may have any number of labels.
        channels: planes of an image.
    """

    part: Part
    classes: tuple[str, ...]
    several: bool
    channels: int


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
        task: what its labels are for.
    """

    name: str
    classes: tuple[str, ...]
    channels: int
    size: int | None
    published: tuple[tuple[float, ...], tuple[float, ...]] | None
    read: Reader
    task: Task = CLASSIFY

    def preprocessing(self, size: int, train: IndexedSplit) -> Preprocessing:
        """Return the published mean and standard deviation, or measure those of the training split."""
        mean, std = self.published or measure(train)
        return Preprocessing(size, self.channels, mean, std)


def hold_out(train: IndexedSplit) -> tuple[IndexedSplit, IndexedSplit]:
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


def measure(train: IndexedSplit) -> tuple[tuple[float, ...], tuple[float, ...]]:
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
