"""Gates beside trained weights: what is fixed when, and which masks come of it."""

import pytest
import torch

from slt_compress.config import SearchConfig
from slt_compress.pruning.config import PruneConfig
from slt_compress.pruning.finish import train_through
from slt_compress.pruning.gated import GatedPruning, keep_one
from slt_compress.pruning.trainer import WeightTrainer
from tests.support.pruned import generator, lenet_job, trained_network, trainer_for

STEPS = 12


@pytest.mark.parametrize("method", ["continuous-sparsification", "crbg"])
@pytest.mark.parametrize("recipe", ["default", "paper"])
@pytest.mark.parametrize("sparsity", [0.8, None])
def test_the_mask_is_fixed_for_the_last_part(
    method: str, recipe: str, sparsity: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = lenet_job(STEPS)
    network = trained_network(job)
    trainer = trainer_for(job, network)
    config = PruneConfig(run=SearchConfig(), method=method, recipe=recipe, sparsity=sparsity, finish=0.5)
    plan = GatedPruning(config, STEPS, generator())
    plan.begin(trainer)
    masks: list[torch.Tensor] = []
    after = plan.after

    def seen(done: int, trainer: WeightTrainer) -> None:
        after(done, trainer)
        masks.append(network.mask.clone())

    monkeypatch.setattr(plan, "after", seen)
    train_through(job, trainer, plan)
    assert all(torch.equal(mask, network.searchable) for mask in masks[: STEPS // 2 - 1])
    assert all(torch.equal(mask, masks[-1]) for mask in masks[STEPS // 2 - 1 :])
    assert plan.settings()["soft_steps"] == STEPS // 2
    asked = config.asked_sparsity
    if asked is not None:
        assert int(masks[-1].sum()) == round(50_200 * (1 - asked))


@pytest.mark.parametrize("trained", [False, True])
def test_weights_of_a_seed_have_longer_before_they_are_few(trained: bool) -> None:
    steps = 40
    job = lenet_job(steps)
    trainer = trainer_for(job, trained_network(job))
    plan = GatedPruning(PruneConfig(sparsity=0.9), steps, generator(), trained=trained)
    plan.begin(trainer)
    method = plan._method
    assert method is not None
    densities = []
    for step in range(30):  # those before the last quarter
        method.gate(step)
        densities.append(float(method.hard_gate().sum()) / 50_200)
    few = next(step for step, density in enumerate(densities) if density == pytest.approx(0.1, abs=1e-4))
    assert few == (11 if trained else 24)  # of 30, from 0.35 and 0.8 of them on
    assert densities == sorted(densities, reverse=True)


def test_a_price_alone_can_prune() -> None:
    job = lenet_job(STEPS)
    network = trained_network(job)
    trainer = trainer_for(job, network)
    config = PruneConfig(recipe="paper", penalty=10.0, initial_score=0.05)
    plan = GatedPruning(config, STEPS, generator())
    plan.begin(trainer)
    train_through(job, trainer, plan)
    assert int(network.mask.sum()) == 3  # one a tensor: without it there is no network
    assert plan.settings()["penalty"] == 10.0


def test_the_largest_weight_of_an_empty_tensor_stays() -> None:
    job = lenet_job()
    network = trained_network(job)
    found = keep_one(trainer_for(job, network), torch.zeros_like(network.mask))
    for part, weights in zip(network.split(found), network.split(network.weights), strict=True):
        assert part.nonzero().item() == weights.abs().argmax().item()


@pytest.mark.parametrize("method", ["continuous-sparsification", "crbg"])
def test_half_open_gates_do_not_halve_trained_weights(method: str) -> None:
    job = lenet_job(STEPS)
    network = trained_network(job)
    before = network.weights.clone()
    trainer = trainer_for(job, network)
    plan = GatedPruning(PruneConfig(method=method), STEPS, generator(), trained=True)
    plan.begin(trainer)
    assert plan._method is not None
    effective = plan._method.gate(0)[network.searchable] * network.weights[network.searchable]
    assert (effective / before[network.searchable]).mean().item() == pytest.approx(1.0, abs=0.05)
