"""A user's own data: any data set or loader of torch, of (input, target), each a tensor or a tuple of tensors.

What can be read in any order (a map-style data set, or a loader of one without a sampler of its own) is shuffled by the
seed of the search. Everything else is read from end to end, as it comes.
"""

from collections.abc import Iterator, Mapping
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
from slt_compress.errors import DataError, SltError, UsageError


class ExamplesSplit(IndexedSplit):
    """Examples of a map-style data set, read when they are needed.

    Attributes:
        data: the data set.
        positions: which of its examples are in the split, int64 (n,).

    `reading` are arguments of `DataLoader`: how many workers read, and how they put examples together.
    """

    def __init__(
        self,
        data: Any,
        positions: torch.Tensor,
        reading: Mapping[str, Any],
        device: torch.device = CPU,
    ) -> None:
        self.data = data
        self.positions = positions
        self._reading = reading
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
            **self._reading,
            generator=torch.Generator(),  # torch's global one is the user's
        )
        for batch in loader:
            yield move(_checked(batch), self._device)

    def take(self, indices: torch.Tensor) -> "ExamplesSplit":
        return ExamplesSplit(self.data, self.positions[indices], self._reading, self._device)

    def to(self, device: torch.device) -> "ExamplesSplit":
        return ExamplesSplit(self.data, self.positions, self._reading, device)


class StreamSplit(Split):
    """Batches as a loader gives them, from its beginning at every pass. Size and order are the loader's."""

    def __init__(self, loader: "DataLoader[Any]", device: torch.device = CPU) -> None:
        self._loader = loader
        self._device = device

    @property
    def batches_a_pass(self) -> int | None:
        """Number of batches of a pass, None if it is not known."""
        return None if isinstance(self._loader.dataset, IterableDataset) else len(self._loader)

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
                if length(batch[1]) < 2:
                    continue  # a BatchNorm needs two
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
    reading: dict[str, Any] = {}
    if isinstance(data, DataLoader):
        if not _orders_itself(data):
            return _stream(data, name)
        names = ("collate_fn", "num_workers", "worker_init_fn", "multiprocessing_context", "timeout")
        reading = {option: getattr(data, option) for option in names}
        data, batch_size = data.dataset, data.batch_size
    if isinstance(data, IterableDataset):
        return _stream(DataLoader(data, batch_size), name)
    if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")) or isinstance(data, str | dict | tuple | list):
        raise UsageError(
            f"`{name}` must be a data set of torch, map-style or iterable, or a DataLoader, got "
            f"{type(data).__name__}; tensors: torch.utils.data.TensorDataset(inputs, targets)"
        )
    if not len(data):
        raise DataError(f"`{name}` has no example")
    if type(data) is TensorDataset and reading.get("collate_fn", default_collate) is default_collate:
        return TensorSplit(*_checked(data.tensors)), batch_size
    indexed = ExamplesSplit(data, torch.arange(len(data)), reading)
    first_batch(indexed, name)
    return indexed, batch_size


def _orders_itself(loader: "DataLoader[Any]") -> bool:
    """Return whether a loader's order and batches may be drawn by us: plain ones, of a map-style data set."""
    sampler = loader.sampler
    shuffles = type(sampler) is RandomSampler and not sampler.replacement and sampler.num_samples == len(loader.dataset)  # type: ignore[arg-type]
    return (
        type(loader) is DataLoader
        and not isinstance(loader.dataset, IterableDataset)
        and type(loader.batch_sampler) is BatchSampler
        and (type(sampler) is SequentialSampler or shuffles)
        and loader.batch_size is not None
    )


def _stream(loader: "DataLoader[Any]", name: str) -> tuple[StreamSplit, int]:
    data = loader.dataset
    if isinstance(data, IterableDataset) and iter(data) is iter(data):
        raise UsageError(f"`{name}` can be read only once: its __iter__ must begin anew each time")
    split = StreamSplit(loader)
    return split, loader.batch_size or length(first_batch(split, name)[1])


def first_batch(split: Split, name: str, batch_size: int = 2) -> Batch:
    """Return the first batch of a user's data. Raises DataError if there is none, or reading it fails."""
    try:
        for batch in split.batches(batch_size):
            return batch
    except SltError:
        raise
    except Exception as error:  # the user's code
        raise DataError(f"`{name}` cannot be read ({type(error).__name__}: {error})") from error
    raise DataError(f"`{name}` gave no example")


def _pair(batch: Any) -> tuple[Any, Any]:
    """Raise DataError unless a batch is (input, target)."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        found = f"{len(batch)} values" if isinstance(batch, tuple | list) else f"a {type(batch).__name__}"
        raise DataError(
            f"an example must be (input, target), each a tensor or a tuple of tensors, found {found}; a DataLoader "
            "with a `collate_fn` can make pairs of it"
        )
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
