"""Scales of rows: what the slow search finds, never worse than the plain ones, and better where it matters."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from slt_compress.ticket import scales

MOST = sorted(scales.SHARES)


def plain(row: npt.NDArray[np.float32], most: int) -> np.float32:
    found = np.abs(row).max(initial=np.float32(0)) / np.float32(most)
    return found if found >= np.finfo(np.float32).tiny else np.float32(1)


def error(row: npt.NDArray[np.float32], scale: np.float32, most: int) -> float:
    """The squared error of a row, a weight after the other."""
    total = 0.0
    for weight in row:
        number = min(max(round(float(weight / scale)), -most), most)
        total += (float(scale * np.float32(number)) - float(weight)) ** 2
    return total


def slow(row: npt.NDArray[np.float32], most: int) -> np.float32:
    """The search for the scale of one row."""
    start = best = plain(row, most)
    candidates = [start * np.float32(share) for share in scales.SHARES[most]]
    for scale in candidates:
        if scale >= np.finfo(np.float32).tiny and error(row, scale, most) < error(row, best, most):
            best = scale
    for _ in range(4):
        numbers = [min(max(round(float(weight / best)), -most), most) for weight in row]
        squares = sum(number * number for number in numbers)
        products = sum(float(weight) * number for weight, number in zip(row, numbers, strict=True))
        moved = np.float32(products / squares) if squares else best
        if moved >= np.finfo(np.float32).tiny and error(row, moved, most) < error(row, best, most):
            best = moved
    return best


@pytest.mark.parametrize("most", MOST)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_rows_are_as_good_as_those_of_the_slow_search_and_as_the_plain_ones(most: int, data: st.DataObject) -> None:
    weights = data.draw(arrays(np.float32, st.integers(0, 12), elements=st.floats(-1000, 1000, width=32)))
    rows = np.sort(data.draw(arrays(np.int64, weights.size, elements=st.integers(0, 3))))
    found, numbers = scales.quantised(weights, rows, 4, most)
    again = scales.quantised(weights, rows, 4, most)
    assert np.array_equal(found, again[0])
    assert np.array_equal(numbers, again[1])
    assert (np.abs(numbers.astype(int)) <= most).all()
    assert (found > 0).all()
    for index in range(4):
        row = weights[rows == index]
        lost = error(row, found[index], most)
        assert lost <= error(row, plain(row, most), most)
        assert lost == pytest.approx(error(row, slow(row, most), most), rel=1e-6, abs=1e-60)
        expected = [min(max(round(float(weight / found[index])), -most), most) for weight in row]
        assert numbers[rows == index].tolist() == expected


@pytest.mark.parametrize("most", MOST)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_rounded_weights_stay_as_they_are(most: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 40))
    weights = np.random.default_rng(data.draw(st.integers(0, 999))).standard_normal(count, np.float32)
    rows = np.zeros(count, np.int64)
    found, numbers = scales.quantised(weights, rows, 1, most)
    once = found[rows] * numbers.astype(np.float32)
    found, numbers = scales.quantised(once, rows, 1, most)
    assert np.allclose(found[rows] * numbers.astype(np.float32), once, rtol=1e-6, atol=0)


def test_normal_weights_lose_less_than_with_plain_scales() -> None:
    draw = np.random.default_rng(0)
    weights = draw.standard_normal(8000, np.float32)
    rows = np.repeat(np.arange(8), 1000)
    for most, worth in ((7, 0.75), (127, 1.0)):
        found, _ = scales.quantised(weights, rows, 8, most)
        pairs = [(weights[rows == index], found[index]) for index in range(8)]
        assert sum(error(row, scale, most) for row, scale in pairs) < worth * sum(
            error(row, plain(row, most), most) for row, _ in pairs
        )


@pytest.mark.parametrize("most", MOST)
def test_the_ends_of_float32(most: int) -> None:
    weights = np.array([3.4e38, -3.4e38, 1e-44, 0, 0], np.float32)
    found, numbers = scales.quantised(weights, np.array([0, 0, 1, 2, 2]), 4, most)
    assert numbers.tolist() == [most, -most, 0, 0, 0]
    assert np.isfinite(found[0] * np.float32(most))
    assert found[1:].tolist() == [1, 1, 1]
