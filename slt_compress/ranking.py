"""Exact counts: how many weights a mask keeps, which ones have the highest scores, and where the threshold lies.

The asked density counts all gated weights. Where the seed has frozen some of them (Otsuka et al., arXiv:2402.14029),
only the rest is ranked, and keeps what is left of the count when the locked ones are taken off.
"""

import numpy as np
import numpy.typing as npt
import torch

from slt_compress import seeding
from slt_compress.errors import UnreachableError
from slt_compress.network import FlatNetwork

TOLERANCE = 0.005  # of the sparsity; a pattern's shares are random, so that 50 % locked weights may be 50.1 %
_SAMPLE = 1 << 16  # scores that bracket a threshold
_BLOCK = 1 << 17  # scores that stay in a cache between two comparisons
_SMALL = 1 << 18  # scores below which a sample saves nothing


def kept_count(size: int, density: float) -> int:
    """Return how many of `size` weights a mask of this density keeps, at least one."""
    return min(size, max(1, round(size * density)))


def searched_count(network: FlatNetwork, density: float) -> int:
    """Return how many free gates the mask opens: at least one where a tensor would be left empty otherwise.

    Raises UnreachableError if the gates that the seed has frozen leave no such mask within the tolerance.
    """
    if not network.free_count:
        raise UnreachableError("the seed has frozen every gate, none is left to search; lower --freeze-ratio")
    asked = kept_count(network.size, density)
    lowest, highest = sum(_least(network)), network.free_count
    count = max(lowest, min(highest, asked - network.locked_count))
    frozen = network.free_count < network.size
    if frozen and abs(count + network.locked_count - asked) > TOLERANCE * network.size:
        span = [1 - (bound + network.locked_count) / network.size for bound in (highest, lowest)]
        raise UnreachableError(
            f"sparsity {1 - density:g} cannot be reached: the frozen gates allow {span[0]:.4f} to {span[1]:.4f}; "
            "change --sparsity, --freeze-ratio or --lock-ratio"
        )
    return count


def layer_counts(network: FlatNetwork, density: float) -> list[int]:
    """Return how many free gates of each tensor the mask opens, so that each tensor has the density.

    A tensor whose frozen gates rule that out comes as near as it can, and the others make up for it, in proportion to
    the room they have. Raises UnreachableError as `searched_count` does.
    """
    searched_count(network, density)
    free = [int(part.sum()) for part in network.split(network.free)]
    wanted = [
        kept_count(slot.size, density) - int(part.sum())
        for slot, part in zip(network.slots, network.split(network.locked), strict=True)
    ]
    least = _least(network)
    counts = [max(low, min(high, count)) for low, high, count in zip(least, free, wanted, strict=True)]
    missing = max(sum(least), min(sum(free), sum(wanted))) - sum(counts)
    if missing > 0:
        return _spread(counts, [high - count for high, count in zip(free, counts, strict=True)], missing)
    return _spread(counts, [low - count for low, count in zip(least, counts, strict=True)], missing)


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


def best_of_network(
    network: FlatNetwork, scores: torch.Tensor, density: float, generator: torch.Generator
) -> torch.Tensor:
    """Return the mask of the highest scores in the whole network, flat bool, at least one weight in every tensor.

    Among equal scores a draw decides. Locked gates are open in it.
    """
    scores = scores.masked_fill(~network.free, -torch.inf)
    for part, least in zip(network.split(scores), _least(network), strict=True):
        if least:
            part[part.argmax()] = torch.inf
    return _best(scores, network.free, searched_count(network, density), generator) | network.locked


def best_of_layers(
    network: FlatNetwork, scores: torch.Tensor, density: float, generator: torch.Generator
) -> torch.Tensor:
    """Return the mask of the highest scores in each tensor, flat bool; else as `best_of_network`."""
    mask = network.locked.clone()
    parts = zip(*map(network.split, (mask, scores, network.free)), layer_counts(network, density), strict=True)
    for mask_part, scores_part, free_part, count in parts:
        mask_part |= _best(scores_part, free_part, count, generator)
    return mask


def random_mask(network: FlatNetwork, density: float, seed: int) -> torch.Tensor:
    """Return the control every claim needs: a flat bool mask from the seed, with the asked density in every tensor."""
    mask = network.locked.cpu().clone()
    free = network.free.cpu()
    counts = layer_counts(network, density)
    for slot, part, free_part, count in zip(
        network.slots, network.split(mask), network.split(free), counts, strict=True
    ):
        part[free_part] = torch.from_numpy(seeding.random_mask(seed, slot.name, int(free_part.sum()), count))
    return mask.to(network.weights.device)


def _best(scores: torch.Tensor, free: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Return the mask of the `count` highest scores among the free ones; a draw decides among equals."""
    # Not a number is the lowest score: a search that has diverged still has a mask.
    scores = scores.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    scores = scores.masked_fill_(~free, -torch.inf)
    lowest = threshold(scores, count)
    mask = (scores > lowest) & free
    equals = ((scores == lowest) & free).nonzero().squeeze(1)
    draw = torch.randperm(equals.numel(), generator=generator, device=scores.device)
    mask[equals[draw[: count - int(mask.sum())]]] = True
    return mask


def _least(network: FlatNetwork) -> list[int]:
    """Return for each tensor how many free gates must open so that it is not left empty: 1, or 0 if it cannot be."""
    parts = zip(network.split(network.free), network.split(network.locked), strict=True)
    return [int(bool(free.any()) and not bool(locked.any())) for free, locked in parts]


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
