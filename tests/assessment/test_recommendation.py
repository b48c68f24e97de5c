"""Advice follows from the forecasts and what the user wants."""

import pytest

from slt_compress.assessment.config import AssessConfig
from slt_compress.assessment.extrapolation import Forecast
from slt_compress.assessment.facts import Facts, LayerFacts
from slt_compress.assessment.recommendation import recommend
from slt_compress.assessment.results import Choice, Recommendation

FACTS = Facts((LayerFacts("w", (100, 100), 10_000, True),), 1, 1, 1, {"fp32": 40_400}, 1, {})


def _choice(sparsity: float, metric: float, size: int) -> Choice:
    forecast = Forecast(100, metric, metric - 0.005, metric + 0.005)
    return Choice(sparsity, "crbg", "crbg", "weight", forecast, forecast, size, None)


CHOICES = (_choice(0.8, 0.95, 900), _choice(0.9, 0.945, 600), _choice(0.95, 0.90, 400))


def _advice(dense: float | None = None, size: int | None = None, metric: float | None = None) -> Recommendation:
    forecast = None if dense is None else Forecast(100, dense, dense, dense)
    return recommend(
        "resnet20",
        FACTS,
        CHOICES,
        forecast,
        AssessConfig(target_bytes=size, target_accuracy=metric),
        metric="accuracy",
        input_size=32,
    )


def _sparsity(advice: Recommendation) -> float:
    assert advice.choice
    return advice.choice.sparsity


def test_the_smallest_within_a_point_of_the_best() -> None:
    assert _sparsity(_advice()) == 0.9
    assert not _advice().warnings


@pytest.mark.parametrize(
    ("size", "metric", "sparsity", "warned"),
    [
        (1000, None, 0.8, ""),
        (600, None, 0.9, ""),
        (399, None, 0.95, "the ticket has about 400 bytes"),
        (None, 0.93, 0.9, ""),
        (None, 0.99, 0.8, "the best that fits has 95.0 %"),
        (500, 0.93, 0.95, "the best that fits has 90.0 %"),
        (1000, 0.94, 0.8, ""),
    ],
)
def test_wishes_decide(size: int | None, metric: float | None, sparsity: float, warned: str) -> None:
    advice = _advice(size=size, metric=metric)
    assert _sparsity(advice) == sparsity
    assert bool(warned) == bool(advice.warnings)
    assert warned in " ".join(advice.warnings)


def test_trained_weights_are_named_where_they_are_worth_their_bytes() -> None:
    (warning,) = _advice(dense=0.99).warnings
    assert "trained weights" in warning
    assert "1.99 KB" in warning  # 400 bytes that are not gated, 1,000 weights of a byte, a mask of 0.469 bits a weight
    assert not _advice(dense=0.96).warnings
    assert "resnet20-w2" in " ".join(_advice(dense=0.99).improvements)


def test_a_pilot_that_has_hardly_learnt_is_no_forecast() -> None:
    wanted = AssessConfig()
    advice = recommend("x", FACTS, CHOICES, None, wanted, metric="accuracy", input_size=None, begun=False)
    assert "hardly better than chance" in advice.warnings[0]


def test_without_a_search_there_is_no_choice() -> None:
    advice = recommend("x", FACTS, (), None, AssessConfig(), metric="accuracy", input_size=None)
    assert advice.choice is None
    assert "give it more minutes" in advice.reasons[0]
