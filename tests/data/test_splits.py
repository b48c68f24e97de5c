"""Splits of images: parts, batches, sizes and statistics."""

import pytest
import torch

from slt_compress.data.splits import Dataset, TensorSplit, hold_out, measure, resize


def numbered(count: int) -> TensorSplit:
    """A split whose labels are the positions of its images."""
    return TensorSplit(torch.zeros(count, 1, 1, 1, dtype=torch.uint8), torch.arange(count))


def test_held_out_images_are_a_tenth_and_not_in_the_rest() -> None:
    split = numbered(1000)
    rest, held_out = hold_out(split)
    assert (len(rest), len(held_out)) == (900, 100)
    found = torch.cat([next(part.batches(1000))[1] for part in (rest, held_out)])
    assert torch.equal(found.sort().values, split.targets)
    assert torch.equal(next(hold_out(split)[1].batches(100))[1], next(held_out.batches(100))[1])


def test_even_a_handful_of_images_has_a_held_out_one() -> None:
    assert [len(part) for part in hold_out(numbered(4))] == [3, 1]


def test_batches_cover_every_image_once_in_the_drawn_order() -> None:
    split = numbered(10)
    shuffled = [labels for _, labels in split.batches(4, shuffle=torch.Generator().manual_seed(1))]
    assert [len(labels) for labels in shuffled] == [4, 4, 2]
    assert sorted(torch.cat(shuffled).tolist()) == list(range(10))
    assert torch.cat(shuffled).tolist() != list(range(10))
    assert [len(labels) for _, labels in split.batches(4, drop_last=True)] == [4, 4]
    assert torch.cat([labels for _, labels in split.batches(4)]).tolist() == list(range(10))


@pytest.mark.parametrize("seed", [None, 3])
def test_images_and_labels_stay_together(seed: int | None) -> None:
    split = TensorSplit(torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1), torch.arange(20))
    for shard in ((0, 1), (1, 3)):
        shuffle = None if seed is None else torch.Generator().manual_seed(seed)
        for images, labels in split.batches(6, shuffle=shuffle, skip=1, shard=shard):
            assert images.flatten().tolist() == labels.tolist()
    taken = split.take(torch.tensor([7, 2]))
    assert taken.inputs.flatten().tolist() == taken.targets.tolist() == [7, 2]


@pytest.mark.parametrize("size", [4, 8, 16])
def test_resizing_keeps_a_flat_image_flat(size: int) -> None:
    images = torch.full((3, 2, 8, 8), 77, dtype=torch.uint8)
    assert torch.equal(resize(images, size), torch.full((3, 2, size, size), 77, dtype=torch.uint8))


def test_statistics_are_measured_where_none_are_published() -> None:
    images = torch.randint(0, 256, (50, 2, 3, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    split = TensorSplit(images, torch.zeros(50, dtype=torch.int64))
    pixels = images.double() / 255
    mean, std = measure(split)
    assert mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-4)
    assert std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=1e-4)
    for published, expected in ((None, (mean, std)), (((0.5, 0.5), (0.2, 0.3)), ((0.5, 0.5), (0.2, 0.3)))):
        found = Dataset("x", ("a", "b"), 2, 3, published, lambda *_: split).preprocessing(3, split)
        assert (found.size, found.channels, found.mean, found.std) == (3, 2, *expected)
