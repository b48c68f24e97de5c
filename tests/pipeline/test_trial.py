"""A network, a loss and a metric are tried before a search: what comes out is known, what does not fit is refused."""

from typing import Any

import pytest
import torch
from torch import nn

from slt_compress.data.batches import as_given
from slt_compress.data.splits import TensorSplit
from slt_compress.errors import UsageError
from slt_compress.models.source import own_source
from slt_compress.pipeline.trial import check_classes, records, try_out
from slt_compress.tasks.record import TensorRecord
from slt_compress.tasks.task import CLASSIFY, Task, task_of
from tests.support.own import TwoInputs

GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.arange(40) % 4
ROWS = TensorSplit(torch.randn(40, 6, generator=GENERATOR), LABELS)


class Counted(nn.Module):
    """Counts in `calls` how often it is called, in training and not."""

    calls: list[tuple[int, bool]]

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        type(self).calls.append((len(x), self.training))
        out: torch.Tensor = self.linear(x)
        return out


def attempt(build: Any, split: TensorSplit = ROWS, task: Task = CLASSIFY) -> tuple[TensorRecord, ...]:
    return try_out(own_source(build), split, split, as_given, task)


def test_what_comes_out_of_a_network_is_known() -> None:
    pair = (torch.randint(7, (40, 5), generator=GENERATOR), torch.randn(40, 3, generator=GENERATOR))
    task = task_of(lambda outputs, _: outputs[0].mean(), lambda outputs, _: float(len(outputs[1])))
    assert attempt(TwoInputs, TensorSplit(pair, LABELS), task) == (TensorRecord((4,)), TensorRecord((2,)))
    assert records(pair) == (TensorRecord((5,), "int64"), TensorRecord((3,)))
    assert attempt(lambda: nn.Linear(6, 4)) == (TensorRecord((4,)),)


def test_several_examples_and_one_are_tried_in_evaluation_and_several_in_training() -> None:
    Counted.calls = []
    attempt(Counted)
    assert Counted.calls == [(32, False), (1, False), (32, True)]


def test_the_data_stays_as_it_is() -> None:
    before = ROWS.inputs.clone()
    attempt(lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)))
    assert torch.equal(ROWS.inputs, before)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Linear(5, 4), r"cannot take \(32, 6\) float32 \(RuntimeError: "),
        (lambda: nn.Sequential(nn.Linear(6, 4), nn.Flatten(0)), r"of 32 examples came \(128,\) float32"),
        (lambda: nn.Linear(6, 3), "the targets go up to class 3, the network has logits for 3 classes"),
    ],
)
def test_a_network_that_does_not_fit_the_data_is_refused(build: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        attempt(build)


@pytest.mark.parametrize(
    ("loss", "metric", "message"),
    [
        (
            "mse",
            None,
            r"the loss mse needs outputs and targets of one shape, got outputs \(32, 4\) float32 and targets",
        ),
        (lambda outputs, _: outputs.square(), None, r"must be a scalar .*, got \(32, 4\) float32"),
        (lambda outputs, _: outputs.detach().sum(), None, "must be a scalar that depends on the network's weights"),
        (lambda *_: 1 / 0, None, r"the loss <lambda> cannot be computed of outputs .* \(ZeroDivisionError: "),
        (None, lambda *_: 1 / 0, r"the metric <lambda> cannot be computed of the held-out .* \(ZeroDivisionError: "),
    ],
)
def test_a_loss_or_a_metric_that_does_not_fit_is_refused(loss: Any, metric: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        attempt(lambda: nn.Linear(6, 4), task=task_of(loss, metric))


def test_classes_are_looked_up_where_they_are_in_memory_and_mean_logits() -> None:
    few = (TensorRecord((3,)),)
    with pytest.raises(UsageError, match="the targets go up to class 3"):
        check_classes(CLASSIFY, ROWS, few)
    check_classes(CLASSIFY, ROWS, (TensorRecord((4,)),))
    check_classes(task_of("mse"), ROWS, few)
    shares = TensorSplit(ROWS.inputs, torch.full((40, 3), 9.0))
    check_classes(CLASSIFY, shares, few)
