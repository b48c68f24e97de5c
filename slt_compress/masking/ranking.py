"""Which gates a search opens: those of the highest scores, in as many scopes as are ranked by themselves."""

from collections.abc import Callable

import torch

from slt_compress.masking import topk
from slt_compress.masking.gates import Gates
from slt_compress.masking.topk import Scope

_BELOW_ALL = 0.05  # how far below the lowest score a threshold lies that all reach
Wanted = Callable[[Scope], int]  # how many gates of a scope are open at a moment of a search


class Ranking:
    """Ranks gates over the whole network, or in each slot by itself."""

    def __init__(self, gates: Gates, density: float, *, layered: bool = False, between: bool = False) -> None:
        """Rank gates. With `between`, a threshold lies in the middle between the last gate above and the first below
        it, for scopes so small that a gate which is the threshold, and never leaves it, would count.

        Raises UnreachableError if the gates that the seed fixes rule the density out.
        """
        self._gates = gates
        self._between = between
        self._density = density
        self._layered = layered
        self.scopes = topk.scopes(gates, density, layered=layered)

    def densities(self) -> list[float]:
        """Return the share of the searchable gates of each kind that is open at the end."""
        return [max(1, topk.count_to_open(self._gates, self._density)) / self._gates.searchable_count]

    def thresholds(self, scores: torch.Tensor, wanted: Wanted) -> torch.Tensor:
        """Return what the scores of as many gates reach as are wanted: a scalar, or flat where it differs."""
        counts = [wanted(scope) for scope in self.scopes]
        last = topk.thresholds(scores, self.scopes, counts)
        if not self._between:
            return last
        more = [min(count + 1, scope.searchable) for count, scope in zip(counts, self.scopes, strict=True)]
        first = topk.thresholds(scores, self.scopes, more)
        middle = torch.where(last == first, last - _BELOW_ALL, (last + first) / 2)
        return torch.where(last.isinf(), last, middle)

    def mask(self, scores: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the final mask, flat bool, of exactly the density. Among equal scores a draw decides."""
        best = topk.best_of_layers if self._layered else topk.best_of_network
        return best(self._gates, scores, self._density, generator)

    def random_mask(self, seed: int) -> torch.Tensor:
        """Return a mask from the seed, flat bool, with the density in every slot."""
        return topk.random_mask(self._gates, self._density, seed)
