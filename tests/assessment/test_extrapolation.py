"""Forecasts: exact for a power law of the usual exponent, ordered, and less sure the further they reach."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slt_compress.assessment.extrapolation import SPREAD, USUAL_EXPONENT, WEIGHT, extrapolate


def test_a_power_law_of_the_usual_exponent_goes_on() -> None:
    runs = [(steps, 1 - 0.5 * steps**-USUAL_EXPONENT) for steps in (50, 100, 200)]
    assert extrapolate(runs, 3200).metric == pytest.approx(1 - 0.5 * 3200**-USUAL_EXPONENT)
    assert extrapolate(runs[-1:], 3200).metric == pytest.approx(extrapolate(runs, 3200).metric)


@given(
    errors=st.lists(st.floats(0, 1), min_size=1, max_size=3),
    steps=st.integers(1, 100_000),
)
def test_a_forecast_lies_within_its_range(errors: list[float], steps: int) -> None:
    found = extrapolate([(20 << index, 1 - error) for index, error in enumerate(errors)], steps)
    assert 0 <= found.low <= found.metric <= found.high <= 1


@given(errors=st.lists(st.floats(0.01, 0.9), min_size=1, max_size=3))
def test_more_steps_are_better_and_less_sure(errors: list[float]) -> None:
    runs = [(20 << index, 1 - error) for index, error in enumerate(errors)]
    near, far = extrapolate(runs, 200), extrapolate(runs, 2_000)
    assert far.metric >= near.metric
    assert (1 - far.low) / (1 - far.metric) >= min((1 - near.low) / (1 - near.metric), 1 / (1 - far.metric)) - 1e-9


def test_without_a_run_there_is_no_forecast() -> None:
    with pytest.raises(ValueError, match="no run"):
        extrapolate([], 100)


def test_the_constants_are_shares() -> None:
    assert 0 <= WEIGHT <= 1
    assert 0 < SPREAD < 1
