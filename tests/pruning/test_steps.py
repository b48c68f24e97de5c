"""Steps of trainings: one that is killed again and again leaves the bytes of one that was not."""

from pathlib import Path
from typing import Any

import pytest
import torch

from slt_compress.errors import DataError
from slt_compress.pipeline.resume import make_steps
from slt_compress.pipeline.teacher import teacher_of
from slt_compress.pruning.config import FindConfig, PruneConfig, TrainConfig
from slt_compress.pruning.magnitude import Magnitude
from slt_compress.pruning.prune import prune
from slt_compress.pruning.results import TrainedResult
from slt_compress.pruning.retrain import train_mask, train_ticket
from slt_compress.pruning.rounds import find
from slt_compress.pruning.steps import TrainingState
from slt_compress.ticket.sample import sample_ticket
from slt_compress.training.checkpoint import Checkpoints
from slt_compress.training.loop import Clock
from tests.support.killed import die_in_step, killed_again_and_again
from tests.support.pruned import LENET, generator, lenet_job, prepared_lenet, trained_network, trainer_for
from tests.support.reporters import RecordingReporter

STEPS = 18


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("recipe", ["default", "paper"])
@pytest.mark.parametrize("method", ["continuous-sparsification", "magnitude", "crbg"])
def test_a_killed_pruning_ends_as_if_it_had_not_been(
    method: str, recipe: str, every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every step of soft gates, between rounds, in the last steps with the final mask, and of int4 with rounding."""
    rounds = {"rounds": 4} if method == "magnitude" else {}
    config = PruneConfig(lenet_job(STEPS).config, method, recipe, 0.8, values="int4", **rounds)  # type: ignore[arg-type]

    def make(kept: Checkpoints | None) -> bytes:
        return prune(LENET, config, prepared=prepared_lenet(STEPS), checkpoints=kept).ticket.to_bytes()

    whole = make(None)
    found, deaths = killed_again_and_again(make, tmp_path, monkeypatch, lives=every + 1, every=every)
    assert deaths >= (STEPS - 1) // (every + 1)
    assert found == whole


@pytest.mark.parametrize("recipe", ["default", "paper"])
@pytest.mark.parametrize("method", ["continuous-sparsification", "magnitude"])
@pytest.mark.parametrize("k", [0, 4])
def test_a_killed_ticket_search_goes_on_in_its_round(
    method: str, recipe: str, k: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the early step and after it, in every round, with the masks that the rounds before have reached."""
    config = FindConfig(lenet_job(STEPS).config, method, recipe, (0.9, 0.5, 0.8), rewind_steps=k, rounds=3)

    def make(kept: Checkpoints | None) -> list[bytes]:
        result = find(LENET, config, prepared=prepared_lenet(STEPS), checkpoints=kept)
        return [found.ticket.to_bytes() for found in result.tickets]

    whole = make(None)
    found, deaths = killed_again_and_again(make, tmp_path, monkeypatch, lives=3, every=1)
    assert deaths >= STEPS // 3 - 1
    assert found == whole


def outcome(result: TrainedResult) -> tuple[object, ...]:
    """Return the bytes of a ticket, and what was measured of its controls."""
    return result.ticket.to_bytes(), [
        (one.name, measured.metric, measured.loss) for one in result.controls for measured in (one.test, one.validation)
    ]


@pytest.mark.parametrize("kind", ["plain", "controls", "rewound", "mask", "teacher"])
def test_a_killed_training_under_a_mask_goes_on(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In each of its trainings, none of which is made twice: of the early iterate, the ticket, and each control."""
    prepared = prepared_lenet(STEPS)
    ticket = sample_ticket(LENET, 0.2, input_size=8, channels=1)
    early, trainings = 0, 1
    config = TrainConfig(lenet_job(STEPS).config)
    if kind in ("controls", "rewound"):
        config, trainings = TrainConfig(config.run, controls=True), 3
    if kind == "rewound":
        early = 4
        asked = FindConfig(lenet_job(12).config, "magnitude", rewind_steps=early, rounds=2)
        ticket = find(LENET, asked, prepared=prepared_lenet(12)).tickets[0].ticket
    options: dict[str, Any] = {"prepared": prepared}
    if kind == "teacher":
        options["teacher"] = teacher_of(ticket, prepared)

    def make(kept: Checkpoints | None) -> tuple[object, ...]:
        if kind == "mask":
            masks = {layer.name: torch.from_numpy(ticket.mask(layer.name)) for layer in ticket.layers}
            return outcome(train_mask(masks, config, checkpoints=kept, **options))
        return outcome(train_ticket(ticket, config, checkpoints=kept, **options))

    whole = make(None)
    lives = 5
    found, deaths = killed_again_and_again(make, tmp_path, monkeypatch, lives=lives, every=2)
    assert (STEPS + early) * trainings // lives <= deaths < (STEPS + early) * trainings // 2
    assert found == whole


def test_all_that_moves_is_in_the_state() -> None:
    job = lenet_job(8)
    network = trained_network(job)
    trainer, follower = trainer_for(job, network), Magnitude(PruneConfig(method="magnitude"), 8, generator())
    follower.begin(trainer)
    state = TrainingState(trainer, follower)
    for done in make_steps(trainer, state, job.run, Clock(), job.reporter):
        follower.after(done, trainer)
        if done == 4:
            break
    kept = {name: value.clone() for name, value in state.state_dict().items()}
    other = trained_network(job, seed=1)
    again = TrainingState(trainer_for(job, other), Magnitude(PruneConfig(method="magnitude"), 8, generator()))
    again.load_state_dict(kept)
    assert again.state_dict().keys() == kept.keys()
    assert all(torch.equal(value, kept[name]) for name, value in again.state_dict().items())
    assert {"trainer.mask", "trainer.network.", "trainer.optimiser.0.exp_avg", "follower.generator"} <= kept.keys()


def test_the_seconds_before_are_counted(tmp_path: Path) -> None:
    job, kept = lenet_job(), Checkpoints(tmp_path / "kept", 1)
    trainer = trainer_for(job, trained_network(job))
    before = Clock(100.0)
    for _ in make_steps(trainer, TrainingState(trainer), job.run, before, job.reporter, checkpoints=kept):
        pass
    after, reporter = Clock(), RecordingReporter()
    resumed = Checkpoints(kept.folder, 1, resume=True)
    assert list(make_steps(trainer, TrainingState(trainer), job.run, after, reporter, checkpoints=resumed)) == []
    assert after.seconds() > 100
    assert reporter.notes == ["resuming from the checkpoint of step 6"]


def test_data_that_can_no_longer_be_read_leaves_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the very step, though nothing was due."""
    kept = Checkpoints(tmp_path / "kept", 100, automatic=True)
    config = PruneConfig(lenet_job(STEPS).config, "magnitude")
    die_in_step(monkeypatch, 7, DataError("cannot read the image 7.png"))
    words = r"^cannot read the image 7\.png; the training is kept in .*kept: .*the same command continues after step 7 "
    with pytest.raises(DataError, match=words):
        prune(LENET, config, prepared=prepared_lenet(STEPS), checkpoints=kept)
    assert [one.part for one in kept.present()] == [""]
