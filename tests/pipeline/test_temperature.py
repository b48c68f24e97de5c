"""The logits' factor: the best there is on held-out examples, which no prediction and no byte notices."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import slt_compress
from slt_compress.config import SearchConfig
from slt_compress.evaluation.accuracy import evaluate, torch_classifier
from slt_compress.pipeline import find, temperature
from slt_compress.pipeline.find import SearchResult, find_ticket
from slt_compress.pipeline.measure import restored
from slt_compress.pipeline.prepare import OwnData, Prepared, prepare
from slt_compress.progress import SILENT
from slt_compress.ticket.ticket import Ticket
from tests.support.own import digits


class Sharpened(nn.Module):
    """Its last layer is not the last thing that it does."""

    def __init__(self, sharpen: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 80), nn.ReLU(), nn.Linear(80, 10))
        self.sharpen = sharpen

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.sharpen(self.body(rows))


def ends_in_a_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 80), nn.ReLU(), nn.Linear(80, 10), nn.BatchNorm1d(10, affine=False))


def ends_in_a_layer() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 80), nn.BatchNorm1d(80), nn.ReLU(), nn.Linear(80, 10))


def is_bounded() -> nn.Module:
    return Sharpened(torch.tanh)


def ends_in_probabilities() -> nn.Module:
    return Sharpened(nn.LogSoftmax(1))


def both(build: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch, **settings: Any) -> list[SearchResult]:
    """Return what a search finds, and what it would find without the factor."""
    train, test = digits()
    config: dict[str, Any] = {"sparsity": 0.8, "max_steps": 60, "seed": 3, **settings}
    found = slt_compress.search(build, train=train, test=test, **config)
    monkeypatch.setattr(find, "tempered", lambda ticket, *_: ticket)
    return [found, slt_compress.search(build, train=train, test=test, **config)]


def logits(result: SearchResult, build: Callable[[], nn.Module]) -> torch.Tensor:
    rows, _ = digits()[1].tensors
    found: torch.Tensor = result.ticket.apply_to(build())(rows)
    return found


@pytest.mark.parametrize("build", [ends_in_a_norm, ends_in_a_layer])
def test_probabilities_are_right_and_predictions_as_they_were(
    build: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, plain = both(build, monkeypatch)
    scaled, unscaled = logits(found, build), logits(plain, build)
    assert torch.equal(scaled.argmax(1), unscaled.argmax(1))
    factor = (scaled.norm() / unscaled.norm()).item()
    assert factor > 1.2
    torch.testing.assert_close(scaled, factor * unscaled, rtol=2e-3, atol=2e-3)  # fp16
    _, labels = digits()[1].tensors
    errors = [_calibration(one, labels) for one in (scaled, unscaled)]
    assert errors[0] < errors[1] / 3
    assert found.test.metric == plain.test.metric
    assert found.test.loss < plain.test.loss
    assert len(found.ticket.to_bytes()) == pytest.approx(len(plain.ticket.to_bytes()), abs=16)


def _calibration(outputs: torch.Tensor, labels: torch.Tensor) -> float:
    """Return how far the mean probability of the predicted class is from the accuracy."""
    sure, classes = outputs.softmax(1).max(1)
    return abs(sure.mean().item() - (classes == labels).float().mean().item())


@pytest.mark.parametrize("build", [is_bounded, ends_in_probabilities])
def test_a_network_that_cannot_take_it_stays_as_it_is(
    build: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, plain = both(build, monkeypatch)
    assert torch.equal(logits(found, build), logits(plain, build))


def test_a_loss_of_ones_own_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    found, plain = both(ends_in_a_norm, monkeypatch, loss=nn.functional.cross_entropy)
    assert torch.equal(logits(found, ends_in_a_norm), logits(plain, ends_in_a_norm))


@pytest.mark.parametrize("build", [ends_in_a_norm, ends_in_a_layer])
def test_no_other_factor_has_a_smaller_loss(build: Callable[[], nn.Module]) -> None:
    config = SearchConfig(sparsity=0.8, max_steps=40)
    prepared = prepare(build, config, data=OwnData(*digits()))
    ticket = find_ticket(build, config, prepared=prepared).ticket
    loss = _loss(ticket, prepared)
    for factor in (0.8, 1.25):
        changed = next(temperature._candidates(ticket, ticket.apply_to(build()), factor))
        assert _loss(changed, prepared) > loss


def _loss(ticket: Ticket, prepared: Prepared) -> float:
    classifier = torch_classifier(restored(ticket, prepared), prepared.device)
    return evaluate(classifier, prepared.run.validation, prepared.run.feed).loss


def test_it_is_found_once() -> None:
    """A network that has its factor gets next to none."""
    config = SearchConfig(sparsity=0.8, max_steps=40)
    prepared = prepare("lenet-300-100", config)
    ticket = find_ticket("lenet-300-100", config, prepared=prepared).ticket
    again = temperature.tempered(ticket, prepared, SILENT)
    last = [name for name in ticket.statistics if name.endswith("running_var")][-1]
    torch.testing.assert_close(
        torch.from_numpy(again.statistics[last]), torch.from_numpy(ticket.statistics[last]), rtol=0.01, atol=0
    )


def test_the_least_loss_is_found_within_limits() -> None:
    for wanted in (0.3, 1.0, 5.0):
        assert temperature._least(lambda factor, best=wanted: (factor - best) ** 2) == pytest.approx(wanted, rel=1e-3)  # type: ignore[misc]
    assert temperature._least(lambda factor: factor) == pytest.approx(1 / temperature.MOST, rel=1e-3)


def test_few_examples_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temperature, "EXAMPLES", 10)
    train, test = digits()
    small = TensorDataset(*(tensor[:300] for tensor in train.tensors))
    found = slt_compress.search(ends_in_a_norm, train=small, test=test, sparsity=0.8, max_steps=20)
    assert found.test.loss < 2.5
