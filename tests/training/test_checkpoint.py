"""Checkpoints: a killed search ends as if it had not been, and no other search's file is mistaken for its own."""

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from slt_compress.config import SearchConfig
from slt_compress.data.splits import Batch, IndexedSplit
from slt_compress.errors import CheckpointError, DataError, OutputError, SltError, UsageError
from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.methods import registry
from slt_compress.models.registry import build_model, resolve_model
from slt_compress.training.checkpoint import Checkpoints, State
from slt_compress.training.keeper import KeptInterrupt
from slt_compress.training.loop import TrainingRun
from slt_compress.training.search import search
from tests.support.digits import CPU, lenet_for, training_run
from tests.support.gates import make_target
from tests.support.process import Run, run_here

RECIPES = [(name, recipe) for name, entry in registry.METHODS.items() if entry.optimises for recipe in entry.recipes]


class Stop(BaseException):
    pass


def find(
    checkpoints: Checkpoints | None = None,
    method: str = "crbg",
    recipe: str = "default",
    stop_at: int | None = None,
    run: TrainingRun | None = None,
) -> dict[str, torch.Tensor]:
    """Search 23 steps of 256 of 1,294 images, five a pass; raise Stop in the step after `stop_at`."""
    config = SearchConfig(method=method, recipe=recipe, sparsity=0.9, initialiser="signed-constant")
    network = lenet_for(config)
    calls = itertools.count()

    def stop(*_: Any) -> None:
        if next(calls) == stop_at:
            raise Stop

    network.module.register_forward_pre_hook(stop)
    found = search(network, run or training_run(23), config, checkpoints=checkpoints)
    return found.masks | dict(network.module.named_buffers())


@cache
def undisturbed(method: str, recipe: str) -> dict[str, torch.Tensor]:
    return find(None, method, recipe)


@pytest.mark.parametrize(("method", "recipe"), RECIPES)
@pytest.mark.parametrize("stop_at", [4, 5, 17, 22])
def test_a_stopped_search_ends_as_if_it_had_not_been(method: str, recipe: str, stop_at: int, tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "ckpt", 1)
    with pytest.raises(Stop):
        find(kept, method, recipe, stop_at)
    assert kept.find() == stop_at
    resumed = find(replace(kept, resume=True), method, recipe)
    for name, values in undisturbed(method, recipe).items():
        assert torch.equal(values, resumed[name])


class Unreadable(IndexedSplit):
    """Training images of which a number can be read, and no more."""

    def __init__(
        self,
        whole: IndexedSplit,
        left: "Iterator[int]",
        error: BaseException = DataError("cannot read the image 7.png"),  # noqa: B008
    ) -> None:
        self._whole = whole
        self._left = left
        self._error = error

    def __len__(self) -> int:
        return len(self._whole)

    def batches(self, *arguments: Any, **options: Any) -> Iterator[Batch]:
        for batch in self._whole.batches(*arguments, **options):
            if next(self._left, None) is None:
                raise self._error
            yield batch

    def take(self, indices: torch.Tensor) -> IndexedSplit:
        return Unreadable(self._whole.take(indices), self._left, self._error)

    def to(self, device: torch.device) -> IndexedSplit:
        return Unreadable(self._whole.to(device), self._left, self._error)


@pytest.mark.parametrize("readable", [3, 5, 22, 23, 25])
def test_data_that_can_no_longer_be_read_ends_no_search_for_good(readable: int, tmp_path: Path) -> None:
    """Neither in a step nor, after the last, where the statistics are measured: nobody has asked for checkpoints."""
    kept = Checkpoints(tmp_path / "ckpt")
    whole = training_run(23)
    broken = replace(whole, train=Unreadable(cast(IndexedSplit, whole.train), iter(range(readable))))
    words = rf"^cannot read the image 7\.png; the search is kept in .*ckpt: .*after step {min(readable, 23)} "
    with pytest.raises(DataError, match=words):
        find(kept, run=broken)
    resumed = find(replace(kept, resume=True))
    for name, values in find(None).items():
        assert torch.equal(values, resumed[name])


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (KeyboardInterrupt(), KeptInterrupt, "KeyboardInterrupt; "),
        (RuntimeError("out of memory\nat"), SltError, "RuntimeError: out of memory; "),
    ],
)
@pytest.mark.parametrize("readable", [23, 25])
def test_whatever_ends_a_search_after_its_last_step_costs_nothing(
    error: BaseException, kind: type[BaseException], words: str, readable: int, tmp_path: Path
) -> None:
    kept = Checkpoints(tmp_path / "ckpt")
    whole = training_run(23)
    broken = replace(whole, train=Unreadable(cast(IndexedSplit, whole.train), iter(range(readable)), error))
    with pytest.raises(kind, match=rf"^{words}the search is kept in .*ckpt: `resume` continues after step 23$"):
        find(kept, run=broken)
    resumed = find(replace(kept, resume=True))
    for name, values in find(None).items():
        assert torch.equal(values, resumed[name])


def test_a_further_interrupt_does_not_end_the_saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line raises one every three seconds, in case that the first has been swallowed."""
    kept, whole = Checkpoints(tmp_path / "ckpt"), training_run(23)
    broken = replace(whole, train=Unreadable(cast(IndexedSplit, whole.train), iter(range(23)), KeyboardInterrupt()))
    save = Checkpoints.save

    def interrupted(*arguments: Any) -> None:
        for _ in range(2):
            time.sleep(0.3)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # type: ignore[arg-type]
        time.sleep(0.3)
        save(*arguments)

    monkeypatch.setattr(Checkpoints, "save", interrupted)
    with pytest.raises(KeptInterrupt):
        find(kept, run=broken)
    assert kept.find() == 23


def test_a_checkpoint_that_nobody_asked_for_replaces_none(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "ckpt")
    kept.folder.mkdir()
    kept.file.write_bytes(b"of another search")
    whole = training_run(23)
    broken = replace(whole, train=Unreadable(cast(IndexedSplit, whole.train), iter(range(3))))
    with pytest.raises(DataError, match=r"^cannot read the image 7\.png$"):
        find(kept, run=broken)
    assert kept.file.read_bytes() == b"of another search"


def test_saving_has_no_influence(tmp_path: Path) -> None:
    saved = find(Checkpoints(tmp_path / "ckpt", 3))
    assert all(torch.equal(values, saved[name]) for name, values in find().items())


def stopped(folder: Path, **identity: Any) -> Checkpoints:
    kept = Checkpoints(folder, 5, identity=identity)
    with pytest.raises(Stop):
        find(kept, stop_at=12)
    return kept


def test_a_checkpoint_of_another_search_is_refused(tmp_path: Path) -> None:
    kept = stopped(tmp_path / "ckpt", seed=0, model={"name": "resnet18"})
    assert kept.find() == 10
    for key, value in (("seed", 1), ("model", {"name": "resnet34"}), ("density", 0.1)):
        with pytest.raises(UsageError, match=f"another search: its {key}"):
            replace(kept, identity={**kept.identity, key: value}).find()
    with pytest.raises(UsageError, match="its seed is 0, wanted is null"):
        replace(kept, identity={"model": {"name": "resnet18"}}).find()


def resume(kept: Checkpoints) -> None:
    assert kept.find() is not None
    find(replace(kept, resume=True))


def test_damage_is_noticed_wherever_it_is(tmp_path: Path) -> None:
    kept = stopped(tmp_path / "ckpt", seed=0)
    whole = kept.file.read_bytes()
    draw = random.Random(0)
    for position in (0, 9, 100, 400, len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(20))):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << draw.randrange(8)
        for content in (bytes(damaged), whole[:position]):
            kept.file.write_bytes(content)
            with pytest.raises((CheckpointError, UsageError), match="without `resume` the search starts afresh"):
                resume(kept)


def test_a_finished_search_leaves_nothing(tmp_path: Path) -> None:
    kept = stopped(tmp_path / "ckpt")
    (kept.folder / ".search.safetensors.abc.tmp").write_bytes(b"killed")
    kept.remove()
    assert not kept.folder.exists()
    kept = stopped(tmp_path / "ckpt")
    (kept.folder / "mine.txt").write_text("not ours")
    kept.remove()
    assert [path.name for path in kept.folder.iterdir()] == ["mine.txt"]


def test_the_state_is_complete_and_small() -> None:
    network = FlatNetwork(build_model(resolve_model("lenet-5", classes=10, channels=1, input_size=8)), 0, 0.1, CPU)
    method = registry.make("crbg", network, make_target(0.1, 10))
    state = State(method, method.optimiser(), torch.Generator(), network.module)
    gate = method.gate(0)
    method.parameter.grad = torch.ones_like(gate)
    state.optimiser.step()
    tensors = state.state_dict()
    assert {"method.parameter", "optimiser.exp_avg", "optimiser.exp_avg_sq", "optimiser.step", "generator"} <= set(
        tensors
    )
    assert all(f"buffer.{name}" in tensors for name, _ in network.module.named_buffers())
    assert sum(value.nbytes for value in tensors.values()) < 13.5 * gate.numel() + 10_000


ARGUMENTS = ("search", "lenet-300-100", "--max-steps", 400, "--output", "t.safetensors")


def start(folder: Path, *arguments: object) -> "subprocess.Popen[str]":
    """Run `slt-compress` as `run_cli` does, without waiting for it."""
    words = [sys.executable, "-m", "slt_compress", *map(str, arguments)]
    return subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def wait_for_new(path: Path, before: int, process: "subprocess.Popen[str]") -> int:
    """Wait until a file has been written anew; return when it was, in nanoseconds. `before` is that of the last one."""
    while process.poll() is None:
        if path.exists() and (now := path.stat().st_mtime_ns) != before:
            return now
        time.sleep(0.005)
    return before


@pytest.mark.parametrize("method", ["crbg", "edge-popup"])
def test_kill_and_resume_gives_the_same_bytes(method: str, tmp_path: Path) -> None:
    arguments = (*ARGUMENTS, "--method", method)
    (tmp_path / "whole").mkdir()
    assert run_here(*arguments, cwd=tmp_path / "whole").returncode == 0
    checkpoint = tmp_path / "t.safetensors.ckpt" / "search.safetensors"
    draw = random.Random(0)
    kills = written = 0
    for _ in range(2):
        process = start(tmp_path, *arguments, "--checkpoint-every", 7, "--resume")
        written = wait_for_new(checkpoint, written, process)
        time.sleep(draw.uniform(0, 0.5))
        kills += process.poll() is None
        process.kill()
        process.communicate()
    assert kills
    done = run_here(*arguments, "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "resuming from the checkpoint of step" in done.stderr
    assert (tmp_path / "t.safetensors").read_bytes() == (tmp_path / "whole" / "t.safetensors").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.safetensors", "whole"]


def test_an_interrupted_search_says_how_to_resume(tmp_path: Path) -> None:
    process = start(tmp_path, *ARGUMENTS, "--checkpoint-every", 5)
    folder = tmp_path / "t.safetensors.ckpt"
    wait_for_new(folder / "search.safetensors", 0, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "the same command with --resume continues from the checkpoint in t.safetensors.ckpt" in " ".join(
        errors.split()
    )
    other = run_here(*ARGUMENTS, "--seed", 1, "--resume", cwd=tmp_path)
    assert other.returncode == 2
    assert "belongs to another search: its seed is 0, wanted is 1" in other.stderr
    (folder / "search.safetensors").write_bytes(b"damaged")
    damaged = run_here(*ARGUMENTS, "--resume", cwd=tmp_path)
    assert damaged.returncode == 3
    assert "without --resume the search starts afresh" in damaged.stderr
    without = run_here(*ARGUMENTS, cwd=tmp_path)
    assert without.returncode == 0
    assert (folder / "search.safetensors").read_bytes() == b"damaged"  # not its own
    afresh = run_here(*ARGUMENTS, "--checkpoint-every", 100, cwd=tmp_path)
    assert afresh.returncode == 0
    assert "the checkpoint in t.safetensors.ckpt will be replaced; --resume would continue from it" in afresh.stderr
    assert not folder.exists()


def test_resume_without_a_checkpoint_starts_afresh_and_says_so(invoke: Run, tmp_path: Path) -> None:
    done = invoke("search", "lenet-300-100", "--max-steps", 5, "--resume", "--output", "t.safetensors")
    assert done.returncode == 0
    assert "no checkpoint in t.safetensors.ckpt: the search starts afresh" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]


def test_a_full_disk_at_a_checkpoint_does_not_end_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told once, the checkpoint before stays, and the next one is tried again."""
    told: list[str] = []
    kept = Checkpoints(tmp_path / "ckpt", 5, warn=told.append)
    full = iter([False, True, True, False])
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if next(full):
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    found = find(kept)
    (line,) = told
    assert line.startswith("no checkpoint after step 10, the search goes on: cannot write ")
    assert line.endswith("search.safetensors: No space left on device")
    assert kept.find() == 20
    assert [path.name for path in kept.folder.iterdir()] == ["search.safetensors"]
    monkeypatch.undo()
    assert all(torch.equal(values, found[name]) for name, values in find().items())


def test_a_checkpoint_that_cannot_be_written_is_known_before_the_search(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "odd.ckpt").mkdir()
    os.mkfifo(tmp_path / "odd.ckpt" / "search.safetensors")
    for folder, message in (("file", "is a file, expected a folder"), ("odd.ckpt", "it is a pipe")):
        with pytest.raises(OutputError, match=message):
            Checkpoints(tmp_path / folder, 1).check()
    Checkpoints(tmp_path / "new.ckpt", 1).check()
    assert not (tmp_path / "new.ckpt").exists()
