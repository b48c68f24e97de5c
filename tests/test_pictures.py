"""Splits of pictures: parts, batches and normalisation."""

import pytest
import torch

from slt_compress.pictures import Preprocessing, TensorSplit, hold_out, resize


def test_held_out_pictures_are_a_tenth_and_not_in_the_rest() -> None:
    images = torch.arange(1000, dtype=torch.int64)
    split = TensorSplit(torch.zeros(1000, 1, 1, 1, dtype=torch.uint8), images)
    rest, held_out = hold_out(split)
    assert (len(rest), len(held_out)) == (900, 100)
    found = torch.cat([next(part.batches(1000))[1] for part in (rest, held_out)])
    assert torch.equal(found.sort().values, images)
    assert torch.equal(next(hold_out(split)[1].batches(100))[1], next(held_out.batches(100))[1])


def test_even_a_handful_of_pictures_has_a_held_out_one() -> None:
    split = TensorSplit(torch.zeros(4, 1, 1, 1, dtype=torch.uint8), torch.arange(4))
    assert [len(part) for part in hold_out(split)] == [3, 1]


def test_batches_cover_every_picture_once_in_the_drawn_order() -> None:
    split = TensorSplit(torch.zeros(10, 1, 1, 1, dtype=torch.uint8), torch.arange(10))
    shuffled = [labels for _, labels in split.batches(4, shuffle=torch.Generator().manual_seed(1))]
    assert [len(labels) for labels in shuffled] == [4, 4, 2]
    assert sorted(torch.cat(shuffled).tolist()) == list(range(10))
    assert torch.cat(shuffled).tolist() != list(range(10))
    assert [len(labels) for _, labels in split.batches(4, drop_last=True)] == [4, 4]
    assert torch.cat([labels for _, labels in split.batches(4)]).tolist() == list(range(10))


def test_normalisation_is_per_channel() -> None:
    images = torch.tensor([[[[0]], [[255]]]], dtype=torch.uint8)
    normalised = Preprocessing(1, 2, (0.5, 0.25), (0.5, 0.75))(images)
    assert normalised.flatten().tolist() == [-1, 1]
    assert images.flatten().tolist() == [0, 255]


@pytest.mark.parametrize("size", [4, 8, 16])
def test_resizing_keeps_a_flat_picture_flat(size: int) -> None:
    images = torch.full((3, 2, 8, 8), 77, dtype=torch.uint8)
    assert torch.equal(resize(images, size), torch.full((3, 2, size, size), 77, dtype=torch.uint8))
