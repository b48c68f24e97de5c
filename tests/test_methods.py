"""Every method, recipe and scope through the same door: exact counts however short, the same seed the same mask."""

import itertools
from typing import Any

import pytest
import torch

from slt_compress import data, methods
from slt_compress.errors import UnreachableError, UsageError
from slt_compress.models import build, resolve
from slt_compress.network import FlatNetwork
from slt_compress.pictures import hold_out
from slt_compress.search import Budget, Found, search
from slt_compress.ticket import Freeze

DIGITS = data.open_dataset("digits", None)
TRAIN, VALIDATION = hold_out(DIGITS.read("train", 8))
PREPROCESSING = DIGITS.preprocessing(8, TRAIN)
Variant = tuple[str, str, str | None]  # method, recipe, scope
VARIANTS: list[Variant] = [
    *itertools.product(methods.METHODS, methods.RECIPES, [None]),
    *itertools.product(["edge-popup"], methods.RECIPES, methods.SCOPES),
    ("random", "default", None),
]


def find(
    variant: Variant,
    steps: int,
    density: float = 0.3,
    freeze: Freeze = Freeze(),
    seed: int = 0,
    **options: Any,
) -> tuple[Found, FlatNetwork]:
    name, recipe, scope = variant
    spec = resolve("lenet-300-100", classes=10, channels=1, input_size=8)
    network = FlatNetwork(build(spec), seed, density, torch.device("cpu"), methods.initialiser(name, recipe), freeze)
    found = search(
        network,
        TRAIN,
        VALIDATION,
        PREPROCESSING,
        method=name,
        density=density,
        seed=seed,
        budget=Budget(steps, 256, steps / 5),
        recipe=recipe,
        scope=scope,
        **options,
    )
    return found, network


def flat(found: Found) -> torch.Tensor:
    return torch.cat([mask.flatten() for mask in found.masks.values()])


def accuracy(network: FlatNetwork) -> float:
    images, labels = next(VALIDATION.batches(1000))
    with torch.no_grad():
        return float((network.module(PREPROCESSING(images)).argmax(1) == labels).float().mean())


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("freeze", [Freeze(), Freeze(0.7, 0.2)], ids=["free", "frozen"])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_search_ends_at_the_asked_sparsity(variant: Variant, freeze: Freeze, steps: int) -> None:
    found, network = find(variant, steps, freeze=freeze)
    mask = flat(found)
    assert abs(int(mask.sum()) - round(0.3 * network.size)) <= len(network.slots)  # each tensor may round for itself
    assert torch.equal(mask, flat(find(variant, steps, freeze=freeze)[0]))
    assert all(part.any() for part in found.masks.values())
    for name, part in found.masks.items():
        assert torch.equal(network.module.get_parameter(name) != 0, part)


@pytest.mark.parametrize("variant", [*itertools.product(methods.METHODS, methods.RECIPES, [None])], ids=str)
def test_every_method_and_recipe_learns(variant: Variant) -> None:
    _, network = find(variant, 150)
    _, control = find(("random", "default", None), 0)
    assert accuracy(network) > accuracy(control) + 0.1


@pytest.mark.parametrize("name", methods.METHODS)
def test_settings_name_the_recipe_and_what_was_changed(name: str) -> None:
    for recipe in methods.RECIPES:
        settings = find((name, recipe, None), 1, learning_rate=0.5)[0].settings
        assert settings["recipe"] == recipe
        assert settings["learning_rate"] == 0.5
    if name == "edge-popup":
        assert find((name, "paper", "global"), 1)[0].settings["scope"] == "global"
        assert find((name, "paper", None), 1)[0].settings["scope"] == "layer"


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_what_frozen_gates_rule_out_is_refused(variant: Variant) -> None:
    with pytest.raises(UnreachableError, match=r"sparsity 0\.9 cannot be reached"):
        find(variant, 1, density=0.1, freeze=Freeze(0.5, 0.2))


def test_options_without_a_meaning_are_refused() -> None:
    methods.check("edge-popup", "layer", "paper", 0.1)
    with pytest.raises(UsageError, match="--scope is for --method edge-popup alone; crbg ranks the whole network"):
        methods.check("crbg", "layer", "default", None)
    with pytest.raises(UsageError, match="--lr has no meaning"):
        methods.check("random", None, "default", 0.1)
    with pytest.raises(UsageError, match="random has no published recipe"):
        methods.check("random", None, "paper", None)


def test_weights_that_a_recipe_expects() -> None:
    assert methods.initialiser("crbg", "paper") == "uniform"
    assert {methods.initialiser(name, "default") for name in methods.NAMES} == {"signed-constant"}
