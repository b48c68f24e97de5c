"""A user's own data: any data set or loader of torch, of (input, target), each a tensor or a tuple of tensors.

What can be read in any order (a map-style data set, or a loader of one without a sampler of its own) is shuffled by the
seed of the search. Everything else is read from end to end, as it comes.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    default_collate,
)

from slt_compress.data.batches import CPU, length, move
from slt_compress.data.sampler import WHOLE, Shard, batch_indices
from slt_compress.data.splits import Batch, IndexedSplit, Split, TensorSplit
from slt_compress.errors import DataError, UsageError

Collate = Callable[[list[Any]], Any]


class ExamplesSplit(IndexedSplit):
    """Examples of a map-style data set, read when they are needed.

    Attributes:
        data: the data set.
        positions: which of its examples are in the split, int64 (n,).
    """

    def __init__(
        self,
        data: Any,
        positions: torch.Tensor,
        collate: Collate,
        workers: int = 0,
        device: torch.device = CPU,
    ) -> None:
        self.data = data
        self.positions = positions
        self._collate = collate
        self._workers = workers
        self._device = device

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
        order = batch_indices(len(self), batch_size, shuffle, drop_last, skip, shard)
        loader: DataLoader[Any] = DataLoader(
            self.data,
            batch_sampler=[self.positions[indices].tolist() for indices in order],
            collate_fn=self._collate,
            num_workers=self._workers,
            generator=torch.Generator(),  # torch's global one is the user's
        )
        for batch in loader:
            yield move(_checked(batch), self._device)

    def take(self, indices: torch.Tensor) -> "ExamplesSplit":
        return ExamplesSplit(self.data, self.positions[indices], self._collate, self._workers, self._device)

    def to(self, device: torch.device) -> "ExamplesSplit":
        return ExamplesSplit(self.data, self.positions, self._collate, self._workers, device)


class StreamSplit(Split):
    """Batches as a loader gives them, from its beginning at every pass. Size and order are the loader's."""

    def __init__(self, loader: "DataLoader[Any]", device: torch.device = CPU) -> None:
        self._loader = loader
        self._device = device

    def batches(
        self,
        batch_size: int,  # noqa: ARG002, the loader has its own
        *,
        shuffle: torch.Generator | None = None,  # noqa: ARG002
        drop_last: bool = False,  # noqa: ARG002
        skip: int = 0,
        shard: Shard = WHOLE,
    ) -> Iterator[Batch]:
        assert shard == WHOLE
        for index, batch in enumerate(self._loader):
            if index >= skip:
                yield move(_checked(batch), self._device)

    def passes(
        self,
        batch_size: int,
        order: torch.Generator,  # noqa: ARG002
        first: int = 0,
        shard: Shard = WHOLE,
    ) -> Iterator[Batch]:
        done = 0
        while True:
            before = done
            for batch in self.batches(batch_size, shard=shard):
                if done >= first:
                    yield batch
                done += 1
            if done == before:
                raise DataError("the training data gave no batch; it must start again at every pass")

    def sample(self, count: int, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:  # noqa: ARG002
        given = 0
        for batch in self.batches(batch_size):
            size = length(batch[1])
            if given and given + size > count:
                return
            given += size
            yield batch

    def to(self, device: torch.device) -> "StreamSplit":
        return StreamSplit(self._loader, device)


def as_split(data: Any, name: str, batch_size: int) -> tuple[Split, int]:
    """Return a user's data as a split, and the size of its batches: a loader's own, or `batch_size`.

    Args:
        data: a data set of torch, map-style or iterable, or a `DataLoader`.
        name: of the argument, for messages.
        batch_size: for data without one of its own.

    Raises UsageError if it is something else, DataError if it has no example, or one that is not (input, target).
    """
    workers, collate = 0, default_collate
    if isinstance(data, DataLoader):
        if not _orders_itself(data):
            split = StreamSplit(data)
            return split, data.batch_size or length(_first(split, name)[1])
        data, workers, collate, batch_size = data.dataset, data.num_workers, data.collate_fn, data.batch_size
    if isinstance(data, IterableDataset):
        split = StreamSplit(DataLoader(data, batch_size))
        _first(split, name)
        return split, batch_size
    if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")) or isinstance(data, str | dict | tuple | list):
        raise UsageError(
            f"`{name}` must be a data set of torch, map-style or iterable, or a DataLoader, got "
            f"{type(data).__name__}; tensors: torch.utils.data.TensorDataset(inputs, targets)"
        )
    if not len(data):
        raise DataError(f"`{name}` has no example")
    if isinstance(data, TensorDataset) and collate is default_collate:
        return TensorSplit(*_checked(_pair(data.tensors))), batch_size
    indexed = ExamplesSplit(data, torch.arange(len(data)), collate, workers)
    _first(indexed, name)
    return indexed, batch_size


def _orders_itself(loader: "DataLoader[Any]") -> bool:
    """Return whether a loader's order and batches may be drawn by us: plain ones, of a map-style data set."""
    return (
        not isinstance(loader.dataset, IterableDataset)
        and type(loader.batch_sampler) is BatchSampler
        and type(loader.sampler) in (SequentialSampler, RandomSampler)
        and loader.batch_size is not None
    )


def _first(split: Split, name: str) -> Batch:
    for batch in split.batches(2):
        return batch
    raise DataError(f"`{name}` gave no example")


def _pair(batch: Any) -> tuple[Any, Any]:
    """Raise DataError unless a batch is (input, target)."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        found = f"{len(batch)} values" if isinstance(batch, tuple | list) else f"a {type(batch).__name__}"
        raise DataError(f"an example must be (input, target), each a tensor or a tuple of tensors, found {found}")
    return batch[0], batch[1]


def _checked(batch: Any) -> Batch:
    """Return a batch with its lists as tuples and its float64 as float32, which a network computes in."""
    inputs, targets = (_as_tensors(part) for part in _pair(batch))
    if length(inputs) != length(targets):
        raise DataError(f"{length(inputs)} inputs come with {length(targets)} targets")
    return inputs, targets


def _as_tensors(part: Any) -> Any:
    if isinstance(part, list | tuple):
        return tuple(_as_tensors(one) for one in part)
    if isinstance(part, np.ndarray):
        part = torch.from_numpy(part)
    if not isinstance(part, torch.Tensor) or not part.ndim:
        raise DataError(f"inputs and targets must be tensors or tuples of tensors, found a {type(part).__name__}")
    return part.float() if part.dtype == torch.float64 else part
