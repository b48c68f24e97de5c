"""Worker processes: as many as shared memory has room for, and one line for one that is lost."""

import os
import signal
import time
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset, default_collate

from slt_compress.data import workers
from slt_compress.data.workers import Workers, lost_workers
from slt_compress.errors import DataError

MB = 10**6


@pytest.fixture
def told() -> list[str]:
    return []


def free(monkeypatch: pytest.MonkeyPatch, count: int | None) -> None:
    """Pretend that shared memory has so many bytes left."""
    monkeypatch.setattr(workers, "_free_shared_memory", lambda: count)


@pytest.mark.parametrize(
    ("megabytes", "batch", "wanted", "expected"),
    [
        (10_000, 38, 8, 8),
        (64, 38, 8, 0),  # Docker's default, and 256 images of 224 px
        (64, 5, 8, 5),
        (64, 15, 8, 1),
        (64, 5, 2, 2),
        (64, 38, 0, 0),
        (0, 1, 4, 0),
        (None, 38, 4, 4),
    ],
)
def test_batches_in_flight_have_room(
    monkeypatch: pytest.MonkeyPatch, told: list[str], megabytes: int | None, batch: int, wanted: int, expected: int
) -> None:
    free(monkeypatch, None if megabytes is None else megabytes * MB)
    some = Workers(wanted, told.append)
    assert [some.count(batch * MB) for _ in range(3)] == [expected] * 3
    if expected == wanted:
        assert told == []
        return
    if expected:
        assert (2 * expected + 2) * batch <= megabytes  # type: ignore[operator]
    words = f"{expected or 'no'} worker{'' if expected == 1 else 's'}, which takes longer: /dev/shm has {megabytes} MB"
    assert len(told) == 1  # once
    assert f"images are decoded by {words} free, a batch takes {batch}.0 MB" in told[0]


def test_without_a_number_the_cores_decide_up_to_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, None)
    for cores, expected in ((1, 1), (5, 5), (64, 8)):
        monkeypatch.setattr(workers, "_cores", lambda cores=cores: cores)
        assert Workers(None, print).count(1) == expected


DATA = TensorDataset(torch.arange(12))
BATCHES = [[3, 1], [11], [0, 5, 6]]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_any_number_reads_the_same(count: int, told: list[str]) -> None:
    found = Workers(count, told.append).read(DATA, BATCHES, default_collate, 100, pin=False)
    assert [batch[0].tolist() for batch in found] == BATCHES
    assert told == []


def test_where_none_can_be_started_this_process_reads(monkeypatch: pytest.MonkeyPatch, told: list[str]) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", refuse)
    some = Workers(2, told.append)
    for _ in range(2):
        found = some.read(DATA, BATCHES, default_collate, 100, pin=False)
        assert [batch[0].tolist() for batch in found] == BATCHES
    assert told == [
        "images are decoded by no workers, which takes longer: they cannot be started (No space left on device)"
    ]


class Killed:
    """Data whose reader is killed, as the system does for want of memory."""

    def __getitem__(self, index: int) -> int:
        if index == 2:
            time.sleep(0.5)  # until the first batches have been fetched
            os.kill(os.getpid(), signal.SIGKILL)
        return index

    def __len__(self) -> int:
        return 3


def test_a_lost_worker_is_one_line_that_names_the_way_out() -> None:
    with (
        pytest.raises(DataError, match="`workers=1` takes less, and `workers=0`") as caught,
        lost_workers(),
    ):
        list(Workers(1, print).read(Killed(), [[0], [1], [2]], default_collate, 100, pin=False))
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"num_workers=0 in a DataLoader of your own"), lost_workers():
        list(DataLoader(Killed(), num_workers=1))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "how"),
    [
        (
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that",
            "killed by the signal Bus error,",
        ),
        ("DataLoader worker (pid(s) 7, 8) exited unexpectedly", "lost,"),
        (
            "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback\nRuntimeError: unable to allocate "
            "shared memory(shm) for file </torch_1>: No space left on device (28)",
            "lost,",
        ),
    ],
)
def test_all_that_torch_says_of_lost_workers_is_understood(text: str, how: str) -> None:
    with pytest.raises(DataError, match=f"a worker process that reads the data was {how}"), lost_workers():
        raise RuntimeError(text)


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"), lost_workers():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
