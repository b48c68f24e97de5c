"""Scores against their definitions, computed the slow way."""

import math

import pytest
import torch

from slt_compress.errors import VerificationError
from slt_compress.evaluation.scores import InputFeatures, Scores


def test_scores_are_what_their_definitions_say() -> None:
    logits = 3 * torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    scores = Scores.of(logits, top=3)
    for row, values in enumerate(logits.double().tolist()):
        total = sum(math.exp(value) for value in values)
        probabilities = [math.exp(value) / total for value in values]
        ranked = sorted(range(6), key=lambda index: -probabilities[index])
        assert scores.classes[row].tolist() == ranked[:3]
        assert scores.probabilities[row].tolist() == pytest.approx([probabilities[index] for index in ranked[:3]])
        assert scores.margin[row].item() == pytest.approx(probabilities[ranked[0]] - probabilities[ranked[1]], abs=1e-7)
        entropy = -sum(value * math.log(value) for value in probabilities)
        assert scores.entropy[row].item() == pytest.approx(entropy, rel=1e-5)
        assert scores.largest_logit[row].item() == pytest.approx(max(values))


def test_scores_of_parts_joined_are_those_of_the_whole() -> None:
    logits = torch.randn(7, 4)
    joined = Scores.join([Scores.of(logits[:3]), Scores.of(logits[3:])])
    whole = Scores.of(logits)
    assert all(torch.equal(getattr(joined, name), getattr(whole, name)) for name in vars(whole))


def test_a_network_of_one_class_is_sure() -> None:
    scores = Scores.of(torch.tensor([[2.0]]))
    assert scores.probabilities.tolist() == [[1.0]]
    assert scores.margin.tolist() == [1.0]
    assert scores.entropy.tolist() == [0.0]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_outputs_that_are_no_numbers_are_refused(value: float) -> None:
    with pytest.raises(VerificationError, match="not finite"):
        Scores.of(torch.tensor([[1.0, value]]))


def test_features_of_images() -> None:
    images = torch.stack([torch.full((3, 4, 4), 255), torch.zeros(3, 4, 4)]).to(torch.uint8)
    images[1, :, :2] = 255
    found = InputFeatures.of(images)
    assert found.mean.tolist() == [1.0, 0.5]
    assert found.contrast.tolist() == [0.0, 0.5]
