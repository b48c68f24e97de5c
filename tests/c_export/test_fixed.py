"""Grids hold what they were measured on, and multipliers turn sums into bytes as real numbers would."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slt_compress.c_export.fixed import FRACTION, Grid, grids, multipliers, ratio
from slt_compress.c_export.network import Affine, Layer, Network, Pool, Pooling, Prepare, Window
from slt_compress.c_export.reference import POOLED

ONE = np.ones(1, np.float32)
PLANE = (1, 4, 4)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_grid_holds_its_range_and_zero_exactly(a: float, b: float) -> None:
    low, high = sorted((a, b))
    grid = Grid.of(low, high)
    assert 0 <= grid.zero <= 255
    assert grid.byte(0.0) == grid.zero
    for value in (low, high):
        assert abs((grid.byte(value) - grid.zero) * grid.step - value) <= 0.51 * grid.step


def test_what_is_out_of_range_becomes_the_nearest_byte() -> None:
    assert Grid.of(0, 1).byte(float("inf")) == 255
    assert Grid.of(-1, 1).byte(float("-inf")) == 0
    assert Grid.of(0, 0) == Grid(1.0, 0)


@given(st.floats(1e-6, 1e3), st.floats(-100, 100), st.integers(-(2**17), 2**17))
def test_a_sum_becomes_what_real_numbers_give(factor: float, offset: float, total: int) -> None:
    source, result = Grid(0.01, 3), Grid(0.5, 100)
    factors = np.array([factor, factor / 7], np.float32)
    step = Affine("y", ("x",), (2, 1, 1), factors, np.full(2, offset, np.float32))
    pairs, shift = multipliers(step, source, result)
    for (multiplier, added), one in zip(pairs.tolist(), factors.tolist(), strict=True):
        found = ((total * multiplier >> shift) + added) / 2**FRACTION
        wanted = (total * source.step * one + offset) / result.step
        assert found == pytest.approx(wanted, rel=1e-5, abs=1e-3)


def test_a_ratio_is_of_steps() -> None:
    assert ratio(Grid(0.5, 0), Grid(0.25, 9)) == 2 * 2**FRACTION


def test_ranges_are_measured_and_kept_where_values_are() -> None:
    window = Window((2, 2), (2, 2))
    pooling, mean = (Pooling(kind, window, PLANE, (1, 2, 2)) for kind in ("max", "mean"))
    steps = (
        Prepare("p", ("x",), PLANE),
        Pool("a", ("p",), (1, 2, 2), pooling),
        Layer("b", ("p",), (1, 2, 2), "w", PLANE, Window((1, 1)), 1, ONE, ONE * 0, PLANE, pooling=pooling),
        Layer("c", ("p",), (1, 2, 2), "w", PLANE, Window((1, 1)), 1, ONE, ONE * 0, PLANE, pooling=mean),
    )
    network = Network("x", PLANE, "c", 4, steps)
    images = torch.arange(16.0).reshape(1, 1, 4, 4) - 5
    found = grids(network, {"w": torch.ones(1, 1, 1, 1)}, [images, images / 2])
    assert found["p"] == found["a"] == Grid.of(-5, 10)
    assert found["b"] == found[POOLED + "b"] == Grid.of(0, 10)  # the largest under each window
    assert found[POOLED + "c"] == Grid.of(-5, 10)
    assert found["c"] == Grid.of(-2.5, 7.5)
