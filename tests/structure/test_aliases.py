"""Writing into views: seen where it shows under another name, and only there."""

from collections.abc import Callable

import pytest
import torch

from slt_compress.structure.aliases import written_views
from slt_compress.structure.trace import trace
from tests.support.neurons import Chain


def assigned(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    one = one * 1
    one[:, 1:] = other[:, 1:]
    return one


def into_zeros(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    found = torch.zeros_like(one)
    found[:, 1:] = other[:, 1:]
    return found


def through_a_view(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    one.view(-1, 2, 4).mul_(2)
    return one + other


def under_a_view(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    view = one[:, :4]
    one.add_(1)
    return torch.cat([view, other[:, 4:]], 1)


def in_a_part(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    one[:, :4].add_(other[:, 4:])
    return one


def in_place(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.relu_(other).add_(one).mul_(2)


def with_a_view_of_no_use(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return one.view(-1, 2, 4).mul_(2).flatten(1) + other


@pytest.mark.parametrize(
    ("middle", "count"),
    [
        (assigned, 1),
        (into_zeros, 1),
        (through_a_view, 1),
        (under_a_view, 1),
        (in_a_part, 1),
        (in_place, 0),
        (with_a_view_of_no_use, 0),
    ],
)
def test_what_is_written_and_read_under_another_name(middle: Callable[..., torch.Tensor], count: int) -> None:
    found = written_views(trace(Chain(middle).eval(), (torch.zeros(2, 6),), "chain").graph)
    assert len(found) == count
    assert all(members for members in found.values())
