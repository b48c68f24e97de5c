"""Pruning: every method learns, keeps exactly as many weights as asked for, and can start from trained ones."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from slt_compress.errors import UsageError
from slt_compress.evaluation.accuracy import Evaluation
from slt_compress.pipeline.measure import evaluate_ticket
from slt_compress.pruning import finish
from slt_compress.pruning.config import TRAINED, PruneConfig
from slt_compress.pruning.finish import DivergedError
from slt_compress.pruning.prune import prune
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.recipes import PLAIN
from tests.support.pruned import LENET, prepared_lenet
from tests.support.reporters import RecordingReporter

STEPS = 120
RUN = replace(TRAINED, max_steps=STEPS, batch_size=64)


@pytest.mark.parametrize("method", ["magnitude", "continuous-sparsification", "crbg"])
def test_methods_learn_and_keep_their_word(method: str) -> None:
    reporter = RecordingReporter()
    config = PruneConfig(run=RUN, method=method, sparsity=0.95, values="int4")
    result = prune(LENET, config, reporter, prepared=prepared_lenet(STEPS))
    assert result.ticket.kept == 2_510
    assert result.accuracy > 0.85
    assert len(result.ticket.to_bytes()) < 10_000
    record = result.ticket.provenance.method
    assert (record.name, record.steps) == (method, STEPS)
    assert f"50,200 weights trained and pruned by {method}" in reporter.notes[0]
    assert reporter.steps[-1].sparsity == pytest.approx(0.95, abs=1e-4)


def test_the_seed_decides_everything() -> None:
    config = PruneConfig(run=replace(RUN, max_steps=6), method="crbg")
    first, again = (prune(LENET, config, prepared=prepared_lenet(6)).ticket.to_bytes() for _ in range(2))
    other = prune(LENET, replace(config, run=replace(config.run, seed=1)), prepared=prepared_lenet(6))
    assert first == again != other.ticket.to_bytes()


def test_of_several_learning_rates_the_best_on_held_out_images_is_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    ready, rates = prepared_lenet(40), (1e-4, 1e38, 1e-2)
    config = PruneConfig(run=replace(RUN, max_steps=40), method="magnitude")
    alone = [prune(LENET, replace(config, learning_rate=rate), prepared=ready) for rate in (rates[0], rates[2])]
    assert alone[0].validation.metric < alone[1].validation.metric
    seen: list[str] = []

    def evaluate(split: str, *arguments: Any) -> Evaluation:
        seen.append(split)
        return evaluate_ticket(split, *arguments)

    monkeypatch.setattr(finish, "evaluate_ticket", evaluate)
    reporter = RecordingReporter()
    best = prune(LENET, replace(config, learning_rate=rates), reporter, prepared=ready)
    assert seen == ["test"]
    assert best.learning_rate == rates[2]
    assert best.ticket.to_bytes() == alone[1].ticket.to_bytes()
    told = [note for note in reporter.notes if note.startswith("learning rate")]
    assert told[1] == "learning rate 1e+38: the training has diverged, its weights are not finite: give a lower " + (
        "`learning_rate`"
    )
    assert told[2] == f"learning rate 0.01: accuracy {best.validation.metric:.4f} of held-out images"
    with pytest.raises(DivergedError):
        prune(LENET, replace(config, learning_rate=(1e38, 3e38)), prepared=ready)


@pytest.mark.parametrize("method", ["magnitude", "continuous-sparsification", "crbg"])
def test_trained_weights_are_a_better_start(method: str) -> None:
    ready = prepared_lenet(80)
    dense = prune(LENET, PruneConfig(run=RUN, method="magnitude", sparsity=0.0), prepared=prepared_lenet(STEPS))
    state = dense.ticket.restore().state_dict()
    config = PruneConfig(run=replace(RUN, max_steps=80), method=method, sparsity=0.8)
    alone, started = (prune(LENET, config, prepared=ready, weights=weights) for weights in (None, state))
    assert started.validation.loss < alone.validation.loss
    settings = Ticket.from_bytes(started.ticket.to_bytes()).provenance.method.settings
    assert settings["started_from"] == "weights of a file"
    assert settings["weights"]["learning_rate"] == PLAIN.learning_rates[0]


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(UsageError, match=r"`weights` are not those of lenet-300-100: missing: 1\.weight"):
        prune(LENET, PruneConfig(run=RUN), prepared=prepared_lenet(6), weights={"x": torch.ones(1)})
    config = PruneConfig(run=replace(RUN, initialiser="uniform"))
    with pytest.raises(UsageError, match="`initialiser=uniform` has no meaning beside `weights`"):
        prune(LENET, config, prepared=prepared_lenet(6), weights={"x": torch.ones(1)})
