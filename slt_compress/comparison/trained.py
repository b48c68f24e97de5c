"""Networks with trained weights in a comparison: `prune:METHOD[:VALUES][:paper]`, such as prune:magnitude:int8.

At sparsity 0, all weights are trained and stored: a dense network in the form of its values.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slt_compress.errors import UsageError
from slt_compress.methods import registry
from slt_compress.pruning.names import METHODS, RECIPES, VALUES

if TYPE_CHECKING:
    from slt_compress.config import SearchConfig
    from slt_compress.pruning.config import PruneConfig

PRUNE = "prune"  # the method of such a run
GATES, STORED = "pruned_by", "values"  # its options
OPTIONS = {GATES: METHODS, STORED: VALUES}


def read_words(words: Sequence[str], text: str) -> tuple[str, dict[str, str]]:
    """Return the recipe and the options that stand behind `prune`. Raises UsageError for what they cannot be."""
    method, *rest = words or [""]
    if method not in METHODS:
        raise UsageError(f"{text!r} in `methods` should be {PRUNE}:METHOD[:VALUES], METHOD one of {', '.join(METHODS)}")
    chosen = {GATES: method}
    for word in rest:
        name = STORED if word in VALUES else "recipe" if word in RECIPES else None
        if name is None:
            raise UsageError(
                f"unknown option {word!r} of {text!r} in `methods`; known: {', '.join((*VALUES, *RECIPES))}"
            )
        if name in chosen:
            raise UsageError(f"{text!r} in `methods` gives the {name} twice")
        chosen[name] = word
    return chosen.pop("recipe", registry.DEFAULT_RECIPE), chosen


def prune_config(
    recipe: str,
    options: Mapping[str, Any],
    sparsity: float,
    seed: int,
    common: "SearchConfig",
    learning_rates: tuple[float, ...] | None,
) -> "PruneConfig":
    """Return what a run is asked for, with the data, the budget and the forms that all runs share. Without learning
    rates, its weights have that of the recipe.
    """
    from slt_compress.pruning.config import SHARED, PruneConfig, with_shared

    of_all = {name: getattr(common, name) for name in SHARED if getattr(common, name) is not None}
    chosen = {"method": options[GATES], **({"values": options[STORED]} if STORED in options else {})}
    own = {"seed": seed, "recipe": recipe, "sparsity": sparsity, "learning_rate": learning_rates}
    return with_shared(PruneConfig(), {**of_all, **own, **chosen})
