"""Metrics against slow references."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, jaccard_score, r2_score

from slt_compress.tasks import metrics

SEEDS = st.integers(0, 10_000)


@given(SEEDS, st.integers(1, 40), st.integers(1, 5))
def test_mean_iou_is_the_macro_average_over_the_classes_that_occur(seed: int, count: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    found, true = (torch.randint(classes, (count, 2, 3), generator=generator) for _ in range(2))
    expected = jaccard_score(true.flatten(), found.flatten(), average="macro")
    assert metrics.mean_iou(found, true) == pytest.approx(expected)


@given(SEEDS, st.integers(1, 40), st.integers(2, 5))
def test_f1_is_the_micro_average(seed: int, count: int, labels: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    found, true = (torch.rand(count, labels, generator=generator) < 0.3 for _ in range(2))
    expected = f1_score(true.int().numpy(), found.int().numpy(), average="micro", zero_division=1)
    assert metrics.f1(found, true.float()) == pytest.approx(expected)


@given(SEEDS, st.integers(2, 40), st.integers(1, 4))
def test_r2_is_the_average_over_the_columns(seed: int, count: int, columns: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    found, true = (torch.randn(count, columns, generator=generator).double() for _ in range(2))
    assert metrics.r2(found, true) == pytest.approx(float(r2_score(true.numpy(), found.numpy())), rel=1e-5)


def test_a_column_that_does_not_vary_does_not_count() -> None:
    true = torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    assert metrics.r2(true, true) == 1
    assert metrics.r2(torch.zeros(3, 1), torch.ones(3, 1)) == 0
    assert not math.isnan(metrics.r2(torch.zeros(3), torch.ones(3)))


def test_accuracy_counts_every_prediction() -> None:
    assert metrics.accuracy(torch.tensor([[1, 2], [3, 4]]), torch.tensor([[1, 0], [3, 4]])) == 0.75
    assert np.isclose(metrics.accuracy(torch.arange(3), torch.tensor([0, 1, 1])), 2 / 3)
