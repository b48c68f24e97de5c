"""Several processes find what one finds, share the work, survive a killed one, and write and speak once."""

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from slt_compress.config import SearchConfig
from slt_compress.data.splits import TensorSplit
from slt_compress.errors import LostProcessError, UsageError, VerificationError
from slt_compress.evaluation.accuracy import evaluate, torch_classifier
from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.training import distributed
from slt_compress.training.distributed import SINGLE_PROCESS, DistributedContext, join, meet
from slt_compress.training.search import search
from tests.support.digits import CPU, PREPROCESSING, TRAIN, VALIDATION, training_run
from tests.support.process import Run

ROOT = Path(__file__).parents[2]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
SEARCH = ("-m", "slt_compress", "search")


def torchrun(folder: Path, *words: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*TORCHRUN, *map(str, words)],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> str:
    """Wait for torchrun; return what it and its processes wrote to stderr."""
    try:
        return process.communicate(timeout=300)[1]
    except subprocess.TimeoutExpired:
        process.terminate()  # which ends its processes too
        pytest.fail(f"torchrun has not ended within 300 s: {process.communicate()[1]}")


def find_without_batch_norm(context: DistributedContext) -> tuple[torch.Tensor, float]:
    """Search a network without any normalisation; return its mask, flat, and its held-out accuracy."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 10))
    network = FlatNetwork(module, 0, 0.1, CPU)
    found = search(network, training_run(150, batch_size=255), SearchConfig(sparsity=0.9), context=context)
    accuracy = evaluate(torch_classifier(module, CPU), VALIDATION, PREPROCESSING, context=context).accuracy
    return torch.cat([mask.flatten() for mask in found.masks.values()]), accuracy


def test_without_batch_norm_two_processes_find_the_mask_of_one(tmp_path: Path) -> None:
    process = torchrun(ROOT, "-m", "tests.training.test_distributed", tmp_path)
    errors = finish(process)
    assert process.returncode == 0, errors
    mask, accuracy = find_without_batch_norm(SINGLE_PROCESS)
    (first, first_accuracy), (second, second_accuracy) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert torch.equal(first, second)
    assert float((first == mask).float().mean()) >= 0.99
    assert first_accuracy == second_accuracy == pytest.approx(accuracy, abs=0.02)
    assert accuracy > 0.9


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to find the processes of torchrun")
def test_a_killed_process_is_replaced_and_the_ticket_is_as_good(
    searched: tuple[Path, dict[str, Any]], invoke: Run, tmp_path: Path
) -> None:
    """BatchNorm sees half batches here."""
    arguments = ("lenet-300-100", "--max-steps", 150, "--output", "t.safetensors")
    process = torchrun(tmp_path, "--max-restarts", 3, *SEARCH, *arguments, "--checkpoint-every", 10, "--resume")
    while not (tmp_path / "t.safetensors.ckpt" / "search.safetensors").exists() and process.poll() is None:
        time.sleep(0.01)
    follower = next(worker for worker in children(process.pid) if environment(worker).get("RANK") == "1")
    os.kill(follower, signal.SIGKILL)
    errors = finish(process)
    assert process.returncode == 0, errors
    assert "resuming from the checkpoint of step" in " ".join(errors.split())
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]
    assert invoke("evaluate", "t.safetensors", "--min-accuracy", searched[1]["accuracy"] - 0.03).returncode == 0


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def environment(process: int) -> dict[str, str]:
    entries = Path(f"/proc/{process}/environ").read_text().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def test_an_error_of_one_process_ends_all(tmp_path: Path) -> None:
    process = torchrun(tmp_path, *SEARCH, "lenet-300-100", "--batch-size", 3)
    errors = finish(process)
    assert process.returncode == 1
    assert re.search("2 processes need batches of at least 4 images, two for each, got 3", " ".join(errors.split()))


def test_a_comparison_is_refused(invoke: Run) -> None:
    done = invoke("compare", "lenet-300-100", "--output", "grid", TORCHELASTIC_RUN_ID="none", WORLD_SIZE="2")
    assert done.returncode == 2
    assert "compare runs in one process; torchrun is for search" in done.stderr


def test_the_shards_are_the_batch() -> None:
    shards = [
        list(TRAIN.batches(101, shuffle=torch.Generator().manual_seed(0), drop_last=True, skip=2, shard=(rank, 3)))
        for rank in range(3)
    ]
    whole = list(TRAIN.batches(101, shuffle=torch.Generator().manual_seed(0), drop_last=True, skip=2))
    for (images, labels), *parts in zip(whole, *shards, strict=True):
        for rank, (part, part_labels) in enumerate(parts):
            assert torch.equal(part, images[rank::3])
            assert torch.equal(part_labels, labels[rank::3])


def test_an_evaluation_is_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes one after the other: what they add up to is the evaluation by one."""
    weights = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))

    def classifier(images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) @ weights

    given: list[list[torch.Tensor]] = []

    def keep(_: DistributedContext, tensor: torch.Tensor) -> torch.Tensor:
        given[-1].append(tensor)
        return tensor

    whole = evaluate(classifier, VALIDATION, PREPROCESSING)
    monkeypatch.setattr(DistributedContext, "all_reduce_sum", keep)
    for rank in range(2):
        given.append([])
        evaluate(classifier, VALIDATION, PREPROCESSING, context=DistributedContext(rank, 2))
    loss, predictions, targets = (first + second for first, second in zip(*given, strict=True))
    assert whole.predictions is not None
    assert torch.equal(predictions, whole.predictions)
    assert torch.equal(targets, next(VALIDATION.batches(1000))[1])
    assert loss.item() == pytest.approx(whole.loss * whole.samples)


def test_a_single_process_exchanges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")  # a scheduler's
    with join() as context:
        assert context is SINGLE_PROCESS
    split = TensorSplit(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.arange(3))
    assert context.shard_of(split) is split
    assert context.all_reduce_sum(torch.ones(2)).tolist() == [1, 1]
    assert context.broadcast(7) == 7
    assert context.local_device(torch.device("cuda")) == torch.device("cuda")


def test_apples_gpus_are_refused_to_several() -> None:
    assert SINGLE_PROCESS.local_device(torch.device("mps")) == torch.device("mps")
    with pytest.raises(UsageError, match="use `device=cpu`"):
        DistributedContext(1, 2, 1).local_device(torch.device("mps"))


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0)])
def test_new_processes_meet_apart_from_what_ended_ones_left_in_the_store(order: tuple[int, ...]) -> None:
    store = dist.HashStore()  # type: ignore[attr-defined]
    for _ in range(3):
        with ThreadPoolExecutor(3) as pool:
            meetings = []
            for rank in order:
                meetings.append(pool.submit(meet, store, rank, 3))
                time.sleep(0.1)
            parts = [meeting.result(timeout=60) for meeting in meetings]
        assert not any(part.check(["address"]) for part in parts)
        parts[0].set("address", "mine")
        assert all(part.get("address") == b"mine" for part in parts)


def test_a_main_process_that_does_not_come_is_waited_for_only_so_long() -> None:
    store = dist.HashStore()  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError):
        meet(store, 1, 2, timedelta(seconds=1))
    store.set("main", "ended")
    with pytest.raises(RuntimeError, match="process 1 waited 0:00:01 for the main process"):
        meet(store, 1, 2, timedelta(seconds=1))


def test_each_process_of_a_machine_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert DistributedContext(5, 8, 1).local_device(torch.device("cuda")) == torch.device("cuda", 1)
    assert DistributedContext(5, 8, 1).local_device(torch.device("cpu")) == torch.device("cpu")
    with pytest.raises(UsageError, match="process 2 of this machine has no GPU of its own, torch finds 2"):
        DistributedContext(6, 8, 2).local_device(torch.device("cuda"))


def test_a_main_process_that_never_comes_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("Connection refused\nand much more")

    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed, "rendezvous", refuse)
    with pytest.raises(LostProcessError, match=r"one may have ended: Connection refused$"), join():
        pass


if __name__ == "__main__":  # one of the two processes
    torch.set_num_threads(1)
    with join() as context:
        torch.save(find_without_batch_norm(context), f"{sys.argv[1]}/{context.rank}.pt")
        context.check_equal(torch.ones(3), "what is equal")
        with pytest.raises(VerificationError, match="the 2 processes of this search do not agree about their rank"):
            context.check_equal(torch.tensor([context.rank]), "their rank")
    threads = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    assert not [name for name in threads if "gloo" in name]  # they end a process with SIGABRT, now and then
