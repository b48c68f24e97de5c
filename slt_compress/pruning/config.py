"""The settings of pruning, of a ticket search with rewinding, and of training under a mask. Needs no torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any, TypeVar

from slt_compress.config import SearchConfig, check_numbers, with_settings
from slt_compress.errors import UsageError
from slt_compress.pruning.names import (
    CONTINUOUS_SPARSIFICATION,
    CRBG,
    FINDERS,
    MAGNITUDE,
    METHODS,
    RECIPES,
    SCOPES,
    VALUES,
)

DEFAULT_SPARSITY = 0.9
MAX_ROUNDS = 100

# What all three share with a search, by its names: data, network, seed, budget, and how a file is written.
SHARED = (
    *("dataset", "data_dir", "workers", "skip_unreadable", "input_size", "model_arguments", "initialiser", "seed"),
    *("epochs", "max_steps", "batch_size", "augment", "precision", "device", "codec", "statistics", "reference"),
)
TRAINED = SearchConfig(initialiser="kaiming-normal")  # from which training starts

_Config = TypeVar("_Config", bound="PruneConfig | FindConfig | TrainConfig")


@dataclass(frozen=True)
class PruneConfig:
    """All settings of pruning but its model; None stands for the default of method and recipe.

    Raises UsageError, when made, for what cannot be.

    Attributes:
        run: data, network, seed and budget; of a `SearchConfig` the fields in `SHARED`. The budget is for all rounds.
        method: a name in `METHODS`.
        recipe: "default" are our settings, "paper" the published ones.
        sparsity: share of gated weights that are zero, in [0, 1); None: 0.9, or with the published recipes of methods
            with gates whatever their price leaves.
        learning_rate: of the weights, or several: each is tried for the whole budget, and the best on held-out examples
            counts.
        scope: what weights are ranked against, "global" or "layer".
        rounds: of magnitude pruning: how many times weights are removed.
        round_ratio: instead of `rounds`: the share of the kept weights that each of them removes.
        initial_score: s₀ of continuous sparsification, where every score starts.
        penalty: λ, the price of a gate, in the published recipes.
        finish: share of the steps, the last ones, that train the kept weights under the final mask.
        values: how kept weights are stored, "fp32", "fp16", "int8" or "int4".
    """

    run: SearchConfig = TRAINED
    method: str = CONTINUOUS_SPARSIFICATION
    recipe: str = "default"
    sparsity: float | None = None
    learning_rate: float | Sequence[float] | None = None
    scope: str = "global"
    rounds: int | None = None
    round_ratio: float | None = None
    initial_score: float | None = None
    penalty: float | None = None
    finish: float | None = None
    values: str = "fp16"

    def __post_init__(self) -> None:
        check_numbers(self, ("sparsity", "round_ratio", "initial_score", "penalty", "finish"))
        check_choice("method", self.method, METHODS)
        check_choice("recipe", self.recipe, RECIPES)
        check_choice("values", self.values, VALUES)
        check_choice("scope", self.scope, SCOPES)
        if self.sparsity is not None:
            check_share("sparsity", self.sparsity)
        if self.learning_rate is not None:
            check_several("learning_rate", self.learning_rate)
        for rate in self.learning_rates:
            check_learning_rate(rate)
        check_rounds(self.rounds, self.round_ratio)
        if self.finish is not None:
            check_share("finish", self.finish)
        if self.initial_score is not None and not math.isfinite(self.initial_score):
            raise UsageError(f"`initial_score` must be a finite number, got {self.initial_score:g}")
        if self.penalty is not None and not (self.penalty >= 0 and math.isfinite(self.penalty)):
            raise UsageError(f"`penalty` must be 0 or larger, got {self.penalty:g}")
        of_magnitude = {"rounds": self.rounds, "round_ratio": self.round_ratio}
        of_prices = {"penalty": self.penalty}
        of_scores = {"initial_score": self.initial_score}
        if self.method != MAGNITUDE:
            _refuse(of_magnitude, f"`method={self.method}`: it is an option of {MAGNITUDE}")
        if self.method == MAGNITUDE:
            _refuse({**of_prices, **of_scores, "finish": self.finish}, f"`method={MAGNITUDE}`, which has no gates")
        if self.recipe != "paper":
            _refuse(of_prices, "`recipe=default`, which reaches the sparsity by a constraint: give `recipe=paper`")
            _refuse(of_scores, "`recipe=default`, whose gates are ranked: give `recipe=paper`")
        if self.method == CRBG:
            _refuse(of_scores, f"`method={CRBG}`: it is an option of {CONTINUOUS_SPARSIFICATION}")

    @property
    def learning_rates(self) -> tuple[float | None, ...]:
        """All that are tried; None is that of the recipe."""
        return _several(self.learning_rate)

    @property
    def asked_sparsity(self) -> float | None:
        """The sparsity that the result has exactly; None where the price of gates decides."""
        priced = self.recipe == "paper" and self.method != MAGNITUDE
        return self.sparsity if self.sparsity is not None or priced else DEFAULT_SPARSITY


@dataclass(frozen=True)
class FindConfig:
    """All settings of a ticket search with rewinding but its model; None stands for the default.

    Raises UsageError, when made, for what cannot be.

    Attributes:
        run: as in `PruneConfig`.
        method: a name in `FINDERS`.
        recipe: as in `PruneConfig`.
        sparsity: of the ticket, or of several, all of one run.
        rewind_steps: k: the step of dense training whose weights a ticket starts from; 0: the weights of the seed.
        rounds: how many times the network is trained, each time from these weights.
        learning_rate: of the weights.
        scope: as in `PruneConfig`.
        store_weights: whether a ticket holds its kept weights of step k, as fp16.
    """

    run: SearchConfig = TRAINED
    method: str = CONTINUOUS_SPARSIFICATION
    recipe: str = "default"
    sparsity: float | Sequence[float] = DEFAULT_SPARSITY
    rewind_steps: int = 0
    rounds: int | None = None
    learning_rate: float | None = None
    scope: str = "global"
    store_weights: bool = False

    def __post_init__(self) -> None:
        check_numbers(self, ("learning_rate",))
        check_choice("method", self.method, FINDERS)
        check_choice("recipe", self.recipe, RECIPES)
        check_choice("scope", self.scope, SCOPES)
        check_several("sparsity", self.sparsity)
        for one in self.sparsities:
            check_share("sparsity", one)
        if type(self.rewind_steps) is not int or self.rewind_steps < 0:
            raise UsageError(f"`rewind_steps` must be a whole number of at least 0, got {self.rewind_steps!r}")
        check_rounds(self.rounds, None)
        check_learning_rate(self.learning_rate)
        if self.run.reference:
            raise UsageError("`reference` has no meaning for weights that are yet to be trained: give it to `train`")

    @property
    def sparsities(self) -> tuple[float, ...]:
        """All that were asked for."""
        return _several(self.sparsity)


@dataclass(frozen=True)
class TrainConfig:
    """All settings of training under a mask but its ticket; None stands for the default.

    Raises UsageError, when made, for what cannot be.

    Attributes:
        run: as in `PruneConfig`.
        learning_rate: of the weights.
        values: how kept weights are stored.
        controls: whether a random mask of the same density in each layer, and the same mask on other weights, are
            trained likewise.
    """

    run: SearchConfig = TRAINED
    learning_rate: float | None = None
    values: str = "fp16"
    controls: bool = False

    def __post_init__(self) -> None:
        check_numbers(self, ("learning_rate",))
        check_choice("values", self.values, VALUES)
        check_learning_rate(self.learning_rate)


def with_shared(config: _Config, settings: Mapping[str, Any]) -> _Config:
    """Return a config with these fields changed, its own or those of `run` in `SHARED`.

    Raises UsageError for an unknown one.
    """
    own = {one.name for one in fields(config)} - {"run"}
    for name in settings:
        if name not in own and name not in SHARED:
            raise UsageError(f"unknown setting {name!r}; known: {', '.join(sorted((*own, *SHARED)))}")
    run = with_settings(config.run, {name: value for name, value in settings.items() if name in SHARED})
    if run.initialiser is None:
        run = replace(run, initialiser=TRAINED.initialiser)
    return replace(config, run=run, **{name: value for name, value in settings.items() if name in own})


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise UsageError if a setting has none of its values."""
    if value not in choices:
        raise UsageError(f"`{name}` must be one of {', '.join(choices)}, got {value!r}")


def _several(given: Any) -> tuple[Any, ...]:
    """Return what was given as one value or as several."""
    return tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else (given,)


def check_several(name: str, given: Any) -> None:
    """Raise UsageError if this is neither a number, nor several of them, none twice."""
    several = _several(given)
    if not all(isinstance(one, Real) and not isinstance(one, bool) for one in several):
        raise UsageError(f"`{name}` must be a number, or several, got {given!r}")
    if not several:
        raise UsageError(f"`{name}` is empty: give one at least")
    if len(set(several)) != len(several):
        raise UsageError(f"`{name}` has one twice: {', '.join(f'{one:g}' for one in several)}")


def check_share(name: str, value: float) -> None:
    """Raise UsageError if this is no share in [0, 1)."""
    if not 0 <= value < 1:
        raise UsageError(f"`{name}` must be at least 0 and below 1, got {value:g}")


def check_learning_rate(value: float | None) -> None:
    """Raise UsageError if this is no learning rate."""
    if value is not None and not (value > 0 and math.isfinite(value)):
        raise UsageError(f"`learning_rate` must be a positive number, got {value:g}")


def check_rounds(rounds: int | None, ratio: float | None) -> None:
    """Raise UsageError for what rounds cannot be, or where they are said twice."""
    if rounds is not None and ratio is not None:
        raise UsageError("give `rounds` or `round_ratio`, not both")
    if rounds is not None and (type(rounds) is not int or not 1 <= rounds <= MAX_ROUNDS):
        raise UsageError(f"`rounds` must be a whole number from 1 to {MAX_ROUNDS}, got {rounds!r}")
    if ratio is not None and not 0 < ratio < 1:
        raise UsageError(f"`round_ratio` must be between 0 and 1, got {ratio:g}")


def _refuse(options: Mapping[str, object], why: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise UsageError(f"`{name}` has no meaning for {why}")
