"""A ranking gives the masks and the thresholds of `topk`, over the whole network or in each slot."""

import pytest
import torch

from slt_compress.masking import topk
from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.masking.ranking import Ranking
from slt_compress.models.registry import build_model, resolve_model

DENSITY = 0.3


def network() -> FlatNetwork:
    spec = resolve_model("lenet-300-100", classes=10, channels=1, input_size=8)
    return FlatNetwork(build_model(spec), 0, DENSITY, torch.device("cpu"))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("layered", [False, True])
def test_as_many_gates_reach_the_threshold_as_are_wanted(layered: bool) -> None:
    gates = network()
    ranking = gates.ranking(DENSITY, layered=layered)
    scores = torch.randn(gates.weights.shape, generator=generator()).masked_fill(~gates.searchable, -1e6)
    reached = (scores >= ranking.thresholds(scores, lambda scope: scope.count)) & gates.searchable
    assert torch.equal(reached, ranking.mask(scores, generator()))
    parts = [reached] if not layered else list(gates.split(reached))
    for part in parts:
        whole = gates.size if not layered else part.numel()
        assert int(part.sum()) == topk.kept_count(whole, DENSITY)


def test_padding_is_never_above_a_threshold() -> None:
    gates = network()
    ranking = Ranking(gates, DENSITY, layered=True)
    found = ranking.thresholds(torch.zeros(gates.weights.shape), lambda scope: scope.count)
    assert (found[gates.not_searchable] == torch.inf).all()


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_on_the_way_the_number_falls_from_the_start_to_the_end(progress: float) -> None:
    scope = Ranking(network(), DENSITY).scopes[0]
    share = scope.on_the_way(0.9, progress) / scope.searchable
    assert share == pytest.approx(0.9 + (scope.density - 0.9) * progress, abs=1e-4)


def test_densities_and_random_masks_are_those_asked_for() -> None:
    gates = network()
    ranking = Ranking(gates, DENSITY)
    assert ranking.densities() == [pytest.approx(DENSITY, abs=1e-4)]
    assert torch.equal(ranking.random_mask(3), topk.random_mask(gates, DENSITY, 3))
