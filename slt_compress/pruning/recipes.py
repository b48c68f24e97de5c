"""How the weights of a network are trained under gates: the optimiser and its learning rate."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from slt_compress.pruning.names import CONTINUOUS_SPARSIFICATION, CRBG, MAGNITUDE
from slt_compress.training.recipes import PLAIN, recipe_for


@dataclass(frozen=True)
class WeightRecipe:
    """An optimiser of weights.

    Attributes:
        learning_rate: at the beginning, or after the warm-up.
        optimiser: "adam", with decoupled weight decay, or "sgd", with momentum.
        weight_decay: of gated weights.
        momentum: of sgd.
        warmup: share of a schedule in which the learning rate rises.
        drops: shares of a schedule after which it is divided by 10; without drops it falls to 0 as a cosine.
    """

    learning_rate: float
    optimiser: str = "adam"
    weight_decay: float = 0.0
    momentum: float = 0.0
    warmup: float = 0.0
    drops: tuple[float, ...] = ()

    def make(self, weights: nn.Parameter, others: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return an optimiser of the gated weights, with weight decay, and of all others, without."""
        groups: list[dict[str, Any]] = [
            {"params": [weights], "weight_decay": self.weight_decay},
            {"params": list(others), "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        if self.optimiser == "sgd":
            return torch.optim.SGD(groups, self.learning_rate, momentum=self.momentum, fused=True)
        return torch.optim.AdamW(groups, self.learning_rate, fused=True)

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step, counted from 0, of a schedule of so many."""
        if self.drops:
            return self.learning_rate * 0.1 ** sum(step >= drop * steps for drop in self.drops)
        rise = min(1.0, (step + 1) / (self.warmup * steps)) if self.warmup else 1.0
        return self.learning_rate * rise * (1 + math.cos(math.pi * step / steps)) / 2

    def settings(self) -> dict[str, Any]:
        """Return it as a ticket records it."""
        found = asdict(self)
        return {**found, "drops": list(self.drops)}


DECAY = 1.0  # of gated weights, times the learning rate: without it, what nothing moves stays as large as it was drawn
DECAY_OF_TRAINED = 10.0  # whose learning rate is a tenth

# SGD with momentum 0.9, learning rate 0.1 and weight decay 1e-4, divided by 10 after 56 and 71 of 85 epochs: section 4
# of Savarese et al. (arXiv:1912.04427), for ResNets on CIFAR-10.
PAPER = WeightRecipe(0.1, "sgd", 1e-4, 0.9, drops=(56 / 85, 71 / 85))


def weight_recipe(
    module: nn.Module, name: str, learning_rate: float | None, *, method: str = "", trained: bool = False
) -> WeightRecipe:
    """Return the recipe, "default" or "paper", of a network's kind and a method, with a learning rate if one is given.

    By default that of dense training, at its highest rate; at the middle one for transformers and for noisy gates, and
    at the lowest if the weights are `trained` already. Magnitudes are compared, so what is not needed must decay.
    """
    if name == "paper":
        chosen = PAPER
    else:
        dense = recipe_for(module)
        low, middle, high = dense.learning_rates
        plain = dense is PLAIN
        rate = low if trained else high if plain and method != CRBG else middle
        decay = dense.weight_decay
        if plain and method in {MAGNITUDE, CONTINUOUS_SPARSIFICATION}:
            decay = DECAY_OF_TRAINED if trained else DECAY
        chosen = WeightRecipe(rate, weight_decay=decay, warmup=dense.warmup)
    return chosen if learning_rate is None else replace(chosen, learning_rate=learning_rate)
