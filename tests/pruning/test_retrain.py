"""Training under a mask: the mask stays, the weights learn, and the schedule of a rewound ticket goes on."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from slt_compress.pipeline.find import UnmeasuredError, UnmeasuredInterrupt
from slt_compress.prng import SeedRecipe
from slt_compress.pruning import retrain
from slt_compress.pruning.config import FindConfig, PruneConfig, TrainConfig
from slt_compress.pruning.prune import prune
from slt_compress.pruning.retrain import train_mask, train_ticket
from slt_compress.pruning.rounds import find
from slt_compress.ticket.sample import sample_ticket
from tests.support.pruned import LENET, lenet_job, prepared_lenet

STEPS = 60


def config(**fields: Any) -> TrainConfig:
    return TrainConfig(run=replace(lenet_job(STEPS).config), **fields)


@pytest.mark.parametrize("values", ["fp16", "int4"])
def test_a_random_ticket_learns_under_its_mask(values: str) -> None:
    ticket = sample_ticket(LENET, 0.2, input_size=8, channels=1, origin=SeedRecipe(7))
    result = train_ticket(ticket, config(values=values), prepared=prepared_lenet(STEPS))
    assert result.accuracy > 0.85
    assert (result.ticket.seed, result.ticket.initialiser) == (7, "signed-constant")
    for layer in ticket.layers:
        assert (result.ticket.mask(layer.name) == ticket.mask(layer.name)).all()
    settings = result.ticket.provenance.method.settings
    assert settings["mask"] == "of a ticket of random"
    assert result.controls == ()


def test_masks_of_another_tool_learn() -> None:
    ticket = sample_ticket(LENET, 0.2, input_size=8, channels=1)
    masks = {layer.name: torch.from_numpy(ticket.mask(layer.name)) for layer in ticket.layers}
    run = replace(lenet_job(STEPS).config, seed=5)
    result = train_mask(masks, TrainConfig(run=run), prepared=prepared_lenet(STEPS))
    assert result.accuracy > 0.85
    assert result.ticket.seed == 5
    assert result.ticket.provenance.method.settings["mask"] == "of a file"


def test_an_early_iterate_is_made_again_and_its_schedule_goes_on() -> None:
    found = FindConfig(run=lenet_job(12).config, method="magnitude", rewind_steps=4, rounds=2, sparsity=0.5)
    (ticket,) = find(LENET, found, prepared=prepared_lenet(12)).tickets
    (stored,) = find(LENET, replace(found, store_weights=True), prepared=prepared_lenet(12)).tickets
    made, kept = (train_ticket(one.ticket, config(), prepared=prepared_lenet(STEPS)) for one in (ticket, stored))
    assert made.validation.loss == pytest.approx(kept.validation.loss, rel=0.1)  # fp16 is all that tells them apart
    again = train_ticket(ticket.ticket, config(), prepared=prepared_lenet(STEPS))
    assert again.ticket.to_bytes() == made.ticket.to_bytes()


def test_trained_weights_are_trained_on_gently() -> None:
    pruned = prune(LENET, PruneConfig(run=lenet_job(STEPS).config, method="magnitude"), prepared=prepared_lenet(STEPS))
    result = train_ticket(pruned.ticket, config(), prepared=prepared_lenet(STEPS))
    assert result.validation.loss < pruned.validation.loss
    assert result.ticket.provenance.method.settings["weights"]["learning_rate"] == 1e-3


FAILURES = [(KeyboardInterrupt(), UnmeasuredInterrupt), (OSError("x"), UnmeasuredError)]


@pytest.mark.parametrize(("error", "kind"), FAILURES)
def test_a_trained_ticket_is_not_lost_with_its_controls(
    error: BaseException, kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(retrain, "train_controls", fail)
    ticket = sample_ticket(LENET, 0.2, input_size=8, channels=1)
    with pytest.raises(kind) as raised:
        train_ticket(ticket, TrainConfig(run=lenet_job(6).config, controls=True), prepared=prepared_lenet(6))
    assert raised.value.ticket.kept == ticket.kept  # type: ignore[attr-defined]
    assert raised.value.ticket.provenance.metrics["accuracy"] > 0  # type: ignore[attr-defined]
