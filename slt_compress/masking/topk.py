"""Exact counts: how many weights a mask keeps, which ones have the highest scores, and where the threshold lies.

The target density counts all gated weights. Where the seed fixes some of the gates (Otsuka et al., arXiv:2402.14029),
only the searchable ones are ranked; they keep the target count less the gates that are fixed open.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from slt_compress import prng
from slt_compress.errors import UnreachableError
from slt_compress.masking.gates import Gates

TOLERANCE = 0.005  # of the sparsity; a pattern's shares are random, so that 50 % locked weights may be 50.1 %
_SAMPLE = 1 << 16  # scores that bracket a threshold
_BLOCK = 1 << 17  # scores that stay in a cache between two comparisons
_SMALL = 1 << 18  # scores below which a sample saves nothing


def kept_count(size: int, density: float) -> int:
    """Return how many of `size` weights a mask of this density keeps, at least one."""
    return min(size, max(1, round(size * density)))


def count_to_open(network: Gates, density: float) -> int:
    """Return how many searchable gates the mask opens: at least one where a tensor would be left empty otherwise.

    Raises UnreachableError if the gates that the seed fixes leave no such mask within the tolerance.
    """
    if not network.searchable_count:
        raise UnreachableError("the seed fixes every gate, none is left to search; lower `freeze_ratio`")
    wanted = kept_count(network.size, density)
    lowest, highest = sum(_least(network)), network.searchable_count
    count = max(lowest, min(highest, wanted - network.locked_count))
    some_fixed = network.searchable_count < network.size
    if some_fixed and abs(count + network.locked_count - wanted) > TOLERANCE * network.size:
        span = [1 - (bound + network.locked_count) / network.size for bound in (highest, lowest)]
        raise UnreachableError(
            f"sparsity {1 - density:g} cannot be reached: the fixed gates allow {span[0]:.4f} to {span[1]:.4f}; "
            "change `sparsity`, `freeze_ratio` or `lock_ratio`"
        )
    return count


def layer_counts(network: Gates, density: float) -> list[int]:
    """Return how many searchable gates of each tensor the mask opens, so that each tensor has the density.

    A tensor whose fixed gates rule that out comes as near as it can, and the others make up for it, in proportion to
    the room they have. Raises UnreachableError as `count_to_open` does.
    """
    count_to_open(network, density)
    searchable = [int(part.sum()) for part in network.split(network.searchable)]
    wanted = [
        kept_count(slot.size, density) - int(part.sum())
        for slot, part in zip(network.slots, network.split(network.locked), strict=True)
    ]
    least = _least(network)
    counts = [max(low, min(high, count)) for low, high, count in zip(least, searchable, wanted, strict=True)]
    missing = max(sum(least), min(sum(searchable), sum(wanted))) - sum(counts)
    if missing > 0:
        return _spread(counts, [high - count for high, count in zip(searchable, counts, strict=True)], missing)
    return _spread(counts, [low - count for low, count in zip(least, counts, strict=True)], missing)


@dataclass(frozen=True)
class Scope:
    """Gates that are ranked against each other.

    Attributes:
        start, end: where they lie in a flat tensor.
        searchable: how many of them can be searched.
        count: how many of these the mask opens.
    """

    start: int
    end: int
    searchable: int
    count: int

    @property
    def density(self) -> float:
        """Share of the searchable gates that the mask opens."""
        return self.count / max(1, self.searchable)

    def on_the_way(self, start: float, progress: float) -> int:
        """Return how many gates are open between the share `start` (progress 0) and the mask's (1): one at least."""
        share = start + (self.density - start) * progress
        return max(min(1, self.searchable), round(share * self.searchable))


def scopes(network: Gates, density: float, *, layered: bool) -> list[Scope]:
    """Return the scopes of a ranking in each layer, or over the whole network. Raises as `count_to_open` does."""
    if not layered:
        return [Scope(0, network.weights.numel(), network.searchable_count, count_to_open(network, density))]
    searchable = [int(part.sum()) for part in network.split(network.searchable)]
    return [
        Scope(slot.offset, slot.offset + slot.size, free, count)
        for slot, free, count in zip(network.slots, searchable, layer_counts(network, density), strict=True)
    ]


def thresholds(scores: torch.Tensor, ranked: list[Scope], counts: list[int]) -> torch.Tensor:
    """Return the score that so many gates of each scope reach: a scalar, or flat where there are several scopes."""
    if len(ranked) == 1 and ranked[0].end == scores.numel():
        return threshold(scores, counts[0])
    found = torch.full_like(scores, torch.inf)  # in the padding, which is never open
    for scope, count in zip(ranked, counts, strict=True):
        found[scope.start : scope.end] = threshold(scores[scope.start : scope.end], count)
    return found


def threshold(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Return the `count`-th largest of flat float scores, a scalar, exactly; infinity for a count of 0.

    On a GPU they are sorted, which does not keep the host waiting. On a CPU, two scores of a sorted sample bracket the
    answer (Floyd & Rivest 1975); one pass counts what lies above them, and only what lies between, some per cent, is
    selected from. 11 M scores on one core: 8 ms, with torch's comparisons 33, its `kthvalue` 165, a sort 1,200.
    """
    if count == 0:
        return scores.new_full((), torch.inf)
    if scores.device.type != "cpu":
        return scores.sort(descending=True).values[count - 1].clone()  # lets go of the others
    return scores.new_tensor(_largest(scores.numpy(), count))


def _largest(scores: npt.NDArray[np.float32], count: int) -> float:
    """Return the `count`-th largest score."""
    if scores.size > _SMALL:
        sample = np.sort(scores[:: scores.size // _SAMPLE])[::-1]
        share = count / scores.size
        margin = 5 * (sample.size * share * (1 - share)) ** 0.5 + 2  # five standard errors of a rank in the sample
        high = sample[max(0, int(share * sample.size - margin))]
        low = sample[min(sample.size - 1, int(share * sample.size + margin))]
        above, parts = 0, []
        for start in range(0, scores.size, _BLOCK):
            block = scores[start : start + _BLOCK]
            above += int(np.count_nonzero(block > high))
            parts.append(block[(block >= low) & (block <= high)])
        between = np.concatenate(parts)
        if 1 <= count - above <= between.size:
            scores, count = between, count - above
    return float(np.partition(scores, scores.size - count)[scores.size - count])


def best_of_network(network: Gates, scores: torch.Tensor, density: float, generator: torch.Generator) -> torch.Tensor:
    """Return the mask of the highest scores in the whole network, flat bool, at least one weight in every tensor.

    Among equal scores a draw decides. Locked gates are open in it.
    """
    free = network.searchable
    return best_of(network, scores, free, count_to_open(network, density), generator) | network.locked


def best_of(
    network: Gates, scores: torch.Tensor, free: torch.Tensor, count: int, generator: torch.Generator
) -> torch.Tensor:
    """Return the mask of so many of the highest scores among free gates; one at least in every tensor that is empty
    otherwise and has a free one.
    """
    scores = scores.masked_fill(~free, -torch.inf)
    parts = zip(network.split(scores), network.split(free), network.split(network.locked), strict=True)
    for part, free_part, locked in parts:
        if bool(free_part.any()) and not bool(locked.any()):
            part[part.argmax()] = torch.inf
    return _best(scores, free, count, generator)


def best_of_layers(network: Gates, scores: torch.Tensor, density: float, generator: torch.Generator) -> torch.Tensor:
    """Return the mask of the highest scores in each tensor, flat bool; else as `best_of_network`."""
    mask = network.locked.clone()
    parts = zip(*map(network.split, (mask, scores, network.searchable)), layer_counts(network, density), strict=True)
    for mask_part, scores_part, searchable_part, count in parts:
        mask_part |= _best(scores_part, searchable_part, count, generator)
    return mask


def random_mask(network: Gates, density: float, seed: int) -> torch.Tensor:
    """Return the control every claim needs: a flat bool mask from the seed, with the target density in every tensor."""
    mask = network.locked.cpu().clone()
    searchable = network.searchable.cpu()
    counts = layer_counts(network, density)
    for slot, part, searchable_part, count in zip(
        network.slots, network.split(mask), network.split(searchable), counts, strict=True
    ):
        part[searchable_part] = torch.from_numpy(prng.random_mask(seed, slot.name, int(searchable_part.sum()), count))
    return mask.to(network.weights.device)


def _best(scores: torch.Tensor, searchable: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Return the mask of the `count` highest scores among the searchable ones; a draw decides among equals."""
    # Not a number is the lowest score: a search that has diverged still has a mask.
    scores = scores.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    scores = scores.masked_fill_(~searchable, -torch.inf)
    lowest = threshold(scores, count)
    mask = (scores > lowest) & searchable
    equals = ((scores == lowest) & searchable).nonzero().squeeze(1)
    draw = torch.randperm(equals.numel(), generator=generator, device=scores.device)
    mask[equals[draw[: count - int(mask.sum())]]] = True
    return mask


def _least(network: Gates) -> list[int]:
    """Return for each tensor how many searchable gates must open so that it is not left empty: 1, or 0 if none can."""
    parts = zip(network.split(network.searchable), network.split(network.locked), strict=True)
    return [int(bool(searchable.any()) and not bool(locked.any())) for searchable, locked in parts]


def _spread(counts: list[int], room: list[int], amount: int) -> list[int]:
    """Return the counts with `amount` added, in proportion to the room of each; both may be negative."""
    total, taken, given = sum(room), 0, 0
    spread = []
    for count, space in zip(counts, room, strict=True):
        taken += space
        upto = round(amount * taken / total) if total else 0
        spread.append(count + upto - given)
        given = upto
    return spread
