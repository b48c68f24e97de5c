"""Figures of classes against scikit-learn's, and the calibration error against its definition."""

import math

import pytest
import torch
from sklearn.metrics import confusion_matrix as reference
from sklearn.metrics import precision_recall_fscore_support

from slt_compress.evaluation.classes import calibration_error, class_figures, confusion_matrix


def test_figures_are_those_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 5, (300,), generator=generator)
    predictions = torch.where(
        torch.rand(300, generator=generator) < 0.6, targets, torch.randint(0, 5, (300,), generator=generator)
    )
    confusion = confusion_matrix(predictions, targets, 5)
    assert confusion.tolist() == reference(targets, predictions).tolist()
    expected = precision_recall_fscore_support(targets, predictions)
    for index, one in enumerate(class_figures(confusion, list("abcde"))):
        assert (one.precision, one.recall, one.f1, one.images) == pytest.approx([column[index] for column in expected])


def test_a_share_of_nothing_is_none() -> None:
    figures = class_figures(torch.tensor([[2, 0, 0], [0, 0, 0], [1, 0, 0]]), ["a", "b", "c"])
    assert (figures[1].precision, figures[1].recall, figures[1].f1) == (None, None, None)
    assert (figures[2].precision, figures[2].recall, figures[2].f1) == (None, 0.0, 0.0)


def test_the_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(400, generator=generator)
    right = torch.rand(400, generator=generator) < confidence**2
    slow = 0.0
    for index in range(15):
        rows = [row for row in range(400) if index / 15 < confidence[row].item() <= (index + 1) / 15]
        if rows:
            gap = math.fsum(confidence[row].item() - float(right[row]) for row in rows) / len(rows)
            slow += len(rows) / 400 * abs(gap)
    assert calibration_error(confidence, right) == pytest.approx(slow)
    assert calibration_error(torch.ones(3), torch.ones(3, dtype=torch.bool)) == 0
    assert calibration_error(torch.zeros(2), torch.ones(2, dtype=torch.bool)) == 1
