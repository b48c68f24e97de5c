"""What is asked for is checked before anything is measured, and the test split is left alone."""

import pytest

from slt_compress.assessment.results import Assessment
from slt_compress.assessment.run import assess
from slt_compress.errors import UsageError


def test_every_sparsity_that_was_tried_has_a_choice(found: Assessment) -> None:
    tried = {trial.sparsity for trial in found.trials if trial.kind != "dense"}
    assert {choice.sparsity for choice in found.choices} == tried
    for choice in found.choices:
        runs = [trial for trial in found.trials if trial.sparsity == choice.sparsity]
        most = max(trial.steps for trial in runs)
        assert choice.kind == max((t for t in runs if t.steps == most), key=lambda t: t.metric).kind
        assert choice.asked.steps == 300
    left_out = {0.8, 0.9} - tried
    assert bool(left_out) == any("no time for a pilot" in note for note in found.notes)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sparsities": ()}, "sparsities"),
        ({"sparsities": (1.0,)}, "below 1"),
        ({"minutes": 0.0}, "budget"),
        ({"minutes": float("nan")}, "budget"),
    ],
)
def test_bad_requests_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        assess("lenet-300-100", **settings)  # type: ignore[arg-type]
