"""Batches of a tensor or a tuple of tensors are counted, joined, moved and passed on alike."""

import torch
from torch import nn

from slt_compress.data.batches import as_given, call, channels_last, join, length, move

ONE = torch.arange(6.0).view(3, 2)
PAIR = (ONE, (torch.arange(3), ONE + 1))


class Sum(nn.Module):
    def forward(self, *parts: torch.Tensor) -> list[torch.Tensor]:
        return [torch.stack(parts).sum(0), parts[0]]


def test_a_batch_has_as_many_examples_as_its_tensors_rows() -> None:
    assert length(ONE) == length(PAIR) == 3


def test_batches_are_joined_part_by_part() -> None:
    assert torch.equal(join([ONE, ONE[:1]]), torch.cat([ONE, ONE[:1]]))
    first, (second, third) = join([PAIR, PAIR])
    assert (len(first), len(second), len(third)) == (6, 6, 6)


def test_a_copy_can_be_changed() -> None:
    copied = as_given(PAIR)
    copied[1][1].zero_()
    assert torch.equal(PAIR[1][1], ONE + 1)
    assert torch.equal(move(PAIR, torch.device("cpu"))[0], ONE)


def test_a_tuple_becomes_the_arguments_of_a_network_and_its_list_a_tuple() -> None:
    total, first = call(Sum(), (ONE, ONE))
    assert torch.equal(total, 2 * ONE)
    assert torch.equal(first, ONE)
    assert isinstance(call(Sum(), ONE), tuple)


def test_channels_lie_last_in_images_alone() -> None:
    images, labels = channels_last((torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 4, 5, dtype=torch.int64)))
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.is_contiguous()
    assert channels_last(ONE).is_contiguous()
