"""Images that lie in files or tables: decoded once where they fit into memory, else by worker processes while the
network runs.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, overload

import torch
from torch.utils.data import default_collate

from slt_compress.data.batches import CPU
from slt_compress.data.decoding import is_grey, opened, pixels
from slt_compress.data.sampler import WHOLE, Shard, batch_indices
from slt_compress.data.splits import Batch, Dataset, IndexedSplit, Part, Reading, TensorSplit, Wanted
from slt_compress.data.workers import Workers
from slt_compress.errors import DataError
from slt_compress.progress import ReportCount
from slt_compress.tasks.task import CLASSIFY, Task

IN_MEMORY_BYTES = 2 * 2**30  # splits whose decoded images need more are streamed
LARGEST_COMMON_SIZE = 64  # px: larger images are resized to what the network was made for
_COMMON_SIZE_SAMPLE = 256  # images opened to find out whether a data set has one small common size
_NAMED = 10  # damaged images that a message names
_CHECKED_AT_ONCE = 64  # images that a worker looks at between two reports


class DamagedImagesError(DataError):
    """Images cannot be read.

    Attributes:
        reasons: of each, naming it.
    """

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        if len(self.reasons) == 1:
            super().__init__(f"{self.reasons[0]}; `skip_unreadable` leaves it out")
            return
        named = "; ".join(reason.removeprefix("cannot read the image ") for reason in self.reasons[:_NAMED])
        more = f"; and {len(self.reasons) - _NAMED:,} more" if len(self.reasons) > _NAMED else ""
        super().__init__(f"cannot read {len(self.reasons):,} images: {named}{more}; `skip_unreadable` leaves them out")


class Images(Protocol):
    """Images that can be opened by their position. Worker processes get a copy."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Return what an image is called: its file, or its place in a table."""

    def open(self, index: int) -> AbstractContextManager[Any]:
        """Give an image of PIL. Raises DataError, naming it, if it cannot be opened or what is done to it fails."""

    def check(self, index: int) -> None:
        """Read what an image says of itself, without its pixels. Raises DataError, naming it, if that fails."""


class ImageFiles:
    """Images in files, one in each."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return str(self.files[index])

    def open(self, index: int) -> AbstractContextManager[Any]:
        return opened(self.files[index], self.name(index))

    def check(self, index: int) -> None:
        with self.open(index):
            pass


class _Decoded:
    """What worker processes get: images to decode, with their labels."""

    def __init__(self, images: Images, labels: torch.Tensor, size: int, channels: int) -> None:
        self.images = images
        self.labels = labels
        self.size = size
        self.channels = channels

    def __getitem__(self, position: int) -> Batch | DataError:
        """Return an image with its label, or what is wrong with it: from a worker, a raised error would bring its
        traceback along.
        """
        try:
            return _decode(self.images, position, self.size, self.channels), self.labels[position]
        except DataError as error:
            return error

    @property
    def bytes_each(self) -> int:
        return self.channels * self.size**2 + self.labels[:1].nbytes


class _Checked:
    """What worker processes get: images to look at. With `whole` they are decoded, else only their headers are read."""

    def __init__(self, examples: _Decoded, *, whole: bool) -> None:
        self._examples = examples
        self._whole = whole

    def __getitem__(self, position: int) -> tuple[int, DataError | None]:
        try:
            if self._whole:
                _decode(self._examples.images, position, self._examples.size, self._examples.channels)
            else:
                self._examples.images.check(position)
        except DataError as error:
            return position, error
        return position, None


class _Names(Sequence[str]):
    """The names of some images, which are asked for one by one: there may be many."""

    def __init__(self, images: Images, positions: torch.Tensor) -> None:
        self._images = images
        self._positions = positions

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        found = self._positions[index]
        return _Names(self._images, found) if isinstance(index, slice) else self._images.name(int(found))


class StreamedSplit(IndexedSplit):
    """Images decoded on demand, by worker processes, resized and centre-cropped to a square.

    Attributes:
        examples: of which some are in the split.
        positions: which are in the split, int64.
        workers: how many processes decode.
    """

    def __init__(
        self, examples: _Decoded, positions: torch.Tensor, workers: Workers, device: torch.device = CPU
    ) -> None:
        self.examples = examples
        self.positions = positions
        self.workers = workers
        self.device = device
        self.names = _Names(examples.images, positions)

    def __len__(self) -> int:
        return len(self.positions)

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: torch.Generator | None = None,
        drop_last: bool = False,
        skip: int = 0,
        shard: Shard = WHOLE,
    ) -> Iterator[Batch]:
        order = [self.positions[one] for one in batch_indices(len(self), batch_size, shuffle, drop_last, skip, shard)]
        largest = max(map(len, order), default=0)
        loaded = self.workers.read(
            self.examples,
            [positions.tolist() for positions in order],
            _collate,
            largest * self.examples.bytes_each,
            pin=self.device.type == "cuda",
        )
        for batch in loaded:
            if isinstance(batch, DataError):
                raise DamagedImagesError([str(batch)])
            images, labels = batch
            yield images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)

    def damaged(self, report: ReportCount | None = None, *, whole: bool) -> dict[int, DataError]:
        """Return what is wrong with which images: with their headers, or with `whole` with their pixels."""
        batches = [part.tolist() for part in torch.split(self.positions, _CHECKED_AT_ONCE)]
        found: dict[int, DataError] = {}
        done = 0
        for checked in self.workers.read(_Checked(self.examples, whole=whole), batches, list, 0, pin=False):
            found |= {position: error for position, error in checked if error}
            done += len(checked)
            if report:
                report(done, len(self))
        return found

    def take(self, indices: torch.Tensor) -> "StreamedSplit":
        return StreamedSplit(self.examples, self.positions[indices], self.workers, self.device)

    def to(self, device: torch.device) -> "StreamedSplit":
        return StreamedSplit(self.examples, self.positions, self.workers, device)


def as_dataset(
    name: str,
    classes: Sequence[str],
    parts: Mapping[Part, tuple[Images, torch.Tensor]],
    task: Task = CLASSIFY,
    reading: Reading = Reading(),
    wanted: Wanted | None = None,
) -> Dataset:
    """Return the data set of images and their labels, int64 (n,) or for several labels an image float32 (n, labels).

    Of what is wanted, `parts` has one part alone. Before a part is read, all its images are looked at, and those that
    are damaged are named together: decoded where they fit into memory, or with `skip_unreadable`; else their headers
    are read. Reading it raises DamagedImagesError, or with `skip_unreadable` DataError where no image of a class is
    left.
    """
    size, found = _common_size(parts[wanted.part if wanted else "train"][0])
    channels = _channels_for(wanted.channels, found) if wanted else max(found, default=3)
    workers = Workers(reading.workers, reading.warn)

    def read(part: Part, size: int, report: ReportCount | None = None) -> IndexedSplit:
        images, labels = parts[part]
        examples = _Decoded(images, labels, size, channels)
        streamed = len(images) * channels * size**2 > IN_MEMORY_BYTES
        if not streamed:
            workers.idle()
        everything: IndexedSplit
        if streamed:
            everything = StreamedSplit(examples, torch.arange(len(images)), workers)
            damaged = everything.damaged(report, whole=reading.skip_unreadable)
        else:
            everything, damaged = _in_memory(examples, report)
        if not damaged:
            return everything
        errors = [str(damaged[index]) for index in sorted(damaged)]
        if not reading.skip_unreadable:
            raise DamagedImagesError(errors)
        kept = torch.tensor([index for index in range(len(images)) if index not in damaged], dtype=torch.int64)
        reading.warn(f"left out of the {part} images: {len(errors):,} that cannot be read, such as: {errors[0]}")
        _check_labels(part, labels, kept, classes)
        return everything.take(kept)

    return Dataset(name, tuple(classes), channels, size, None, read, task)


def _in_memory(examples: _Decoded, report: ReportCount | None) -> tuple[TensorSplit, dict[int, DataError]]:
    """Return all images, decoded, and what is wrong with which."""
    count = len(examples.images)
    decoded = torch.empty((count, examples.channels, examples.size, examples.size), dtype=torch.uint8)
    damaged: dict[int, DataError] = {}
    for index in range(count):
        try:
            decoded[index] = _decode(examples.images, index, examples.size, examples.channels)
        except DataError as error:
            damaged[index] = error
        if report:
            report(index + 1, count)
    names = [examples.images.name(index) for index in range(count)]
    return TensorSplit(decoded, examples.labels, names), damaged


def _check_labels(part: Part, labels: torch.Tensor, kept: torch.Tensor, classes: Sequence[str]) -> None:
    """Raise DataError if no image is left, or none of a class that is to be learnt."""
    if not len(kept):
        raise DataError(f"none of the {len(labels):,} {part} images can be read")
    if part == "train" and labels.ndim == 1:
        gone = sorted(set(labels.tolist()) - set(labels[kept].tolist()))
        if gone:
            names = ", ".join(classes[label] for label in gone)
            raise DataError(f"none of the training images can be read of the class{'es' * (len(gone) > 1)} {names}")


def _collate(examples: list[Batch | DataError]) -> Batch | DataError:
    for example in examples:
        if isinstance(example, DataError):
            return example
    images, labels = default_collate(examples)
    return images, labels


def _common_size(images: Images) -> tuple[int | None, set[int]]:
    """Return the size that an even sample of images shares, if square and small, and the channels that they have.

    Those that are damaged have no say: they are named once all of them are known.
    """
    step = max(1, len(images) // _COMMON_SIZE_SAMPLE)
    sizes, channels = set(), set()
    for index in range(0, len(images), step):
        with contextlib.suppress(DataError), images.open(index) as image:
            sizes.add(image.size)  # only squares matter, which orientation leaves as they are
            channels.add(1 if is_grey(image) else 3)
    width, height = next(iter(sizes), (0, 1))
    return (width if len(sizes) == 1 and width == height <= LARGEST_COMMON_SIZE else None), channels


def _channels_for(wanted: int, found: set[int]) -> int:
    """Return the channels that a network wants. Raises DataError if images cannot be given them, or none is so grey."""
    if wanted not in (1, 3) or (wanted == 1 and found == {3}):
        there = " or ".join(map(str, sorted(found or {1, 3})))
        raise DataError(f"the network takes {wanted} channels, the images have {there}")
    return wanted


def _decode(images: Images, index: int, size: int, channels: int) -> torch.Tensor:
    """Return an image as uint8 (channels, size, size)."""
    with images.open(index) as image:
        return pixels(image, size, channels)
