"""Drift: statistics against slow ones, and limits that hold what they promise, for small samples too."""

import math
from fractions import Fraction

import numpy as np
import pytest

from slt_compress.monitoring import drift
from slt_compress.ticket.held_out import Bins, count

TAILS = np.diff([0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 1])
ENDS = np.diff([0, 0.01, 0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99, 1])
RARE = np.array([0.4, 0.3, 0.2, 0.05, 0.03, 0.01, 0.005, 0.003, 0.001, 0.001])
MANY = np.full(48, 1 / 48)
CHANCE = 0.002
SAMPLES = 8_000


@pytest.mark.parametrize("window", [30, 100, 2000])
@pytest.mark.parametrize("reference", [143, 5000])
def test_unchanged_images_are_above_the_limits_no_more_often_than_promised(reference: int, window: int) -> None:
    """Edges are quantiles of the reference: its counts are fixed, and the shares of later images in its bins are those
    of a Dirichlet distribution, which holds for whatever the quantity is distributed like.
    """
    generator = np.random.default_rng(reference * window)
    above = 0
    for shares in (ENDS, TAILS):
        counts = np.floor(shares * reference).astype(np.int64)
        counts[-1] += reference - counts.sum()
        shares_seen = generator.dirichlet(counts + 1e-9, SAMPLES)
        for seen in generator.multinomial(window, shares_seen):
            above += _above(counts, seen, ordered=True)
    assert above <= _most(2 * 2 * SAMPLES)  # two tests of two quantities


@pytest.mark.parametrize("shares", [RARE, MANY])
@pytest.mark.parametrize(("reference", "window"), [(143, 2000), (5000, 100)])
def test_unchanged_classes_are_above_the_limit_no_more_often_than_promised(
    shares: np.ndarray[tuple[int], np.dtype[np.float64]], reference: int, window: int
) -> None:
    generator = np.random.default_rng(reference * window)
    known, seen = generator.multinomial(reference, shares, SAMPLES), generator.multinomial(window, shares, SAMPLES)
    above = sum(_above(a, b, ordered=False) for a, b in zip(known, seen, strict=True))
    assert above <= _most(SAMPLES)


def _above(known: drift.Counts, seen: drift.Counts, *, ordered: bool) -> int:
    reference, window = drift.joined(known.tolist(), seen.tolist())
    if len(reference) < 2:
        return 0
    psi = drift.psi(reference, window) > _limit(len(reference)) * (1 / reference.sum() + 1 / window.sum())
    return int(psi) + int(ordered and drift.ks(reference, window) > drift.ks_limit(reference, window, CHANCE))


def _limit(bins: int, known: dict[int, float] = {}) -> float:  # noqa: B006, it is the memory
    if bins not in known:
        known[bins] = drift.chi_squared_limit(CHANCE, bins - 1)
    return known[bins]


def _most(tests: int) -> float:
    """Return how many of so many tests may be above by the promise, and three deviations of that number."""
    return CHANCE * tests + 3 * math.sqrt(CHANCE * tests)


def test_a_shift_is_found() -> None:
    """Half a standard deviation, with the chance of a window's test: always in 500 images, often in 100."""
    generator = np.random.default_rng(0)
    bins = Bins.of(generator.normal(size=5000))
    found = {}
    for images in (100, 500):
        above = 0
        for _ in range(200):
            seen = count(generator.normal(0.5, 1, images), bins.edges)
            reference, window = drift.joined(bins.counts, seen)
            above += drift.ks(reference, window) > drift.ks_limit(reference, window, 0.01 / 19)
        found[images] = above / 200
    assert found[500] == 1
    assert found[100] > 0.6


def test_the_statistics_are_those_of_the_formulas() -> None:
    reference, window = np.array([10, 20, 30]), np.array([30, 6, 4])
    r, w = [11 / 63, 21 / 63, 31 / 63], [31 / 43, 7 / 43, 5 / 43]
    assert drift.psi(reference, window) == pytest.approx(
        sum((b - a) * math.log(b / a) for a, b in zip(r, w, strict=True))
    )
    assert drift.ks(reference, window) == pytest.approx(30 / 40 - 10 / 60)
    assert drift.psi(reference, reference) == drift.ks(reference, reference) == 0
    assert drift.psi_limit(reference, window, 0.01) == pytest.approx(9.21034 * (1 / 60 + 1 / 40))
    assert drift.ks_limit(reference, window, 0.01) == pytest.approx(math.sqrt(math.log(200) / 2 * (1 / 60 + 1 / 40)))


@pytest.mark.parametrize(
    ("freedom", "value", "chance"), [(1, 6.634897, 0.01), (9, 27.877165, 0.001), (4, 9.487729, 0.05)]
)
def test_chi_squared_is_that_of_the_tables(freedom: int, value: float, chance: float) -> None:
    assert drift.chi_squared_above(value, freedom) == pytest.approx(chance, rel=1e-5)
    assert drift.chi_squared_limit(chance, freedom) == pytest.approx(value, rel=1e-6)
    assert drift.chi_squared_above(1e6, freedom) == 0


def test_bins_are_joined_until_each_has_its_images() -> None:
    reference, window = drift.joined([1, 4, 5, 90], [0, 0, 0, 50])
    assert reference.tolist() == [10, 90]
    assert window.tolist() == [0, 50]
    assert drift.joined([50, 50, 1], [1000, 0, 7])[0].tolist() == [50, 51]
    assert drift.joined([3], [3])[0].tolist() == [3]
    assert drift.joined([0, 0], [3, 5])[1].tolist() == [8]


def test_fewer_right_images_have_the_probability_of_the_hypergeometric_distribution() -> None:
    def slow(right: int, images: int, known_right: int, known: int) -> Fraction:
        total, all_right = images + known, right + known_right
        ways = [math.comb(all_right, k) * math.comb(total - all_right, images - k) for k in range(right + 1)]
        return Fraction(sum(ways), math.comb(total, images))

    for numbers in ((3, 10, 18, 20), (0, 5, 9, 9), (10, 10, 15, 30), (40, 50, 95, 100)):
        assert drift.fewer_right(*numbers) == pytest.approx(float(slow(*numbers)), rel=1e-9)
    assert drift.fewer_right(50, 100, 900, 1000) < 1e-19
    assert drift.fewer_right(90, 100, 900, 1000) > 0.4
