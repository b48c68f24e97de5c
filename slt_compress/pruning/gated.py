"""`continuous-sparsification` and `crbg` with trained weights: gates are optimised beside the weights, then fixed.

The gates are those of a search, `slt_compress.methods`; here d loss / d weights is used as well. In the published form
of continuous sparsification (Savarese et al., arXiv:1912.04427)

    minimise over w and s    loss(sigmoid(β·s) · w) + λ·‖sigmoid(β·s)‖₁,    β from 1 to 200 exponentially,

and w·H(s) is what is left, H(s) = 1 where s > 0. In the published code (lolemacs/continuous-sparsification) the gate is
`compute_mask` of models/layers.py; main.py has the loss, and β rises once an epoch there. In the published form
of `crbg` (Yamada et al. 2020; arXiv:2603.08914) the gate is clip(μ + σ·ε, 0, 1), and λ·ΣΦ(μ/σ) its price. By default a
threshold that all scores are compared with moves to the asked density, as in a search, and the last part of the run
trains the kept weights under the final mask.
"""

from typing import Any

import torch

from slt_compress.masking.gates import Gates
from slt_compress.methods import registry
from slt_compress.methods.base import Method, Target
from slt_compress.pruning.config import DEFAULT_SPARSITY, PruneConfig
from slt_compress.pruning.names import CONTINUOUS_SPARSIFICATION
from slt_compress.pruning.priced import PricedContinuousSparsification, PricedSettings
from slt_compress.pruning.steps import Follower
from slt_compress.pruning.trainer import WeightTrainer

FINISH = 0.25  # share of the steps under the final mask
PAPER_FINISH = 0.0
THINNED = 0.8  # share of the other steps after which weights of a seed have the asked sparsity, see docs/pruning.md


class GatedPruning(Follower):
    """Optimises gates of a method for the first part of a run, and fixes them."""

    def __init__(self, config: PruneConfig, steps: int, generator: torch.Generator, *, trained: bool = False) -> None:
        """Plan a run of so many steps; `trained` says that it starts from trained weights."""
        super().__init__(generator)
        usual = PAPER_FINISH if config.recipe == "paper" else FINISH
        finish = usual if config.finish is None else config.finish
        self._soft_steps = max(1, steps - int(steps * finish))
        self._config = config
        self._trained = trained
        self._method: Method | None = None

    def settings(self) -> dict[str, Any]:
        """Return what a ticket records of it."""
        assert self._method
        return {**self._method.settings(), "soft_steps": self._soft_steps}

    def begin(self, trainer: WeightTrainer) -> None:
        """Put gates on the network."""
        config, sparsity = self._config, self._config.asked_sparsity
        density = 1 - (DEFAULT_SPARSITY if sparsity is None else sparsity)
        options: dict[str, Any] = {"scope": config.scope}
        if config.initial_score is not None:
            options["initial_score"] = config.initial_score
        if config.penalty is not None:
            options["penalty"] = config.penalty
        if (config.method, config.recipe) == (CONTINUOUS_SPARSIFICATION, "default") and not self._trained:
            options["target_until"] = THINNED
        target = Target(density, self._soft_steps, config.run.seed, self._generator)
        self._method = make(config.method, trainer.network, target, config.recipe, options)
        if self._trained:  # half-open gates would halve them
            network = trainer.network
            network.weights.div_(self._method.gate(0)[network.searchable].mean())
        trainer.soften(self._method)

    def after(self, done: int, trainer: WeightTrainer) -> None:
        if done != self._soft_steps:
            return
        assert self._method
        natural = self._config.asked_sparsity is None
        mask = self._method.hard_gate().clone() if natural else self._method.mask()
        trainer.harden(keep_one(trainer, mask) if natural else mask)


def make(name: str, network: Gates, target: Target, recipe: str, options: dict[str, Any]) -> Method:
    """Return the gates of a method in one of its recipes; the default of continuous sparsification is `priced`."""
    if (name, recipe) == (CONTINUOUS_SPARSIFICATION, "default"):
        return PricedContinuousSparsification(network, target, PricedSettings(**options))
    return registry.make(name, network, target, recipe=recipe, options=options)


def keep_one(trainer: WeightTrainer, mask: torch.Tensor) -> torch.Tensor:
    """Return a mask, flat bool, that keeps the largest weight of each tensor that would be left empty."""
    network = trainer.network
    found = mask & network.searchable
    for part, weights in zip(network.split(found), network.split(network.weights), strict=True):
        if not bool(part.any()):
            part[weights.abs().argmax()] = True
    return found
