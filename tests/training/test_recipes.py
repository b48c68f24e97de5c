"""Recipes of dense training: one for each kind of network, and learning rates that rise and fall."""

import math

import pytest

from slt_compress.models.registry import build_model, resolve_model
from slt_compress.training.recipes import OF_TRANSFORMERS, PLAIN, recipe_for


def test_the_kind_of_network_decides() -> None:
    vit, lenet = (
        build_model(resolve_model(name, classes=10, channels=1, input_size=8)) for name in ("test_vit", "lenet-300-100")
    )
    assert recipe_for(vit) is OF_TRANSFORMERS
    assert recipe_for(lenet) is PLAIN


def test_the_learning_rate_rises_and_falls_as_a_cosine() -> None:
    assert [PLAIN.factor(step, 4) for step in range(4)] == pytest.approx(
        [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2]
    )
    warm = [OF_TRANSFORMERS.factor(step, 20) for step in range(20)]
    assert warm[:2] == pytest.approx([0.5, (1 + math.cos(math.pi / 20)) / 2])
    assert warm[1:] == sorted(warm[1:], reverse=True)
