"""Results: what rounding has cost."""

from slt_compress.evaluation.accuracy import Evaluation
from slt_compress.pruning.results import TrainedResult
from tests.support.tickets import make_ticket


def test_what_rounding_costs_is_a_difference_of_held_out_metrics() -> None:
    before, after = (Evaluation(metric, 0.1, 10, 0.1, None) for metric in (0.75, 0.5))
    result = TrainedResult(make_ticket("lenet-300-100", 0.5), after, after, 1, 1.0, 1.0, 1.0, unrounded=before)
    assert result.rounding_drop == 0.25
    assert result.controls == ()
