"""Operators for a smaller network: each gives what is left of the whole network's, and all that is dead can go."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slt_compress.structure.neurons import find_neurons
from slt_compress.structure.removal import remove_dead
from tests.support.families import Family
from tests.support.neurons import chain, close, difference, outputs, some_of_each

Middle = Callable[..., torch.Tensor]


def check(family: Family, *, stays: bool = False, shares: tuple[float, ...] = (0.5,)) -> None:
    """Check that outputs are the same, and that all dead neurons have gone, or that all stay."""
    structure = find_neurons(family.module(), family.inputs(), "it")
    for seed, share in enumerate(shares):
        module, neurons = family.module(), some_of_each(structure, share, seed)
        close(module, structure, neurons)
        smaller = remove_dead(module, family.inputs(), "it")
        for batch in (1, 2, 5):
            assert difference(*(outputs(one, family.inputs(batch)) for one in (module, smaller.module))) < 1e-4
        assert smaller.removed == (0 if stays else len(neurons))


@pytest.mark.parametrize(
    ("middle", "width"),
    [
        (lambda one, _: F.glu(one), 4),
        (lambda one, other: torch.stack([one, other, one]).sum(0), 8),
        (lambda one, other: torch.stack([one, other], -1).mean(-1), 8),
        (lambda one, _: one.repeat(1, 2), 16),
        (lambda one, _: one.unsqueeze(1).repeat(1, 3, 1).sum(1), 8),
        (lambda one, _: one.repeat_interleave(2, 1), 16),
        (lambda one, _: one.tile((1, 2)), 16),
        (lambda one, _: one.flip(1), 8),
        (lambda one, other: one.roll(1, 1) + other, 8),
        (lambda one, other: one[:, [3, 1, 0, 2, 4, 5, 7, 6]] + other, 8),
        (lambda one, other: one.index_select(1, torch.arange(7, -1, -1)) + other, 8),
        (lambda one, other: one[:, ::2].repeat(1, 2) + other, 8),
        (lambda one, _: F.pad(one, (0, 4), value=2.0), 12),
        (lambda one, other: F.pad(one, (0, 8), value=2.0) + torch.cat([other, other], 1), 16),
        (lambda one, other: F.pad(one, (8, 0), "constant", 2.0) + torch.cat([other, other], 1), 16),
        (lambda one, other: (one.unsqueeze(1) * other.view(-1, 1, 8)).sum(1), 8),
    ],
)
def test_vectors(middle: Middle, width: int) -> None:
    check(chain(middle, width))


@pytest.mark.parametrize(
    ("middle", "width"),
    [
        (lambda one, other: torch.cat([one[:, :3], other[:, 3:], other[:, :3], torch.ones_like(other[:, :2])], 1), 13),
        (lambda one, other: torch.cat([part * 2 for part in one.chunk(3, 1)], 1) + other, 8),
        (lambda one, other: torch.cat(one.split([3, 5], 1)[::-1], 1) + other, 8),
    ],
)
def test_parts(middle: Middle, width: int) -> None:
    """A part is never left without anything, so that a dead neuron may have to stay for it; here are few."""
    check(chain(middle, width), shares=(0.3,))


@pytest.mark.parametrize(
    ("middle", "width"),
    [
        (lambda one, _: F.pad(one, (1, 1, 1, 1), mode="reflect"), 8),
        (lambda one, _: F.pad(one, (1, 1, 1, 1), mode="circular"), 8),
        (lambda one, other: F.pad(one, (1, 1, 1, 1, 2, 0)) + F.pad(other, (1, 1, 1, 1, 0, 2)), 10),
        (lambda one, _: F.pixel_shuffle(one, 2), 2),
        (lambda one, _: F.pixel_unshuffle(one, 2), 32),
        (lambda one, _: F.channel_shuffle(one, 2), 8),
        (lambda one, _: one.flip(2), 8),
        (
            lambda one, other: (
                torch.cat([one, torch.ones_like(one)], 2)[:, :, 2:] * torch.cat([other, other], 2)[:, :, 2:]
            ),
            8,
        ),
        (lambda one, _: F.instance_norm(one), 8),
        (lambda one, _: one / (one.var((2, 3), keepdim=True) + 1), 8),
        (lambda one, _: one.logsumexp((2, 3), keepdim=True), 8),
        (lambda one, _: one.prod(2, keepdim=True), 8),
        (lambda one, _: one / (one.norm(dim=(2, 3), keepdim=True) + 1), 8),
        (lambda one, _: F.interpolate(one, size=(5, 5)), 8),
    ],
)
def test_planes(middle: Middle, width: int) -> None:
    check(chain(middle, width, planes=True))


@pytest.mark.parametrize(
    ("middle", "width"),
    [
        (lambda one, _: F.pad(one.unsqueeze(1), (2, 2), mode="reflect").squeeze(1), 12),
        (lambda one, _: F.glu(torch.cat([one, torch.ones_like(one)], 1)), 8),
        (lambda one, _: one.unfold(1, 2, 2).flatten(1), 8),
    ],
)
def test_what_cannot_be_written_anew_stays(middle: Middle, width: int) -> None:
    check(chain(middle, width), stays=True)


def test_padding_is_as_long_as_what_it_is_added_to() -> None:
    """Nothing is gathered from a padding that could be shorter, but where some of what it pads goes."""
    for middle, gathers in (
        (lambda one, other: F.pad(one, (0, 8)) + torch.cat([other, other * 2], 1), False),
        (lambda one, _: F.pad(one, (0, 8))[:, [1, 2, 9, 8]], True),
    ):
        family = chain(middle, 4 if gathers else 16)
        structure = find_neurons(family.module(), family.inputs(), "it")
        module = family.module()
        close(module, structure, some_of_each(structure, 0.5, 0))
        smaller = remove_dead(module, family.inputs(), "it")
        assert smaller.removed
        graph = smaller.module.graph
        assert isinstance(graph, torch.fx.Graph)
        assert any("index" in str(node.target) for node in graph.nodes if node.op == "call_function") == gathers


def test_a_shuffle_of_halves_keeps_what_is_not_a_rectangle() -> None:
    """Two layers side by side, whose channels alternate: one of a pair alone cannot go before the shuffle."""
    family = chain(lambda one, other: torch.cat([one, other], 1).view(-1, 2, 8).transpose(1, 2).flatten(1), 16)
    structure = find_neurons(family.module(), family.inputs(), "it")
    for neurons, count in (([1, 8 + 5], 0), ([1, 4, 8 + 1, 8 + 4], 4)):  # of no pair both, and both of two pairs
        module = family.module()
        close(module, structure, neurons)
        smaller = remove_dead(module, family.inputs(), "it")
        assert smaller.removed == count
        assert difference(outputs(module, family.inputs(3)), outputs(smaller.module, family.inputs(3))) < 1e-5


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (
            lambda: nn.Sequential(
                *(nn.Conv1d(3, 6, 3), nn.BatchNorm1d(6), nn.PReLU(6), nn.MaxPool1d(2)),
                *(nn.ConvTranspose1d(6, 8, 2), nn.PReLU(), nn.Conv1d(8, 2, 1)),
            ),
            (3, 12),
        ),
        (
            lambda: nn.Sequential(
                *(nn.Conv3d(3, 6, 3, padding="same"), nn.BatchNorm3d(6), nn.ReLU(), nn.AvgPool3d(2)),
                *(nn.ConvTranspose3d(6, 8, 2), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 3)),
            ),
            (3, 6, 6, 6),
        ),
        (
            lambda: nn.Sequential(
                *(nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect"), nn.ReLU()),
                *(nn.Conv2d(6, 12, 3, groups=6), nn.ReLU(), nn.Conv2d(12, 6, 1, padding_mode="circular", padding=1)),
                *(nn.ReLU(), nn.Conv2d(6, 2, 1)),
            ),
            (3, 8, 8),
        ),
    ],
)
def test_layers(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    check(Family(build, (shape,)))


def test_padding_goes_with_the_channels_of_other_groups() -> None:
    """The first channel of one group is padding, that of the other is not."""
    check(
        Family(
            lambda: nn.Sequential(
                *(nn.Conv2d(3, 8, 3), nn.ZeroPad3d((0, 0, 0, 0, 1, 1)), nn.Conv2d(10, 12, 3, groups=2)),
                *(nn.ReLU(), nn.Conv2d(12, 2, 1)),
            ),
            ((3, 8, 8),),
        )
    )


class HeadsInTheBatch(nn.Module):
    """Attention with the heads beside the examples, as in older code."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 12) for _ in range(3))
        self.last = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, _ = x.shape
        query, key, value = (
            layer(x).view(batch, tokens, 3, 4).transpose(1, 2).reshape(batch * 3, tokens, 4) for layer in self.layers
        )
        found = torch.bmm(torch.bmm(query, key.transpose(1, 2)).softmax(-1), value)
        out: torch.Tensor = self.last(found.view(batch, 3, tokens, 4).transpose(1, 2).reshape(batch, tokens, 12))
        return out


def test_heads_may_lie_beside_the_examples() -> None:
    family = Family(HeadsInTheBatch, ((5, 6),))
    structure = find_neurons(family.module(), family.inputs(), "it")
    assert [group.size for group in structure.groups] == [3]
    for heads in ([1], [0, 2]):
        module = family.module()
        close(module, structure, np.array(heads))
        smaller = remove_dead(module, family.inputs(), "it")
        assert smaller.removed == len(heads)
        for batch in (1, 2, 5):
            assert difference(*(outputs(one, family.inputs(batch)) for one in (module, smaller.module))) < 1e-4
