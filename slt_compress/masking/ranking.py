"""Which gates a search opens: those of the highest scores, in as many scopes as are ranked by themselves."""

from collections.abc import Callable

import torch

from slt_compress.masking import topk
from slt_compress.masking.gates import Gates
from slt_compress.masking.topk import Scope

Wanted = Callable[[Scope], int]  # how many gates of a scope are open at a moment of a search


class Ranking:
    """Ranks gates over the whole network, or in each slot by itself."""

    def __init__(self, gates: Gates, density: float, *, layered: bool = False) -> None:
        """Raises UnreachableError if the gates that the seed fixes rule the density out."""
        self._gates = gates
        self._density = density
        self._layered = layered
        self.scopes = topk.scopes(gates, density, layered=layered)

    def densities(self) -> list[float]:
        """Return the share of the searchable gates of each kind that is open at the end."""
        return [max(1, topk.count_to_open(self._gates, self._density)) / self._gates.searchable_count]

    def thresholds(self, scores: torch.Tensor, wanted: Wanted) -> torch.Tensor:
        """Return the score that as many gates reach as are wanted: a scalar, or flat where it differs."""
        return topk.thresholds(scores, self.scopes, [wanted(scope) for scope in self.scopes])

    def mask(self, scores: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the final mask, flat bool, of exactly the density. Among equal scores a draw decides."""
        best = topk.best_of_layers if self._layered else topk.best_of_network
        return best(self._gates, scores, self._density, generator)

    def random_mask(self, seed: int) -> torch.Tensor:
        """Return a mask from the seed, flat bool, with the density in every slot."""
        return topk.random_mask(self._gates, self._density, seed)
