"""An assessment as a whole: a choice for each sparsity that was tried, and a note of those that were not."""

import pytest
import torch

from slt_compress.api import assess
from slt_compress.assessment.results import Assessment
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


def test_a_metric_of_ones_own_cannot_be_forecast() -> None:
    data = torch.utils.data.TensorDataset(torch.randn(40, 4), torch.randint(0, 2, (40,)))
    with pytest.raises(UsageError, match="metric of your own"):
        assess(torch.nn.Linear(4, 2), train=data, test=data, metric=lambda *_: 0.0, max_steps=4)
