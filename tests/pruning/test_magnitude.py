"""Magnitude pruning: rounds, exact counts, scores against a slow reference."""

import itertools
from typing import Any

import pytest
import torch

from slt_compress.pruning.config import PruneConfig
from slt_compress.pruning.magnitude import Magnitude, adaptive_magnitudes, highest_kept, magnitudes, rounds_for
from tests.support.pruned import generator, lenet_job, trained_network, trainer_for


def test_adaptive_magnitudes_are_those_of_the_paper() -> None:
    """LAMP (Lee et al. 2021, equation 4): w² over the sum of the squares of all weights that are not smaller."""
    network = trained_network(lenet_job())
    network.mask = network.mask & (torch.arange(len(network.mask)) % 5 > 0)
    scores = adaptive_magnitudes(network)
    part, weights = (list(network.split(flat))[-1] for flat in (scores, network.weights * network.mask))
    squares = weights.double().square()
    slow = torch.stack([one / squares[squares >= one].sum() for one in squares])
    assert torch.allclose(part.double(), slow, atol=1e-6)
    assert all(one.max() == 1 for one in network.split(scores))  # so no tensor is left empty


@pytest.mark.parametrize("layered", [False, True])
def test_the_largest_weights_stay_and_none_comes_back(layered: bool) -> None:
    network = trained_network(lenet_job())
    first = highest_kept(network, magnitudes, 0.5, generator(), layered)
    network.mask = first
    with torch.no_grad():
        network.weights[~first] = 9.0  # what is gone stays so
    second = highest_kept(network, magnitudes, 0.1, generator(), layered)
    assert (int(first.sum()), int(second.sum())) == (25_100, 5_020)
    assert not bool((second & ~first).any())
    if layered:
        assert [int(part.sum()) for part in network.split(second)] == [1_920, 3_000, 100]
    else:
        assert network.weights[second].abs().min() >= network.weights[first & ~second].abs().max()


@pytest.mark.parametrize("sparsity", [0.999, 0.0])
def test_a_tensor_keeps_a_weight(sparsity: float) -> None:
    network = trained_network(lenet_job())
    for part in list(network.split(network.weights))[:1]:
        part.mul_(1e-6)
    mask = highest_kept(network, magnitudes, 1 - sparsity, generator())
    assert int(mask.sum()) == round(50_200 * (1 - sparsity))
    assert all(bool(part.any()) for part in network.split(mask))


@pytest.mark.parametrize(
    ("fields", "rounds"),
    [
        ({}, 20),
        ({"rounds": 3}, 3),
        ({"round_ratio": 0.5}, 4),
        ({"recipe": "paper"}, 11),
        ({"recipe": "paper", "rounds": 2}, 2),
    ],
)
def test_rounds_lead_to_the_density_and_every_one_removes_the_same_share(fields: dict[str, Any], rounds: int) -> None:
    job = lenet_job(100)
    network = trained_network(job)
    trainer = trainer_for(job, network)
    plan = Magnitude(PruneConfig(method="magnitude", **fields), 100, generator())
    assert plan.settings()["rounds"] == rounds
    plan.begin(trainer)
    kept = [network.size]
    for done in range(1, 101):
        plan.after(done, trainer)
        if int(network.mask.sum()) != kept[-1]:
            kept.append(int(network.mask.sum()))
    assert len(kept) == rounds + 1
    assert kept[-1] == 5_020
    ratios = [after / before for before, after in itertools.pairwise(kept)]
    assert ratios == pytest.approx([0.1 ** (1 / rounds)] * rounds, rel=1e-2)


def test_trained_weights_are_pruned_at_once() -> None:
    job = lenet_job(10)
    network = trained_network(job)
    Magnitude(PruneConfig(method="magnitude", rounds=1), 10, generator(), trained=True).begin(trainer_for(job, network))
    assert int(network.mask.sum()) == 5_020


@pytest.mark.parametrize(("density", "ratio", "rounds"), [(0.1, 0.2, 11), (0.5, 0.5, 1), (0.25, 0.5, 2), (1.0, 0.2, 1)])
def test_ratios_say_how_many_rounds(density: float, ratio: float, rounds: int) -> None:
    assert rounds_for(density, ratio) == rounds
