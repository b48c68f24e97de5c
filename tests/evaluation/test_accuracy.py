"""Measuring a classifier: known answers, whatever the batches."""

import math

import pytest
import torch

from slt_compress.data.preprocessing import Preprocessing
from slt_compress.data.splits import TensorSplit
from slt_compress.evaluation.accuracy import BATCH_SIZE, evaluate, torch_classifier
from tests.support.digits import CPU
from tests.support.images import predictions_of
from tests.support.tickets import make_ticket

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
    assert result.accuracy == result.metric == 0.75
    assert result.metric_name == "accuracy"
    assert result.loss == pytest.approx(25, abs=1e-3)
    assert result.samples == 4
    assert predictions_of(result).tolist() == [0, 1, 2, 1]
    assert done == [(4, 4)]


def test_a_loss_that_is_not_finite_has_no_word_in_json() -> None:
    split = TensorSplit(torch.zeros(2, 1, 1, 1, dtype=torch.uint8), torch.tensor([0, 1]))
    result = evaluate(lambda images: torch.full((len(images), 2), torch.nan), split, PREPROCESSING)
    assert math.isnan(result.loss)
    assert result.finite_loss is None
    assert evaluate(lambda images: torch.zeros(len(images), 2), split, PREPROCESSING).finite_loss == pytest.approx(
        math.log(2)
    )


@pytest.mark.parametrize("name", ["conv2", "resnet20", "lenet-300-100", "test_vit"])
def test_a_module_is_evaluated_as_such(name: str) -> None:
    """Channels that lie side by side change no more than the last bits; three batches, the last one smaller."""
    torch.manual_seed(0)
    module = make_ticket(name, 0.5).restore().train()
    images = torch.randint(0, 256, (2 * BATCH_SIZE + 7, 3, 32, 32), dtype=torch.uint8)
    split = TensorSplit(images, torch.zeros(len(images), dtype=torch.int64))
    feed = Preprocessing(32, 3, (0.5,) * 3, (0.25,) * 3)
    classifier = torch_classifier(module, CPU)
    assert not module.training
    result = evaluate(classifier, split, feed)
    with torch.no_grad():
        logits = module(feed(images))
        torch.testing.assert_close(classifier(feed(images)), logits, rtol=0, atol=1e-4)
    assert torch.equal(predictions_of(result), logits.argmax(1))
    assert result.loss == pytest.approx(torch.nn.functional.cross_entropy(logits, split.targets).item(), rel=1e-4)


@pytest.mark.parametrize("count", [1, BATCH_SIZE - 1, BATCH_SIZE, 2 * BATCH_SIZE + 1])
def test_batches_do_not_show_in_the_result(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 1, 1), generator=generator).to(torch.uint8)
    labels = torch.randint(0, 2, (count,), generator=generator)

    def classify(normalised: torch.Tensor) -> torch.Tensor:
        return torch.cat([normalised.view(-1, 1), 1 - normalised.view(-1, 1)], 1)

    done: list[tuple[int, int]] = []
    result = evaluate(classify, TensorSplit(images, labels), PREPROCESSING, lambda *counts: done.append(counts))
    logits = classify(PREPROCESSING(images))
    assert torch.equal(predictions_of(result), logits.argmax(1))
    assert result.accuracy == pytest.approx((logits.argmax(1) == labels).double().mean().item())
    assert result.loss == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert done[-1] == (count, count)
    assert len(done) == -(-count // BATCH_SIZE)
