"""How the weights of a network are usually trained, by its kind."""

import math
from dataclasses import dataclass

from torch import nn

from slt_compress.masking.parameters import residual_branches


@dataclass(frozen=True)
class DenseRecipe:
    """How the weights of a kind of network are usually trained.

    Attributes:
        learning_rates: what is tried, falling to 0 as a cosine.
        weight_decay: decoupled (AdamW, Loshchilov & Hutter 2019); 0: plain Adam.
        warmup: share of the steps in which the learning rate rises.
    """

    learning_rates: tuple[float, ...]
    weight_decay: float = 0.0
    warmup: float = 0.0

    def factor(self, step: int, steps: int) -> float:
        """Return what the learning rate of a step, counted from 0, is multiplied with."""
        rise = min(1.0, (step + 1) / (self.warmup * steps)) if self.warmup else 1.0
        return rise * (1 + math.cos(math.pi * step / steps)) / 2

    def tried(self, learning_rate: float | None) -> tuple[float, ...]:
        """Return the learning rates that a run tries: the one that was given, or all."""
        return self.learning_rates if learning_rate is None else (learning_rate,)

    def describe(self, learning_rate: float | None) -> str:
        """Return a sentence about it, with the learning rate if one was given."""
        rates = ", ".join(f"{rate:g}" for rate in self.learning_rates)
        optimiser = f"AdamW of weight decay {self.weight_decay:g}" if self.weight_decay else "Adam"
        warmup = f", rising for {self.warmup:.0%} of the steps and" if self.warmup else ""
        rate = (
            f"learning rate {learning_rate:g}{warmup} falling to 0 as a cosine"
            if learning_rate is not None
            else f"each run with the best on held-out images of the learning rates {rates}{warmup} falling to 0 as a "
            "cosine, each tried for the whole budget"
        )
        return f"all weights trained with {optimiser}, {rate}."


PLAIN = DenseRecipe((1e-3, 3e-3, 1e-2))
OF_TRANSFORMERS = DenseRecipe((3e-4, 1e-3, 3e-3), weight_decay=0.05, warmup=0.1)


def recipe_for(module: nn.Module) -> DenseRecipe:
    """Return the recipe of a network's kind: with residual branches behind LayerNorms, or without."""
    return OF_TRANSFORMERS if residual_branches(module) else PLAIN
