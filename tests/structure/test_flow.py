"""Labels through operators: what cannot go alone is tied together or stays, and no wrong neuron is found."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slt_compress.errors import UnreachableError
from slt_compress.structure.neurons import Structure, find_neurons
from slt_compress.structure.removal import remove_dead
from tests.support.families import Family
from tests.support.neurons import chain, close, difference, outputs, some_of_each

Middle = Callable[..., torch.Tensor]


def assigned(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    one = one * 1
    one[:, 1:] = other[:, :-1]
    return one


def into_zeros(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    found = torch.zeros_like(one)
    found[:, 1:] = other[:, 1:]
    return found * one


def into_padding(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    found = F.pad(one, (0, 8))
    found[:, 8:] = other
    return found


def in_a_part(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    one[:, :4].add_(other[:, 4:])
    return one


def under_a_view(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    view = one[:, 1:5]
    one.add_(1)
    return torch.cat([view, other[:, :4]], 1)


def normalised_over_tokens(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    return F.instance_norm(one)


def half_split(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.cat([one[:, :4], one[:, 4:] + other[:, 4:]], 1)


def wave(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = torch.fft.rfft(one).real.repeat(1, 2)[:, :8] + other
    return found


class Own(nn.Module):
    """A network whose layers are used otherwise than by being called."""

    def __init__(self, forward: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.one, self.other, self.last = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 8)
        self.out = nn.Linear(8, 3)
        self.run = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.run(self, x)
        return out


def found_in(family: Family) -> Structure | None:
    try:
        return find_neurons(family.module(), family.inputs(), "it")
    except UnreachableError:
        return None


def check(family: Family, sizes: Sequence[int] | None) -> None:
    """Check the groups that are found, that closed neurons have no effect, and that all can be removed."""
    structure = found_in(family)
    assert (structure and [group.size for group in structure.groups]) == sizes
    if structure is None:
        return
    module, neurons = family.module(), some_of_each(structure, 0.5)
    close(module, structure, neurons)
    closed = outputs(module, family.inputs(3))
    close(module, structure, neurons, drawn=1)
    assert difference(closed, outputs(module, family.inputs(3))) < 1e-5
    smaller = remove_dead(module, family.inputs(), "it")
    for batch in (1, 2, 5):
        assert difference(*(outputs(one, family.inputs(batch)) for one in (module, smaller.module))) < 1e-4


@pytest.mark.parametrize(
    ("middle", "sizes"),
    [
        (lambda one, other: one + other, [8]),
        (lambda one, other: torch.where(one > 0, other, one), [8]),
        (lambda one, other: torch.maximum(one, other).clamp(max=one), [8]),
        (lambda one, other: torch.relu_(other).add_(one).mul_(2), [8]),
        (lambda one, other: one.softmax(0) + other - other.mean(0, keepdim=True), [8]),
        (lambda one, _: one.view(-1, 4, 2).log_softmax(2).flatten(1), [4]),
        (lambda one, other: one.flip(1) + other, [8]),
        (lambda one, _: one + one.roll(4, 1), [4]),
        (half_split, [8]),
        (under_a_view, [4]),
        # What is not known, or mixes all, stays.
        (lambda one, other: one.cumsum(1) + other, None),
        (lambda one, other: one.sort(1)[0] + other, None),
        (lambda one, other: other.gather(1, one.argsort(1)), None),
        (lambda one, other: other * one.argmax(1, keepdim=True), None),
        (lambda one, _: F.normalize(one), None),
        (lambda one, other: one[:, 2:3] * other, None),
        (lambda one, other: F.prelu(other, one.mean(0)), None),
        (wave, None),
        # Written under one name, read under another.
        (assigned, None),
        (into_zeros, [8]),
        (in_a_part, None),
    ],
)
def test_vectors(middle: Middle, sizes: list[int] | None) -> None:
    check(chain(middle), sizes)


def test_padding_that_is_written_into_stays() -> None:
    check(chain(into_padding, 16), None)


@pytest.mark.parametrize(
    ("middle", "outputs", "sizes"),
    [
        (lambda one, other: F.instance_norm(one) + other, 8, [8]),
        (lambda one, _: F.pixel_shuffle(one, 2), 2, [2]),
        (lambda one, _: F.group_norm(F.pad(one, (0, 0, 0, 0, 0, 4)), 3), 12, [2]),
        (lambda one, _: F.interpolate(one, scale_factor=2, mode="bilinear"), 8, [8]),
        (lambda one, _: one / (one.std((2, 3), keepdim=True) + 1), 8, [8]),
        (lambda one, _: F.batch_norm(one, None, None, training=True), 8, [8]),
        (lambda one, _: F.local_response_norm(one, 3), 8, None),
        (lambda one, _: F.conv2d(one, one.mean((0, 2, 3)).view(8, 1, 1, 1), groups=8), 8, None),
    ],
)
def test_planes(middle: Middle, outputs: int, sizes: list[int] | None) -> None:
    check(chain(middle, outputs, planes=True), sizes)


@pytest.mark.parametrize(
    "normalised", [F.instance_norm, functools.partial(F.batch_norm, running_mean=None, running_var=None, training=True)]
)
def test_what_is_normalised_over_a_plane_goes_together(normalised: Any) -> None:
    """Here the features of a token are the plane, so that each of them changes all others."""
    family = chain(lambda one, other: normalised(one) + other)
    check(Family(family.build, ((5, 6),)), None)


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: net.out(F.linear(net.one(x), net.last.weight, net.one(x).mean(0))),
        lambda net, x: net.out(net.one(x) @ net.last.weight.t()),
        lambda net, x: net.out(F.linear(x.new_ones(1, 8), net.one(x)[:1].expand(8, 8)) + net.other(x) * 0),
    ],
)
def test_values_that_depend_on_data_are_no_weights(forward: Any) -> None:
    check(Family(lambda: Own(forward), ((6,),)), None)


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: net.out(net.one(x)) + net.out.weight.mean(),
        lambda net, x: net.out(net.one(x) * net.out.weight[0]),
        lambda net, x: net.out(net.one(x)) + F.embedding(torch.zeros(1, dtype=torch.long), net.out.weight)[:, :3],
    ],
)
def test_a_weight_that_is_used_otherwise_too_has_no_gates(forward: Any) -> None:
    """A gate would change more than its neuron."""
    check(Family(lambda: Own(forward), ((6,),)), None)


def test_whole_numbers_stay_whole() -> None:
    """Token ids go through operators that refuse other numbers."""

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.one, self.last = nn.Embedding(7, 6), nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            hidden = self.one(self.table(tokens)).relu()
            out: torch.Tensor = self.last(hidden.mean(1))
            return out

    check(Family(Words, ((5, "ids"),)), [8])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_layers_stay_and_others_do_not(kind: type[nn.LSTM]) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.layer = nn.Linear(6, 5), kind(5, 7, batch_first=True)
            self.hidden, self.last = nn.Linear(7, 6), nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.last(self.hidden(self.layer(self.one(x))[0]).relu())
            return out

    check(Family(Recurrent, ((5, 6),)), [6])
