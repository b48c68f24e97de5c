"""Optimisers of weights: one for each kind of network, the published one, and their learning rates."""

import pytest
import torch
from torch import nn

from slt_compress.models.registry import build_model, resolve_model
from slt_compress.pruning.recipes import PAPER, WeightRecipe, weight_recipe


def test_the_kind_of_network_decides() -> None:
    vit, lenet = (
        build_model(resolve_model(name, classes=10, channels=1, input_size=8)) for name in ("test_vit", "lenet-300-100")
    )
    of_vit, of_lenet = (weight_recipe(module, "default", None) for module in (vit, lenet))
    assert of_vit.warmup > 0 == of_lenet.warmup
    assert of_vit.learning_rate < of_lenet.learning_rate
    assert weight_recipe(lenet, "default", None, trained=True).learning_rate < of_lenet.learning_rate
    assert weight_recipe(lenet, "default", 0.5) == WeightRecipe(0.5, weight_decay=of_lenet.weight_decay)
    assert weight_recipe(vit, "paper", None) is PAPER
    assert weight_recipe(lenet, "default", None, method="crbg").learning_rate < of_lenet.learning_rate


@pytest.mark.parametrize("method", ["magnitude", "continuous-sparsification"])
def test_the_first_step_takes_the_same_share_of_a_weight_from_the_seed_and_of_a_trained_one(method: str) -> None:
    lenet = build_model(resolve_model("lenet-300-100", classes=10, channels=1, input_size=8))
    recipes = [weight_recipe(lenet, "default", None, method=method, trained=trained) for trained in (False, True)]
    assert [recipe.learning_rate * recipe.weight_decay for recipe in recipes] == pytest.approx([0.01, 0.01])
    assert weight_recipe(lenet, "default", None, method="crbg").weight_decay == 0


def test_rates_fall() -> None:
    steps = 85
    rates = [PAPER.rate(step, steps) for step in range(steps)]
    assert rates[:56] == [0.1] * 56
    assert rates[56:71] == pytest.approx([0.01] * 15)
    assert rates[71:] == pytest.approx([0.001] * 14)
    assert [WeightRecipe(2.0).rate(step, 2) for step in range(2)] == [2.0, 1.0]
    assert WeightRecipe(2.0, warmup=0.5).rate(0, 4) == 1.0


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_weight_decay_is_of_gated_weights_alone(name: str) -> None:
    weights, other = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))
    optimiser = WeightRecipe(0.1, name, weight_decay=0.5).make(weights, [other])
    weights.grad, other.grad = torch.zeros(3), torch.zeros(2)
    optimiser.step()
    assert torch.allclose(weights, torch.full((3,), 0.95))
    assert torch.equal(other, torch.ones(2))
    assert WeightRecipe(0.1).make(weights, []).param_groups[0]["lr"] == 0.1


def test_a_ticket_can_record_it() -> None:
    assert PAPER.settings()["drops"] == list(PAPER.drops)
