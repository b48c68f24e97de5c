"""Losses and metrics by name or by function, and what a file says of them."""

import math

import pytest
import torch
from torch.nn import functional as F

from slt_compress.errors import UsageError
from slt_compress.tasks.record import TASK_NAMES, TaskRecord
from slt_compress.tasks.task import CLASSIFY, LOGIT_SCALE, LOSSES, METRICS, recorded_task, task_of

LOGITS = torch.randn(7, 10, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(7)


def absolute_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs - targets).abs().mean()


def closeness(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return -float((outputs - targets).abs().max())


def test_a_search_minimises_the_cross_entropy_of_sharpened_logits() -> None:
    slow = [-(LOGIT_SCALE * row).log_softmax(0)[label] for row, label in zip(LOGITS, LABELS, strict=True)]
    assert CLASSIFY.search_loss(LOGITS, LABELS).item() == pytest.approx(float(torch.stack(slow).mean()))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_named_loss_of_a_split_is_that_of_its_batches(name: str) -> None:
    task = task_of(name)
    targets = LABELS if name == "cross-entropy" else (LOGITS > 1).float()
    parts = zip(torch.split(LOGITS, 3), torch.split(targets, 3), strict=True)
    total = sum(task.total_loss(outputs, truth, len(truth)) for outputs, truth in parts)
    assert total / 7 == pytest.approx(task.mean_loss(LOGITS, targets).item(), rel=1e-5)


def test_a_dense_prediction_counts_every_pixel() -> None:
    logits, labels = torch.randn(4, 3, 5, 6), torch.randint(3, (4, 5, 6))
    assert CLASSIFY.total_loss(logits, labels, 4) / 4 == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert CLASSIFY.kept(logits).shape == labels.shape


def test_a_function_gets_outputs_as_they_are_and_its_name_is_recorded() -> None:
    task = task_of(absolute_error, closeness)
    outputs, targets = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [0.0]])
    assert task.search_loss(outputs, targets).item() == 2
    assert task.total_loss(outputs, targets, 2) == 4
    assert task.measure(task.kept(outputs), targets) == -3
    assert task.record == TaskRecord("other", "absolute_error", "closeness")
    assert not task.decides


def test_without_a_metric_it_is_that_of_the_loss() -> None:
    assert {name: task_of(name).record for name in LOSSES} == {
        "cross-entropy": TaskRecord(),
        "binary-cross-entropy": TaskRecord("multi-label", "binary-cross-entropy", "f1"),
        "mse": TaskRecord("regression", "mse", "r2"),
    }
    task = task_of(absolute_error)
    assert task.measure(torch.ones(3), torch.zeros(3)) == -1
    assert task.record.metric == "minus the loss"
    assert {loss.task for loss in LOSSES.values()} < set(TASK_NAMES)
    assert {loss.metric for loss in LOSSES.values()} < set(METRICS)


def test_targets_may_be_of_other_whole_numbers_or_booleans() -> None:
    same = CLASSIFY.mean_loss(LOGITS, LABELS)
    assert torch.equal(CLASSIFY.mean_loss(LOGITS, LABELS.to(torch.int16)), same)
    task = task_of("binary-cross-entropy")
    assert torch.equal(task.mean_loss(LOGITS, LOGITS > 0), task.mean_loss(LOGITS, (LOGITS > 0).float()))


def test_what_a_file_records_is_found_again() -> None:
    for name in LOSSES:
        assert recorded_task(task_of(name).record) == task_of(name)
    record = task_of(absolute_error, closeness).record
    with pytest.raises(UsageError, match="a function of your own, closeness: give `metric`"):
        recorded_task(record)
    again = recorded_task(record, metric=closeness)
    assert again.record == record
    assert math.isnan(again.total_loss(LOGITS, LOGITS, 7))
    assert recorded_task(record, absolute_error, closeness) == task_of(absolute_error, closeness)


def test_what_is_no_loss_or_metric_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown `loss` 'hinge': give a function, or one of cross-entropy, "):
        task_of("hinge")
    with pytest.raises(UsageError, match="unknown `metric` 'auc'"):
        task_of(metric="auc")
    with pytest.raises(UsageError, match=r"`loss` must be a function or one of .*, got 3"):
        task_of(3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"`metric` must return one number, got \[1\]"):
        task_of(metric=lambda _, __: [1]).measure(LOGITS, LABELS)  # type: ignore[arg-type, return-value]
