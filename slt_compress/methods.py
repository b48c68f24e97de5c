"""Methods by name: which there are, in which recipes and scopes, and what each expects of the weights."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from slt_compress import continuous_sparsification, crbg_paper, edge_popup
from slt_compress.errors import UsageError
from slt_compress.gates import Crbg, Method
from slt_compress.network import FlatNetwork

Build = Callable[[FlatNetwork, float, int, torch.Generator, dict[str, Any]], Method]


def _crbg(
    network: FlatNetwork, density: float, steps: int, generator: torch.Generator, changes: dict[str, Any]
) -> Method:
    return Crbg(network, density, steps, generator, **changes)


def _with(method: Callable[..., Method], settings: Any) -> Build:
    """Return a maker of the method in these settings, save for the changes it is given."""

    def build(
        network: FlatNetwork, density: float, steps: int, generator: torch.Generator, changes: dict[str, Any]
    ) -> Method:
        return method(network, density, steps, generator, replace(settings, **changes))

    return build


METHODS: dict[str, dict[str, Build]] = {  # name -> recipe -> maker
    "crbg": {
        "default": _crbg,
        "paper": _with(crbg_paper.PaperCrbg, crbg_paper.PaperCrbgSettings()),
    },
    "edge-popup": {
        "default": _with(edge_popup.EdgePopup, edge_popup.EdgePopupSettings()),
        "paper": _with(edge_popup.EdgePopup, edge_popup.PAPER),
    },
    "continuous-sparsification": {
        "default": _with(
            continuous_sparsification.ContinuousSparsification,
            continuous_sparsification.ContinuousSparsificationSettings(),
        ),
        "paper": _with(continuous_sparsification.ContinuousSparsification, continuous_sparsification.PAPER),
    },
}
NAMES = (*METHODS, "random")
RECIPES = ("default", "paper")
SCOPES = ("layer", "global")


def check(name: str, scope: str | None, recipe: str, learning_rate: float | None) -> None:
    """Raise UsageError if the method has no use for what is asked of it."""
    if scope is not None and name != "edge-popup":
        ranks = "draws from each layer" if name == "random" else "ranks the whole network"
        raise UsageError(f"--scope is for --method edge-popup alone; {name} {ranks}")
    if recipe != "default" and name == "random":
        raise UsageError("random has no published recipe")
    if learning_rate is not None and name == "random":
        raise UsageError("--lr has no meaning for --method random, which optimises nothing")


def initialiser(name: str, recipe: str) -> str:
    """Return the distribution of weights that the method expects unless another is asked for, see `seeding`."""
    return "uniform" if (name, recipe) == ("crbg", "paper") else "signed-constant"


def make(
    name: str,
    network: FlatNetwork,
    density: float,
    steps: int,
    generator: torch.Generator,
    *,
    recipe: str = "default",
    scope: str | None = None,
    learning_rate: float | None = None,
) -> Method:
    """Return the method that optimises gates of this network, its own defaults where None is given."""
    asked = {"scope": scope, "learning_rate": learning_rate}
    changes = {key: value for key, value in asked.items() if value is not None}
    return METHODS[name][recipe](network, density, steps, generator, changes)
