"""Exact counts: thresholds against a sort, masks against a ranking by hand, and what fixed gates leave to search."""

import pytest
import torch

from slt_compress.errors import UnreachableError
from slt_compress.masking import topk
from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.masking.topk import (
    best_of_layers,
    best_of_network,
    count_to_open,
    kept_count,
    layer_counts,
    random_mask,
    scopes,
    threshold,
    thresholds,
)
from slt_compress.models.registry import build_model, resolve_model
from slt_compress.prng import Freeze


def network(freeze: Freeze = Freeze(), seed: int = 0, initialiser: str = "signed-constant") -> FlatNetwork:
    spec = resolve_model("lenet-300-100", classes=10, channels=1, input_size=8)
    return FlatNetwork(build_model(spec), seed, 0.5, torch.device("cpu"), initialiser, freeze)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("size", "density", "kept"), [(1000, 0.1, 100), (1000, 0.0, 1), (1000, 1.0, 1000), (3, 0.5, 2)]
)
def test_kept_count(size: int, density: float, kept: int) -> None:
    assert kept_count(size, density) == kept


@pytest.mark.parametrize("size", [1, 2, 1000, 300_000, 1_000_003])
@pytest.mark.parametrize("kind", ["normal", "equal", "few values", "sorted", "mostly zero"])
def test_the_threshold_is_that_of_a_sort(size: int, kind: str) -> None:
    scores = torch.randn(size, generator=generator())
    if kind == "equal":
        scores.fill_(0.25)
    elif kind == "few values":
        scores = scores.round()
    elif kind == "sorted":  # a sample at regular places is no random one
        scores = scores.sort().values
    elif kind == "mostly zero":
        scores[: size * 9 // 10] = 0
    ranked = scores.sort(descending=True).values
    for count in {1, max(1, size // 50), max(1, size // 2), size}:
        assert topk.threshold(scores, count) == ranked[count - 1]
    assert topk.threshold(scores, 0) == torch.inf


def test_the_threshold_survives_scores_that_are_not_numbers() -> None:
    scores = torch.full((300_000,), torch.nan)
    assert topk.threshold(scores, 1000).shape == ()


@pytest.mark.parametrize("density", [0.0005, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("per_layer", [False, True])
def test_masks_keep_the_highest_scores(density: float, per_layer: bool) -> None:
    flat = network()
    scores = torch.randn(flat.weights.shape, generator=generator(1))
    mask = (best_of_layers if per_layer else best_of_network)(flat, scores, density, generator())
    assert not mask[~flat.searchable].any()
    parts = list(zip(flat.split(scores), flat.split(mask), strict=True))
    assert all(part.any() for _, part in parts)
    if not per_layer:
        assert int(mask.sum()) == kept_count(flat.size, density)
        parts = (
            [(scores[flat.searchable], mask[flat.searchable])] if density > 0.01 else []
        )  # else some tensor keeps its best one
    for score_part, mask_part in parts:
        if per_layer:
            assert int(mask_part.sum()) == kept_count(len(mask_part), density)
        if not mask_part.all():
            assert score_part[mask_part].min() > score_part[~mask_part].max()


@pytest.mark.parametrize("value", [0.0, torch.nan, torch.inf])
def test_a_draw_decides_among_equals(value: float) -> None:
    flat = network()
    scores = torch.full_like(flat.effective, value)
    mask = best_of_network(flat, scores, 0.3, generator(0))
    assert int(mask.sum()) == kept_count(flat.size, 0.3)
    assert torch.equal(mask, best_of_network(flat, scores, 0.3, generator(0)))
    assert not torch.equal(mask, best_of_network(flat, scores, 0.3, generator(1)))
    assert [part.float().mean().item() for part in flat.split(mask)] == pytest.approx([0.3] * 3, abs=0.06)


@pytest.mark.parametrize("density", [0.001, 0.1, 0.5])
def test_a_random_mask_has_the_density_in_every_layer(density: float) -> None:
    flat = network()
    mask = random_mask(flat, density, seed=4)
    for slot, part in zip(flat.slots, flat.split(mask), strict=True):
        assert int(part.sum()) == max(1, round(slot.size * density))
    assert torch.equal(mask, random_mask(flat, density, seed=4))
    assert not torch.equal(mask, random_mask(flat, density, seed=5))
    assert not mask[~flat.searchable].any()


@pytest.mark.parametrize(
    ("freeze", "density"),
    [(Freeze(0.5, 0.0), 0.2), (Freeze(0.7, 0.1), 0.2), (Freeze(0.7, 0.1), 0.35), (Freeze(0.3, 0.2), 0.25)],
)
def test_fixed_gates_are_part_of_the_count(freeze: Freeze, density: float) -> None:
    flat = network(freeze)
    scores = torch.randn(flat.weights.shape, generator=generator(1))
    target = kept_count(flat.size, density)
    assert count_to_open(flat, density) == target - flat.locked_count
    for mask in (
        best_of_network(flat, scores, density, generator()),
        best_of_layers(flat, scores, density, generator()),
        random_mask(flat, density, seed=3),
    ):
        assert abs(int(mask.sum()) - target) <= len(flat.slots)  # each tensor rounds for itself
        assert mask[flat.locked].all()
        assert not mask[~(flat.searchable | flat.locked)].any()
    layers = [part.float().mean().item() for part in flat.split(random_mask(flat, density, seed=3))]
    assert layers == pytest.approx([density] * 3, abs=0.02)  # of the last, few gates are searchable


def test_a_layer_that_cannot_have_the_density_is_made_up_for_by_the_others() -> None:
    flat = network(Freeze(0.4, 0.0))
    last = flat.slots[2]
    fixed = torch.arange(last.offset, last.offset + 700)  # as if its pattern had come out so
    flat.not_searchable = torch.cat([flat.not_searchable, fixed])
    flat.searchable_count = int(flat.searchable.sum())
    counts = layer_counts(flat, 0.5)
    searchable = [int(part.sum()) for part in flat.split(flat.searchable)]
    assert counts[2] == searchable[2] < 500
    assert sum(counts) == sum(kept_count(slot.size, 0.5) for slot in flat.slots)
    assert all(count <= most for count, most in zip(counts, searchable, strict=True))


@pytest.mark.parametrize(
    ("freeze", "density"), [(Freeze(0.5, 0.2), 0.15), (Freeze(0.5, 0.2), 0.75), (Freeze(0.9, 0.0), 0.15)]
)
def test_what_fixed_gates_rule_out_is_refused(freeze: Freeze, density: float) -> None:
    flat = network(freeze)
    for count in (count_to_open, layer_counts):
        with pytest.raises(UnreachableError, match=rf"sparsity {1 - density:g} cannot be reached.* allow 0\.\d+ to"):
            count(flat, density)


def test_the_edge_of_what_is_reachable_is_taken_however_the_pattern_came_out() -> None:
    for seed in range(6):
        flat = network(Freeze(0.5, 0.2), seed)
        for density in (0.2, 0.7):
            kept = int(best_of_network(flat, flat.effective, density, generator()).sum())
            assert abs(kept / flat.size - density) <= topk.TOLERANCE
            assert abs(int(random_mask(flat, density, 0).sum()) / flat.size - density) <= topk.TOLERANCE


def test_a_network_with_nothing_to_search_is_refused() -> None:
    with pytest.raises(UnreachableError, match="every gate"):
        count_to_open(network(Freeze(1.0, 0.5)), 0.5)


def test_weights_that_happen_to_be_zero_are_searched_too() -> None:
    flat = network(initialiser="kaiming-normal")
    flat.weights[5] = 0.0
    scores = torch.zeros_like(flat.weights)
    scores[5] = 1.0
    assert best_of_network(flat, scores, 0.001, generator())[5]


@pytest.mark.parametrize("freeze", [Freeze(), Freeze(0.5, 0.2)])
@pytest.mark.parametrize("layered", [False, True])
def test_scopes_are_the_network_or_its_layers(freeze: Freeze, layered: bool) -> None:
    flat = network(freeze)
    found = scopes(flat, 0.4, layered=layered)
    assert sum(scope.searchable for scope in found) == flat.searchable_count
    counts = layer_counts(flat, 0.4) if layered else [count_to_open(flat, 0.4)]
    assert [scope.count for scope in found] == counts
    places = [(slot.offset, slot.offset + slot.size) for slot in flat.slots]
    assert [(scope.start, scope.end) for scope in found] == (places if layered else [(0, flat.weights.numel())])
    assert [scope.density for scope in found] == [scope.count / scope.searchable for scope in found]


@pytest.mark.parametrize("layered", [False, True])
def test_on_the_way_a_scope_goes_from_a_share_to_its_count(layered: bool) -> None:
    for scope in scopes(network(), 0.1, layered=layered):
        assert scope.on_the_way(0.5, 1.0) == scope.count
        assert scope.on_the_way(0.5, 0.0) == round(0.5 * scope.searchable)
        assert scope.on_the_way(0.0, 0.0) == 1
        between = [scope.on_the_way(0.5, step / 10) for step in range(11)]
        assert between == sorted(between, reverse=True)
    assert topk.Scope(0, 0, 0, 0).on_the_way(0.5, 0.5) == topk.Scope(0, 0, 0, 0).density == 0


@pytest.mark.parametrize("layered", [False, True])
def test_thresholds_are_reached_by_exactly_so_many_gates_of_each_scope(layered: bool) -> None:
    flat = network()
    scores = torch.randn(flat.weights.shape, generator=generator(1)).masked_fill_(~flat.searchable, -torch.inf)
    ranked = scopes(flat, 0.3, layered=layered)
    counts = [scope.count // 2 for scope in ranked]
    found = thresholds(scores, ranked, counts)
    assert found.shape == (scores.shape if layered else ())
    reached = scores >= found
    for scope, count in zip(ranked, counts, strict=True):
        assert int(reached[scope.start : scope.end].sum()) == count
        assert found.expand_as(scores)[scope.start] == threshold(scores[scope.start : scope.end], count)
