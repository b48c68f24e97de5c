"""Methods by name: their recipes, the options they understand, and where their code is. Needs no torch.

The command line, comparisons and messages read this table; the code of a method is imported when it is used.
"""

import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slt_compress.errors import UsageError

if TYPE_CHECKING:
    from slt_compress.masking.gates import Gates
    from slt_compress.methods.base import Method, Target

DEFAULT_RECIPE = "default"


@dataclass(frozen=True)
class Option:
    """An option of a method: a field of its settings. A comparison takes it as NAME=VALUE behind the method.

    Attributes:
        name: of the field.
        type: str, int or float.
        help: one sentence that the command line shows.
        choices: the values that a str may have, empty for any; in `compare` they may stand alone.
        between: the least and the largest value of a number, None for any.
        recipes: those that understand it, empty for all of the method.
    """

    name: str
    type: type
    help: str
    choices: tuple[str, ...] = ()
    between: tuple[float, float] | None = None
    recipes: tuple[str, ...] = ()

    def parse(self, text: str) -> Any:
        """Read a value. Raises UsageError if it is not one."""
        try:
            value = self.type(text)
        except ValueError as error:
            raise UsageError(f"`{self.name}` must be of type {self.type.__name__}, got {text!r}") from error
        self.check(value)
        return value

    def check(self, value: Any) -> None:
        """Raise UsageError if this is not a value of the option."""
        types: Any = (int, float) if self.type is float else self.type
        if isinstance(value, bool) or not isinstance(value, types):
            raise UsageError(f"`{self.name}` must be of type {self.type.__name__}, got {value!r}")
        if self.choices and value not in self.choices:
            raise UsageError(f"`{self.name}` must be {' or '.join(self.choices)}, got {value!r}")
        least, most = self.between or (-math.inf, math.inf)
        if self.between and not least <= value <= most:
            raise UsageError(f"`{self.name}` must be from {least:g} to {most:g}, got {value:g}")


@dataclass(frozen=True)
class Recipe:
    """Settings of a method.

    Attributes:
        implementation: "module:class" of a `methods.base.Method`.
        settings: changes of the defaults of its `Settings`.
        initialiser: distribution of the frozen weights that it expects, a key of `prng.INITIALISERS`.
    """

    implementation: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    initialiser: str = "signed-constant"


@dataclass(frozen=True)
class MethodEntry:
    """What is known of a method.

    Attributes:
        recipes: by name; "default" are our settings, "paper" the published ones.
        options: what it understands beside a learning rate.
        optimises: whether it makes optimiser steps, and so has a learning rate.
    """

    recipes: Mapping[str, Recipe]
    options: tuple[Option, ...] = ()
    optimises: bool = True


_SCOPE = Option(
    "scope",
    str,
    "Where gates are ranked against each other: in each layer, or over the whole network. [default: global; layer for "
    "neurons, and in the recipe paper of edge-popup]",
    ("layer", "global"),
)
_HEAD_START = Option(
    "head_start",
    float,
    "How far the gates of the first and the last tensor, where these are small, begin ahead of the others, from 0 to "
    "1, so that they keep nearly all weights; 0.1 is enough. [default: 0]",
    between=(0, 1),
    recipes=(DEFAULT_RECIPE,),
)

METHODS: dict[str, MethodEntry] = {
    "crbg": MethodEntry(
        {
            "default": Recipe("slt_compress.methods.crbg:Crbg"),
            "paper": Recipe("slt_compress.methods.crbg_paper:PaperCrbg", initialiser="uniform"),
        },
        options=(_SCOPE, _HEAD_START),
    ),
    "edge-popup": MethodEntry(
        {
            "default": Recipe("slt_compress.methods.edge_popup:EdgePopup"),
            # Top scores of each layer, SGD with momentum 0.9, weight decay 1e-4 and learning rate 0.1 along a cosine:
            # the numbers of the published code's configurations for MNIST and CIFAR-10.
            "paper": Recipe(
                "slt_compress.methods.edge_popup:EdgePopup",
                {
                    "scope": "layer",
                    "optimiser": "sgd",
                    "learning_rate": 0.1,
                    "momentum": 0.9,
                    "weight_decay": 1e-4,
                    "target_until": 0.0,
                },
            ),
        },
        options=(_SCOPE,),
    ),
    "continuous-sparsification": MethodEntry(
        {
            "default": Recipe("slt_compress.methods.continuous_sparsification:ContinuousSparsification"),
            # SGD with momentum 0.9 and learning rate 0.1 without weight decay on the scores, divided by 10 after 56 and
            # 71 of 85 epochs, λ = 1e-8, slope 1 to 200, all scores 0: the paper's ResNet-18 on CIFAR-10 and its code.
            # Its factor 1/sigmoid(0) on every weight is left out: the constant of the initialiser stands for it.
            "paper": Recipe(
                "slt_compress.methods.continuous_sparsification:ContinuousSparsification",
                {
                    "optimiser": "sgd",
                    "learning_rate": 0.1,
                    "momentum": 0.9,
                    "drops": (56 / 85, 71 / 85),
                    "initial_spread": 0.0,
                    "slope_start": 1.0,
                    "slope_end": 200.0,
                    "penalty": 1e-8,
                    "steered": False,
                },
            ),
        },
        options=(_SCOPE,),
    ),
    "random": MethodEntry({"default": Recipe("slt_compress.methods.random:Random")}, optimises=False),
}


def recipes() -> list[str]:
    """Return the names of all recipes that some method has, "default" first."""
    return list(dict.fromkeys(name for entry in METHODS.values() for name in entry.recipes))


def options() -> dict[str, Option]:
    """Return all options that some method understands, by name."""
    return {option.name: option for entry in METHODS.values() for option in entry.options}


def check(name: str, recipe: str, chosen: Mapping[str, Any], learning_rate: float | None) -> None:
    """Raise UsageError if there is no such method, or it does not have this recipe or option."""
    if name not in METHODS:
        raise UsageError(f"unknown `method` {name!r}, known: {', '.join(METHODS)}")
    entry = METHODS[name]
    if recipe not in entry.recipes:
        known = ", ".join(entry.recipes) if len(entry.recipes) > 1 else "its default alone"
        raise UsageError(f"`method` {name} has no `recipe` {recipe!r}, it has {known}")
    understood = {option.name: option for option in entry.options}
    for key, value in chosen.items():
        if key not in understood:
            having = [other for other, one in METHODS.items() if key in {option.name for option in one.options}]
            known = f"it is an option of {', '.join(having)}" if having else "no method has it"
            raise UsageError(f"`{key}` has no meaning for `method` {name}: {known}")
        if understood[key].recipes and recipe not in understood[key].recipes:
            raise UsageError(f"`{key}` has no meaning for the `recipe` {recipe} of {name}")
        understood[key].check(value)
    if learning_rate is not None and not entry.optimises:
        raise UsageError(f"`learning_rate` has no meaning for `method` {name}, which optimises nothing")


def initialiser(name: str, recipe: str) -> str:
    """Return the distribution of weights that the method expects unless one is given, see `prng`."""
    return METHODS[name].recipes[recipe].initialiser


def make(
    name: str,
    network: "Gates",
    target: "Target",
    *,
    recipe: str = DEFAULT_RECIPE,
    options: Mapping[str, Any] | None = None,
    learning_rate: float | None = None,
) -> "Method":
    """Return the method for this network, in the recipe's settings but for the options and the learning rate given."""
    chosen = METHODS[name].recipes[recipe]
    module, _, attribute = chosen.implementation.partition(":")
    implementation: type[Method] = getattr(importlib.import_module(module), attribute)
    changes = dict(options or {}) if learning_rate is None else {**(options or {}), "learning_rate": learning_rate}
    return implementation(network, target, implementation.Settings(**{**chosen.settings, **changes}))
