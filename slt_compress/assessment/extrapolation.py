"""From short runs to a longer one: what metric it will have, and how sure that is.

The error, 1 - metric, of frozen and of trained networks falls about as a power of the number of steps, as it does with
the number of examples (Hestness et al. 2017, arXiv:1712.00409). The exponent of a few noisy runs is drawn towards that
of most networks. How far such forecasts were from the finished runs of our own networks is in docs/assess.md; `SPREAD`
comes from there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

USUAL_EXPONENT = 0.25  # with which the error falls, over all finished runs
WEIGHT = 0.5  # of the exponent that the runs themselves show
STEEPEST = 0.4
SPREAD = 0.11  # standard deviation of the logarithm of the error, times the root of the doublings of the steps
_LEAST_ERROR = 1e-4
_NOISE = 0.03  # likewise, of a run that is not extrapolated


@dataclass(frozen=True)
class Forecast:
    """The metric that a run will have.

    Attributes:
        steps: of the run.
        metric: expected.
        low, high: two of three runs lie between them.
    """

    steps: int
    metric: float
    low: float
    high: float


def extrapolate(runs: Sequence[tuple[int, float]], steps: int) -> Forecast:
    """Return the metric, at most 1, to be expected after so many steps, from (steps, metric) of shorter whole runs.

    Raises ValueError without a run.
    """
    points = sorted((math.log(count), math.log(max(1 - metric, _LEAST_ERROR))) for count, metric in runs)
    if not points:
        raise ValueError("there is no run to extrapolate from")
    last, log_error = points[-1]
    exponent = USUAL_EXPONENT
    if len(points) > 1:
        exponent += WEIGHT * (min(max(-_slope(points), 0.0), STEEPEST) - USUAL_EXPONENT)
    ahead = math.log(steps) - last
    expected = log_error - exponent * ahead
    spread = math.hypot(_NOISE, SPREAD * math.sqrt(abs(ahead) / math.log(2)))
    return Forecast(steps, *(1 - min(1.0, math.exp(expected + side * spread)) for side in (0, 1, -1)))


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the line of least squares."""
    middle = [sum(values) / len(points) for values in zip(*points, strict=True)]
    spread = sum((x - middle[0]) ** 2 for x, _ in points)
    return sum((x - middle[0]) * (y - middle[1]) for x, y in points) / spread if spread else 0.0
