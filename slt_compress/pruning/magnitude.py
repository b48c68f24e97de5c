"""`magnitude`: the smallest weights go, in rounds, while the others are trained.

Han et al. (arXiv:1506.02626); with weights rewound after each round, see `rounds`, Frankle & Carbin (arXiv:1803.03635).
"""

import math
from collections.abc import Callable
from typing import Any

import torch

from slt_compress.masking.ranking import Ranking
from slt_compress.pruning.config import PruneConfig
from slt_compress.pruning.network import TrainedNetwork
from slt_compress.pruning.steps import Follower
from slt_compress.pruning.trainer import WeightTrainer

ROUNDS = 20  # of the default recipe, in the part of the run between the next two
START, UNTIL = 0.2, 0.6
PAPER_RATIO = 0.2  # of the kept weights, a round: Frankle & Carbin, section 2


class Magnitude(Follower):
    """Removes weights in rounds of equal ratios, the smallest of the whole network or of each layer.

    By default all rounds lie between 20 % and 60 % of one training with one schedule of the learning rate, and weights
    are compared by `adaptive_magnitudes`. In the published recipe there is a training of equal length before each round
    and after the last, each with its own schedule, and the magnitudes themselves are compared.
    """

    def __init__(self, config: PruneConfig, steps: int, generator: torch.Generator, *, trained: bool = False) -> None:
        """Plan the rounds of a run of so many steps; `trained` says that it starts from trained weights."""
        super().__init__(generator)
        assert config.asked_sparsity is not None
        self._layered = config.scope == "layer"
        self._separate = config.recipe == "paper"
        density = 1 - config.asked_sparsity
        rounds = config.rounds
        if config.round_ratio or (rounds is None and self._separate):
            rounds = rounds_for(density, config.round_ratio or PAPER_RATIO)
        self._rounds = rounds or ROUNDS
        start = 0.0 if trained else START
        last = max(1, self._rounds - 1)
        self._densities: dict[int, float] = {}
        for index in range(self._rounds):
            share = (index + 1) / (self._rounds + 1) if self._separate else start + (UNTIL - start) * index / last
            self._densities[min(steps - 1, int(steps * share))] = density ** ((index + 1) / self._rounds)
        self._steps = steps

    def settings(self) -> dict[str, Any]:
        """Return what a ticket records of it."""
        return {"rounds": self._rounds, "scope": "layer" if self._layered else "global"}

    def begin(self, trainer: WeightTrainer) -> None:
        if 0 in self._densities:
            self.after(0, trainer)
        elif self._separate:
            trainer.restart(0, min(self._densities))

    def after(self, done: int, trainer: WeightTrainer) -> None:
        if done not in self._densities:
            return
        scores = magnitudes if self._separate else adaptive_magnitudes
        trainer.harden(highest_kept(trainer.network, scores, self._densities[done], self._generator, self._layered))
        if self._separate:
            ends = [*(step for step in self._densities if step > done), self._steps]
            trainer.restart(done, min(ends) - done)


def magnitudes(network: TrainedNetwork) -> torch.Tensor:
    """Return |w|, flat."""
    return network.weights.abs()


def adaptive_magnitudes(network: TrainedNetwork) -> torch.Tensor:
    """Return w² over the sum of the squares of all weights of the tensor that are not smaller, flat: LAMP scores.

    Lee et al. (arXiv:2010.07611): what removing a weight, after all larger ones would stay, does to a layer's output.
    Scales of layers, and which layers are wide, do not count then; the largest weight of each has the score 1.
    """
    scores = torch.zeros_like(network.weights)
    parts = zip(network.split(scores), network.split(network.weights * network.mask), strict=True)
    for part, weights in parts:
        squares, order = weights.square().sort(descending=True)
        part[order] = squares / squares.cumsum(0).clamp_min(torch.finfo(squares.dtype).tiny)
    return scores


def highest_kept(
    network: TrainedNetwork,
    score: Callable[[TrainedNetwork], torch.Tensor],
    density: float,
    generator: torch.Generator,
    layered: bool = False,
) -> torch.Tensor:
    """Return the mask of the weights with the highest scores among those that are kept, flat bool, of exactly this
    density. Every tensor keeps one at least; a draw decides among equals.
    """
    scores = score(network).masked_fill(~network.mask, -1.0)
    return Ranking(network, density, layered=layered).mask(scores, generator)


def rounds_for(density: float, ratio: float) -> int:
    """Return after how many rounds, each removing this share of the kept weights, at most this density is left."""
    return max(1, math.ceil(math.log(max(density, 1e-9)) / math.log(1 - ratio) - 1e-9))
