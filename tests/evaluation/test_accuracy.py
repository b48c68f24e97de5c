"""Measuring a classifier: known answers, whatever the batches."""

import math

import pytest
import torch

from slt_compress.data.preprocessing import Preprocessing
from slt_compress.data.splits import TensorSplit
from slt_compress.evaluation.accuracy import evaluate, torch_classifier

PREPROCESSING = Preprocessing(1, 1, (0.0,), (1.0,))


def test_a_known_classifier_gets_its_known_score() -> None:
    """The value of the only pixel is the predicted class; 3 of 4 images are labelled so."""
    images = torch.tensor([0, 1, 2, 1], dtype=torch.uint8).view(4, 1, 1, 1)
    split = TensorSplit(images, torch.tensor([0, 1, 2, 2]))

    def classify(normalised: torch.Tensor) -> torch.Tensor:
        pixel = (normalised.view(-1) * 255).round().long()
        return torch.nn.functional.one_hot(pixel, 3) * 100.0

    done: list[tuple[int, int]] = []
    result = evaluate(classify, split, PREPROCESSING, lambda *counts: done.append(counts))
    assert result.accuracy == 0.75
    assert result.loss == pytest.approx(25, abs=1e-3)
    assert result.samples == 4
    assert result.predictions.tolist() == [0, 1, 2, 1]
    assert done == [(4, 4)]


def test_a_loss_that_is_not_finite_has_no_word_in_json() -> None:
    split = TensorSplit(torch.zeros(2, 1, 1, 1, dtype=torch.uint8), torch.tensor([0, 1]))
    result = evaluate(lambda images: torch.full((len(images), 2), torch.nan), split, PREPROCESSING)
    assert math.isnan(result.loss)
    assert result.finite_loss is None
    assert evaluate(lambda images: torch.zeros(len(images), 2), split, PREPROCESSING).finite_loss == pytest.approx(
        math.log(2)
    )


def test_a_module_is_evaluated_as_such() -> None:
    module = torch.nn.Linear(2, 2).train()
    assert torch_classifier(module, torch.device("cpu")) is module
    assert not module.training


@pytest.mark.parametrize("count", [1, 499, 500, 1001])
def test_batches_do_not_show_in_the_result(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 1, 1), generator=generator).to(torch.uint8)
    labels = torch.randint(0, 2, (count,), generator=generator)

    def classify(normalised: torch.Tensor) -> torch.Tensor:
        return torch.cat([normalised.view(-1, 1), 1 - normalised.view(-1, 1)], 1)

    done: list[tuple[int, int]] = []
    result = evaluate(classify, TensorSplit(images, labels), PREPROCESSING, lambda *counts: done.append(counts))
    logits = classify(PREPROCESSING(images))
    assert torch.equal(result.predictions, logits.argmax(1))
    assert result.accuracy == pytest.approx((logits.argmax(1) == labels).double().mean().item())
    assert result.loss == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert done[-1] == (count, count)
    assert len(done) == -(-count // 500)
