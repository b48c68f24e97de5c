"""Which checkpoint a training may resume from, and what is said of one that it may not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slt_compress.config import SearchConfig
from slt_compress.errors import CheckpointError, OutputError, SltError, UsageError
from slt_compress.pipeline.find import find_ticket
from slt_compress.pruning.config import FindConfig, PruneConfig, TrainConfig
from slt_compress.pruning.finish import Job
from slt_compress.pruning.prune import prune
from slt_compress.pruning.resume import Given, kept
from slt_compress.ticket.sample import sample_ticket
from slt_compress.training.checkpoint import Checkpoints
from slt_compress.training.distillation import Teacher
from tests.support.killed import Killed, die_in_step
from tests.support.pruned import LENET, lenet_job, prepared_lenet
from tests.support.reporters import RecordingReporter

JOB = lenet_job()
CONFIG = PruneConfig(JOB.config, "magnitude", sparsity=0.5)
MODULE = JOB.prepared.source.build()


def known(config: Any = CONFIG, job: Job = JOB, **given: Given) -> dict[str, Any]:
    found = kept(job, Checkpoints(Path("none")), config, given).checkpoints
    assert found
    return found.identity


def test_a_training_is_known_by_what_decides_about_its_steps() -> None:
    assert known() == known()
    same = [
        replace(CONFIG, values="int8"),  # rounded at the end
        replace(CONFIG, run=replace(CONFIG.run, codec="raw", statistics="fp32")),
    ]
    assert all(known(one) == known() for one in same)
    others = [
        known(replace(CONFIG, values="int4")),  # with which the last steps are made
        known(replace(CONFIG, sparsity=0.6)),
        known(replace(CONFIG, learning_rate=0.1)),
        known(replace(CONFIG, rounds=3)),
        known(job=lenet_job(8)),
        known(job=lenet_job(seed=1)),
        known(job=lenet_job(augment="flip")),
        known(FindConfig(JOB.config, "magnitude", sparsity=0.5)),
        known(weights=MODULE.state_dict()),
    ]
    assert all(one != known() for one in others)
    assert known(TrainConfig(controls=True)) == known(TrainConfig(values="int8"))


def test_it_is_known_by_the_contents_of_what_it_was_given() -> None:
    one, other = (sample_ticket(LENET, density, input_size=8, channels=1) for density in (0.2, 0.3))
    changed = {name: value.clone() for name, value in MODULE.state_dict().items()}
    changed["1.weight"].view(-1)[7] += 1
    again = {name: value.clone() for name, value in MODULE.state_dict().items()}
    assert known(ticket=one)["ticket"] == one.digest != known(ticket=other)["ticket"]
    assert known(weights=MODULE.state_dict()) == known(weights=again) != known(weights=changed)
    assert known(teacher=Teacher(MODULE, "a"))["teacher"] == known(weights=again)["weights"]
    assert known(weights=None)["weights"] is None


def killed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Checkpoints:
    """Leave the checkpoint of a pruning after step 3 of 6."""
    found = Checkpoints(folder / "kept", 1)
    with monkeypatch.context() as patched:
        die_in_step(patched, 3)
        with pytest.raises(Killed):
            prune(LENET, CONFIG, prepared=prepared_lenet(), checkpoints=found)
    return replace(found, resume=True)


def test_that_of_another_request_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = killed(tmp_path, monkeypatch)
    words = r"search\.safetensors belongs to another training: its sparsity is 0\.5, wanted is 0\.6; without `resume`"
    with pytest.raises(UsageError, match=words):
        prune(LENET, replace(CONFIG, sparsity=0.6), prepared=prepared_lenet(), checkpoints=there)
    with pytest.raises(UsageError, match='its command is "prune", wanted is "train"; once it is deleted the training'):
        kept(JOB, replace(there, automatic=True), TrainConfig())
    with pytest.raises(UsageError, match="belongs to another search: its method is"):
        find_ticket(LENET, SearchConfig(max_steps=6, batch_size=64), prepared=prepared_lenet(), checkpoints=there)
    part = there.of("random-mask")
    there.file.rename(part.file)
    with pytest.raises(UsageError, match=r"search-random-mask\.safetensors belongs to another training"):
        kept(JOB, there, TrainConfig())
    assert part.file.exists()


def test_a_damaged_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = killed(tmp_path, monkeypatch)
    whole = there.file.read_bytes()
    there.file.write_bytes(sample_ticket(LENET, 0.2, input_size=8, channels=1).to_bytes())
    with pytest.raises(CheckpointError, match=r"^cannot resume from .* \(it is no checkpoint\); without"):
        prune(LENET, CONFIG, prepared=prepared_lenet(), checkpoints=there)
    for content in (b"", whole[:100], whole[:-1], whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]):
        there.file.write_bytes(content)
        with pytest.raises(
            CheckpointError, match=r"^cannot resume from .*; without `resume` the training starts afresh$"
        ):
            prune(LENET, CONFIG, prepared=prepared_lenet(), checkpoints=there)


def test_one_that_cannot_be_written_is_known_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"")
    with pytest.raises(OutputError, match="is a file, expected a folder"):
        prune(LENET, CONFIG, prepared=prepared_lenet(), checkpoints=Checkpoints(tmp_path / "kept", 1))


def test_nobody_goes_on_from_a_training_that_has_diverged(tmp_path: Path) -> None:
    there = Checkpoints(tmp_path / "kept", 1)
    with pytest.raises(SltError, match="the training has diverged"):
        prune(LENET, replace(CONFIG, learning_rate=3e38), prepared=prepared_lenet(), checkpoints=there)
    assert not there.folder.exists()


def test_so_many_steps_that_nothing_is_kept_are_told(tmp_path: Path) -> None:
    reporter = RecordingReporter()
    kept(lenet_job(6, reporter), Checkpoints(tmp_path / "kept", 6), CONFIG)
    assert reporter.notes == ["`checkpoint_every=6` keeps nothing of a training of 6 steps but its end"]


def test_without_checkpoints_a_job_stays_as_it_is() -> None:
    assert kept(JOB, None, CONFIG) is JOB
