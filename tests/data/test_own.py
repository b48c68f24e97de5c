"""A user's own data: whatever torch can read, shuffled by the seed where its order is ours to draw."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from slt_compress.data.own import ExamplesSplit, StreamSplit, as_split
from slt_compress.data.splits import IndexedSplit, TensorSplit, count
from slt_compress.errors import DataError, UsageError

INPUTS, TARGETS = torch.arange(40.0).view(20, 2), torch.arange(20)
TENSORS = TensorDataset(INPUTS, TARGETS)


class Rows(Dataset[Any]):
    """The same examples, one at a time."""

    def __len__(self) -> int:
        return len(TARGETS)

    def __getitem__(self, index: int) -> Any:
        return INPUTS[index], int(TARGETS[index])


class Numpy(Rows):
    """The same in numpy's types: float64 arrays and scalars."""

    def __getitem__(self, index: int) -> Any:
        return INPUTS[index].double().numpy(), np.float64(index)


class Pairs(Rows):
    """Two inputs and two targets each."""

    def __getitem__(self, index: int) -> Any:
        return (INPUTS[index], index), [TARGETS[index], -TARGETS[index]]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return (Rows()[index] for index in range(20))


def opened(data: Any, batch_size: int = 4) -> IndexedSplit:
    split, _ = as_split(data, "train", batch_size)
    assert isinstance(split, IndexedSplit)
    return split


def everything(split: Any, batch_size: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    batches = list(split.batches(batch_size))
    return torch.cat([inputs for inputs, _ in batches]), torch.cat([targets for _, targets in batches])


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (TENSORS, TensorSplit),
        (Rows(), ExamplesSplit),
        (Subset(TENSORS, range(20)), ExamplesSplit),
        (DataLoader(TENSORS, batch_size=3, shuffle=True), TensorSplit),
        (DataLoader(Rows(), batch_size=3), ExamplesSplit),
        (Stream(), StreamSplit),
        (DataLoader(Stream(), batch_size=3), StreamSplit),
        (DataLoader(Rows(), batch_size=3, sampler=WeightedRandomSampler([1.0] * 20, 20)), StreamSplit),
    ],
)
def test_whatever_torch_reads_gives_every_example_in_stored_order(data: Any, kind: type) -> None:
    split, batch_size = as_split(data, "train", 5)
    assert type(split) is kind
    assert batch_size == (3 if isinstance(data, DataLoader) else 5)
    assert count(split) == (None if kind is StreamSplit else 20)
    inputs, targets = everything(split)
    if not isinstance(getattr(data, "sampler", None), WeightedRandomSampler):
        assert torch.equal(inputs, INPUTS)
        assert torch.equal(targets, TARGETS)
    assert torch.equal(inputs[:, 0], 2.0 * targets)


def test_one_at_a_time_or_in_memory_the_order_is_the_same() -> None:
    for shard in ((0, 1), (1, 2)):
        orders = [torch.Generator().manual_seed(3) for _ in range(2)]
        passes = [
            opened(data).passes(6, order, first=4, shard=shard)
            for data, order in zip((TENSORS, Rows()), orders, strict=True)
        ]
        for _ in range(7):
            (inputs, targets), (same, again) = (next(batches) for batches in passes)
            assert torch.equal(inputs, same)
            assert torch.equal(targets, again)


def test_passes_go_on_where_they_were_stopped() -> None:
    for data in (TENSORS, Rows(), DataLoader(Stream(), batch_size=6)):
        split, _ = as_split(data, "train", 6)
        whole, rest = (split.passes(6, torch.Generator().manual_seed(1), first) for first in (0, 5))
        expected = [next(whole) for _ in range(9)][5:]
        for inputs, targets in expected:
            found, truth = next(rest)
            assert torch.equal(found, inputs)
            assert torch.equal(truth, targets)


def test_a_sample_has_no_more_than_asked_for_in_whole_batches() -> None:
    for data, sizes in ((Rows(), [6, 6]), (DataLoader(Stream(), batch_size=5), [5, 5])):
        split, _ = as_split(data, "train", 6)
        found = [len(targets) for _, targets in split.sample(13, 6, torch.Generator().manual_seed(0))]
        assert found == sizes


def test_parts_keep_inputs_and_targets_together() -> None:
    part = opened(Rows()).take(torch.tensor([7, 2, 11])).to(torch.device("cpu"))
    assert len(part) == 3
    inputs, targets = everything(part.take(torch.tensor([2, 0])))
    assert targets.tolist() == [11, 7]
    assert torch.equal(inputs, INPUTS[[11, 7]])


def test_float64_becomes_float32_and_lists_tuples() -> None:
    inputs, targets = next(opened(Numpy()).batches(4))
    assert (inputs.dtype, targets.dtype) == (torch.float32, torch.float32)
    (numbers, index), pair = next(opened(Pairs()).batches(4))
    assert numbers.shape == (4, 2)
    assert index.tolist() == pair[0].tolist() == (-pair[1]).tolist()
    assert isinstance(pair, tuple)
    split = TensorDataset(INPUTS.double(), TARGETS)
    assert next(opened(split).batches(4))[0].dtype == torch.float32


def test_a_loader_keeps_how_it_puts_examples_together() -> None:
    def padded(rows: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.stack([torch.cat([row, row]) for row, _ in rows]), torch.tensor([target for _, target in rows])

    inputs, _ = next(opened(DataLoader(Rows(), batch_size=3, collate_fn=padded)).batches(5))
    assert inputs.shape == (5, 4)


def test_torchs_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    everything(opened(Rows()))
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_read_the_same() -> None:
    loader = DataLoader(Rows(), batch_size=3, num_workers=1)
    inputs, targets = everything(opened(loader))
    assert torch.equal(inputs, INPUTS)
    assert torch.equal(targets, TARGETS)


class Odd(Rows):
    def __init__(self, example: Any, size: int = 3) -> None:
        self.example, self.size = example, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        return self.example


class Once(IterableDataset[Any]):
    """Gives its examples at the first pass alone."""

    def __init__(self) -> None:
        self.rows = iter([Rows()[0]] * 4)

    def __iter__(self) -> Iterator[Any]:
        return self.rows


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Odd(0, size=0), "`train` has no example"),
        (Odd(torch.zeros(2)), r"must be \(input, target\).*, found a Tensor"),
        (Odd((INPUTS[0], 1, 2)), r"must be \(input, target\).*, found 3 values"),
        (Odd({"image": INPUTS[0], "label": 1}), r"must be \(input, target\).*, found a dict"),
        (Odd((INPUTS[0], "cat")), "must be tensors or tuples of tensors, found a str"),
        (Odd(({"a": INPUTS[0]}, 1)), "must be tensors or tuples of tensors, found a dict"),
    ],
)
def test_what_is_no_example_is_refused_with_what_was_found(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_split(data, "train", 2)


@pytest.mark.parametrize("data", [(INPUTS, TARGETS), INPUTS.tolist(), "train", 3, {"a": 1}, iter([1])])
def test_what_is_no_data_set_is_refused(data: Any) -> None:
    with pytest.raises(UsageError, match="`validation` must be a data set of torch, map-style or iterable, or a Data"):
        as_split(data, "validation", 2)


def test_a_stream_that_can_be_read_only_once_is_refused() -> None:
    for data in (Once(), DataLoader(Once(), batch_size=2)):
        with pytest.raises(UsageError, match="`test` can be read only once"):
            as_split(data, "test", 2)


class Fading(IterableDataset[Any]):
    """Gives nothing after its second pass."""

    passes = 0

    def __iter__(self) -> Iterator[Any]:
        self.passes += 1
        return iter([Rows()[0]] * 4 if self.passes < 4 else [])


def test_a_stream_that_ends_for_good_is_noticed() -> None:
    split, _ = as_split(Fading(), "train", 2)
    with pytest.raises(DataError, match="gave no batch; it must start again at every pass"):
        list(zip(range(9), split.passes(2, torch.Generator()), strict=False))


def test_a_last_batch_of_one_is_left_out_of_the_training() -> None:
    split, _ = as_split(DataLoader(Subset(Rows(), range(7)), batch_size=3, sampler=range(7)), "train", 3)
    sizes = [len(targets) for _, targets in itertools.islice(split.passes(3, torch.Generator()), 5)]
    assert sizes == [3, 3, 3, 3, 3]
    assert [len(targets) for _, targets in split.batches(3)] == [3, 3, 1]


class Doubled(TensorDataset):
    """Changes its examples on the way."""

    def __getitem__(self, index: Any) -> Any:
        inputs, targets = (tensor[index] for tensor in self.tensors)
        return 2 * inputs, targets


class Reversed(DataLoader[Any]):
    def __iter__(self) -> Any:
        return reversed(list(super().__iter__()))


def test_what_a_class_of_the_users_does_is_not_passed_over() -> None:
    assert torch.equal(everything(opened(Doubled(INPUTS, TARGETS)))[0], 2 * INPUTS)
    split, _ = as_split(Reversed(TENSORS, batch_size=5), "train", 4)
    assert next(iter(split.batches(5)))[1].tolist() == [15, 16, 17, 18, 19]
    drawn = DataLoader(TENSORS, batch_size=5, sampler=RandomSampler(TENSORS, replacement=True, num_samples=100))
    assert isinstance(as_split(drawn, "train", 4)[0], StreamSplit)


def test_errors_of_the_users_code_are_told_in_a_line() -> None:
    class Broken(Rows):
        def __getitem__(self, index: int) -> Any:
            raise KeyError("weight")

    with pytest.raises(DataError, match=r"`train` cannot be read \(KeyError: 'weight'\)"):
        as_split(Broken(), "train", 2)
