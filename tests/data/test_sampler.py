"""Which images make up a batch: each once, in an order that neither a skip nor a shard changes."""

import pytest
import torch

from slt_compress.data.sampler import WHOLE, Shard, batch_indices


def drawn(
    count: int, size: int, seed: int | None = None, *, drop_last: bool = False, skip: int = 0, shard: Shard = WHOLE
) -> list[list[int]]:
    shuffle = None if seed is None else torch.Generator().manual_seed(seed)
    return [batch.tolist() for batch in batch_indices(count, size, shuffle, drop_last, skip, shard)]


def test_without_a_generator_the_order_is_the_stored_one() -> None:
    assert drawn(7, 3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert drawn(7, 3, drop_last=True) == [[0, 1, 2], [3, 4, 5]]
    assert drawn(6, 3, drop_last=True) == [[0, 1, 2], [3, 4, 5]]


def test_a_generator_draws_every_image_once() -> None:
    found = drawn(100, 8, 1)
    assert sorted(index for batch in found for index in batch) == list(range(100))
    assert found == drawn(100, 8, 1)
    assert found != drawn(100, 8, 2)


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("skip", [0, 1, 5, 13, 20])
def test_skipped_batches_change_nothing_about_the_others(seed: int | None, skip: int) -> None:
    assert drawn(100, 8, seed, skip=skip) == drawn(100, 8, seed)[skip:]


@pytest.mark.parametrize("seed", [None, 3])
def test_shards_divide_each_batch(seed: int | None) -> None:
    whole = drawn(50, 8, seed)
    shards = [drawn(50, 8, seed, shard=(first, 3)) for first in range(3)]
    for batch, *parts in zip(whole, *shards, strict=True):
        assert parts == [batch[first::3] for first in range(3)]
