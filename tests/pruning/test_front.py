"""The front door of pruning: networks by name and of one's own, tickets, masks and what does not go together."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import slt_compress
from slt_compress import PruneConfig, Ticket, TrainConfig
from slt_compress.errors import TicketError, UsageError
from slt_compress.training.checkpoint import Checkpoints
from tests.support.killed import Killed, die_in_step
from tests.support.own import build, digits
from tests.support.pruned import own_network
from tests.support.reporters import RecordingReporter

TRAIN, TEST = digits()
DATA: dict[str, Any] = {"train": TRAIN, "test": TEST}
LENET = "lenet-300-100"


def test_the_road_from_a_seed_to_a_trained_ticket(tmp_path: Path) -> None:
    found = slt_compress.find_ticket(LENET, "digits", rewind_steps=5, sparsity=(0.5, 0.8), max_steps=60)
    path = tmp_path / "found.safetensors"
    found.tickets[1].ticket.save(path)
    trained = slt_compress.train(path, controls=True, max_steps=60, values="int8")
    assert trained.ticket.sparsity == pytest.approx(0.8, abs=1e-4)
    assert trained.accuracy > 0.9
    assert {control.name for control in trained.controls} == {"random-mask", "other-weights"}
    assert slt_compress.evaluate(trained.ticket).accuracy == trained.accuracy


@pytest.mark.parametrize("method", ["magnitude", "continuous-sparsification", "crbg"])
def test_a_network_and_data_of_ones_own(method: str) -> None:
    pruned = slt_compress.prune(build, **DATA, method=method, sparsity=0.7, max_steps=60, values="int8")
    assert pruned.metric > 0.8
    assert set(pruned.ticket.parameters) == {name for name, one in build().named_parameters() if one.ndim == 1}
    applied = pruned.ticket.apply_to(build())
    assert slt_compress.evaluate(pruned.ticket, test=TEST, source=build).metric == pruned.metric
    assert not applied.training
    again = slt_compress.train(pruned.ticket, **DATA, source=build, max_steps=10)
    assert again.ticket.kept == pruned.ticket.kept


def test_a_ticket_of_ones_own_network_on_images_of_a_data_set() -> None:
    found = slt_compress.find_ticket(own_network(), sparsity=0.5, max_steps=12, method="magnitude", rounds=2)
    trained = slt_compress.train(found.tickets[0].ticket, source=own_network(), max_steps=40)
    assert trained.accuracy > 0.7
    with pytest.raises(UsageError, match=r"is of your own network, .*: give `source`, what builds it"):
        slt_compress.train(found.tickets[0].ticket)
    other = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    with pytest.raises(TicketError, match="with other tensors than those of"):
        slt_compress.train(found.tickets[0].ticket, source=other)


def test_checkpoints_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And are of the ticket, the mask, the weights and the teacher that were given."""
    ticket = slt_compress.search(LENET, method="random", sparsity=0.5).ticket
    masks = {layer.name: torch.from_numpy(ticket.mask(layer.name)) for layer in ticket.layers}
    weights = ticket.restore().state_dict()
    trainings: dict[str, tuple[Any, dict[str, Any]]] = {
        "prune": (slt_compress.prune, {"model": LENET, "method": "magnitude", "weights": weights}),
        "find-ticket": (slt_compress.find_ticket, {"model": LENET, "rewind_steps": 2}),
        "ticket": (slt_compress.train, {"ticket": ticket, "teacher": weights}),
        "mask": (slt_compress.train, {"ticket": LENET, "mask": masks}),
    }
    for name, (train, given) in trainings.items():
        kept = Checkpoints(tmp_path / name, 5)
        with monkeypatch.context() as patched:
            die_in_step(patched, 8)
            with pytest.raises(Killed):
                train(**given, max_steps=12, checkpoints=kept)
        reporter = RecordingReporter()
        train(**given, max_steps=12, checkpoints=replace(kept, resume=True), reporter=reporter)
        assert "resuming from the checkpoint of step 5" in reporter.notes
        for other in ("weights", "teacher", "mask"):
            if other in given:
                changed = {key: 1 - one.float() if other == "mask" else 2 * one for key, one in given[other].items()}
                with pytest.raises(UsageError, match=f"another training: its {other} is"):
                    train(**{**given, other: changed}, max_steps=12, checkpoints=replace(kept, resume=True))


def test_masks_and_weights_come_from_files(tmp_path: Path) -> None:
    ticket = slt_compress.search(LENET, method="random", sparsity=0.5).ticket
    masks = {layer.name: torch.from_numpy(ticket.mask(layer.name)) for layer in ticket.layers}
    save_file(masks, tmp_path / "mask.safetensors")
    trained = slt_compress.train(LENET, mask=tmp_path / "mask.safetensors", max_steps=20, seed=3)
    assert trained.ticket.kept == ticket.kept
    save_file(trained.ticket.restore().state_dict(), tmp_path / "w.safetensors")
    for weights in (tmp_path / "w.safetensors", str(tmp_path / "w.safetensors"), trained.ticket.restore().state_dict()):
        pruned = slt_compress.prune(LENET, weights=weights, max_steps=4, config=PruneConfig(method="magnitude"))
        assert pruned.ticket.sparsity == pytest.approx(0.9, abs=1e-4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seed": 3}, "`seed` has no meaning for a ticket, which has its own"),
        ({"initialiser": "uniform"}, "`initialiser` has no meaning for a ticket"),
        ({"input_size": 12}, "`input_size` of the ticket's network is 8, got 12"),
        ({"source": build}, "`source` has no meaning for a ticket of lenet-300-100, which is built by name"),
        ({"mask": {}}, "`mask` is for a network by name or one of yours; a ticket has its own"),
        ({"config": TrainConfig(), "sparsity": 0.5}, "unknown setting 'sparsity'"),
        (
            {"statistics": "fp16", "dataset": "digits", "train": TRAIN},
            "give a `dataset` by name, or `train` and `test`",
        ),
    ],
)
def test_what_does_not_go_with_a_ticket_is_refused(ticket: Ticket, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        slt_compress.train(ticket, **fields)


def test_training_a_network_needs_a_mask() -> None:
    with pytest.raises(UsageError, match="training a network needs a `mask`; to choose one too, prune it"):
        slt_compress.train(build)


def test_data_that_was_passed_has_to_be_passed_again() -> None:
    pruned = slt_compress.prune(build, **DATA, method="magnitude", max_steps=2)
    with pytest.raises(UsageError, match="was made on data of your own: give `train` and `test`"):
        slt_compress.train(pruned.ticket, source=build)


def test_a_network_with_arguments_is_trained_as_it_was_found() -> None:
    few: dict[str, Any] = {"max_steps": 4, "batch_size": 16, "model_arguments": {"depth": 1}}
    found = slt_compress.find_ticket("test_vit", rounds=1, **few).tickets[0].ticket
    trained = slt_compress.train(found, max_steps=2, batch_size=16).ticket
    assert trained.provenance.model == found.provenance.model
