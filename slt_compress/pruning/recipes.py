"""How the weights of a network are trained under gates: the optimiser and its learning rate."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

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


# SGD with momentum 0.9, learning rate 0.1 and weight decay 1e-4, divided by 10 after 56 and 71 of 85 epochs: section 4
# of Savarese et al. (arXiv:1912.04427), for ResNets on CIFAR-10.
PAPER = WeightRecipe(0.1, "sgd", 1e-4, 0.9, drops=(56 / 85, 71 / 85))


def weight_recipe(module: nn.Module, name: str, learning_rate: float | None, *, trained: bool = False) -> WeightRecipe:
    """Return the recipe of a network's kind, "default" or "paper", with a learning rate if one is given.

    That of dense training, at its highest rate, for transformers at the middle one; at the lowest if the weights are
    `trained` already.
    """
    if name == "paper":
        chosen = PAPER
    else:
        dense = recipe_for(module)
        low, middle, high = dense.learning_rates
        rate = low if trained else high if dense is PLAIN else middle
        chosen = WeightRecipe(rate, weight_decay=dense.weight_decay, warmup=dense.warmup)
    if learning_rate is None:
        return chosen
    return WeightRecipe(**{**asdict(chosen), "learning_rate": learning_rate})
