r"""How far counts in bins are from those of a reference, and how far they may be by chance. Numpy alone.

For shares r of the reference and w of the window in the same bins, the population stability index is

    PSI = Σ (w - r) ln(w / r),

the divergence of Jeffreys (1946), and the Kolmogorov–Smirnov statistic is the largest difference of the cumulative
shares. Both are zero for equal shares, and neither is for two samples of the same images: PSI·nm/(n+m) is then about
chi-squared with a degree of freedom less than there are bins (Yurdakul and Naranjo 2020), and KS exceeds d with a
probability of at most 2·exp(-2d²·nm/(n+m)) (Massart 1990, whose bound holds for two samples of a usual size too: Wei
and Dudley 2012), where n and m are the sizes of reference and window. So the sampling error of the reference counts as
much as that of the window. That the edges are quantiles of the reference changes nothing to this order.

Small counts would spoil the approximation. Neighbouring bins are put together until at least `FEWEST` images are
expected in each, and each gets one image more in both samples: then PSI is above its limit no more often than it should
be, however small the window (`tests/monitoring/test_drift.py`).
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FEWEST = 5  # expected in a bin

Counts = npt.NDArray[np.int64]


def joined(reference: Sequence[int], window: Sequence[int]) -> tuple[Counts, Counts]:
    """Return the counts in bins that are wide enough, see above. What is put together depends on the window's size
    alone, not on where its images lie.
    """
    share = min(1.0, sum(window) / max(1, sum(reference)))
    ends, held = [], 0
    for index, number in enumerate(reference):
        held += number
        if held * share >= FEWEST:
            ends.append(index + 1)
            held = 0
    ends = [*ends[:-1], len(reference)]  # what is left belongs to the last bin
    starts = [0, *ends[:-1]]
    return np.add.reduceat(np.array(reference), starts), np.add.reduceat(np.array(window), starts)


def psi(reference: Counts, window: Counts) -> float:
    """Return the population stability index of counts in the same bins."""
    r = (reference + 1) / (reference.sum() + len(reference))
    w = (window + 1) / (window.sum() + len(window))
    return float(((w - r) * np.log(w / r)).sum())


def psi_limit(reference: Counts, window: Counts, chance: float) -> float:
    """Return what PSI is above with this probability, where both samples are of the same images."""
    return chi_squared_limit(chance, len(reference) - 1) / _effective(reference, window)


def ks(reference: Counts, window: Counts) -> float:
    """Return the Kolmogorov–Smirnov statistic of counts in the same bins, in order."""
    return float(np.abs(np.cumsum(reference / reference.sum() - window / window.sum())).max())


def ks_limit(reference: Counts, window: Counts, chance: float) -> float:
    """Return what KS is above with at most this probability, where both samples are of the same images."""
    return math.sqrt(math.log(2 / chance) / (2 * _effective(reference, window)))


def fewer_right(right: int, images: int, reference_right: int, reference_images: int) -> float:
    """Return the probability that no more of the images of a window are right, where its accuracy is the reference's.

    That is Fisher's exact test: of all images that are right, the window has drawn its share.
    """
    total, all_right = images + reference_images, right + reference_right
    lowest = max(0, images - (total - all_right))
    logs = [_log_choose(all_right, k) + _log_choose(total - all_right, images - k) for k in range(lowest, right + 1)]
    return min(1.0, float(np.exp(np.array(logs) - _log_choose(total, images)).sum()))


def chi_squared_above(value: float, freedom: int) -> float:
    """Return the probability that a chi-squared variable is above a value."""
    half = value / 2
    if freedom % 2:
        terms = [math.pow(half, i - 0.5) / math.gamma(i + 0.5) for i in range(1, freedom // 2 + 1)]
        return math.erfc(math.sqrt(half)) + math.exp(-half) * sum(terms)
    return math.exp(-half) * sum(half**i / math.factorial(i) for i in range(freedom // 2))


def chi_squared_limit(chance: float, freedom: int) -> float:
    """Return what a chi-squared variable is above with this probability."""
    low, high = 0.0, 4 * freedom + 100.0 - 4 * math.log(chance)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if chi_squared_above(middle, freedom) > chance else (low, middle)
    return high


def _effective(reference: Counts, window: Counts) -> float:
    n, m = int(reference.sum()), int(window.sum())
    return n * m / (n + m)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
