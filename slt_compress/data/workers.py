"""Processes that decode images while the network runs: how many there can be, and what is said when one is lost.

Their batches lie in shared memory, of which a container may have very little: 64 MB by Docker's default.
"""

import contextlib
import multiprocessing
import os
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader

from slt_compress.errors import DataError

_MOST = 8
_SHARED_MEMORY = "/dev/shm"
_OVERHEAD = 2**20  # bytes that queues and locks take there, and more
_BATCHES_EACH = 2  # torch lets every process work ahead by so many
_BATCHES_IN_USE = 2  # one that the network has, one that is on its way


class Workers:
    """Reads examples with several processes.

    `wanted` is the most there may be; None: as many as there are cores, at most eight. `warn` is told once if there are
    fewer.
    """

    def __init__(self, wanted: int | None, warn: Callable[[str], None]) -> None:
        self._asked = wanted
        self._wanted = min(_MOST, _cores()) if wanted is None else wanted
        self._warn = warn
        self._warned = False

    def idle(self) -> None:
        """Say, if processes were asked for, that images are read without them."""
        if self._asked and not self._warned:
            self._warned = True
            self._warn(f"`workers={self._asked}` has no effect: the images fit into memory, and are decoded once")

    def count(self, batch_bytes: int) -> int:
        """Return how many processes there are, for batches of a size: 0 where shared memory has no room for one's."""
        free = _free_shared_memory()
        if free is None:
            return self._wanted
        room = ((free - _OVERHEAD) // max(1, batch_bytes) - _BATCHES_IN_USE) // _BATCHES_EACH
        count = max(0, min(self._wanted, room))
        if count < self._wanted:
            self._tell(
                count,
                f"{_SHARED_MEMORY} has {free / 1e6:,.0f} MB free, a batch takes {batch_bytes / 1e6:,.1f} MB "
                "(Docker's shm-size gives more)",
            )
        return count

    def read(
        self, data: Any, batches: Sequence[list[int]], collate: Callable[[Any], Any], batch_bytes: int, *, pin: bool
    ) -> Iterator[Any]:
        """Yield what `collate` makes of the examples in each batch; `pin` puts it where a GPU copies faster from."""

        def start(count: int) -> Iterator[Any]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of more workers than cores: so it was asked for
                return iter(
                    DataLoader(
                        data,
                        batch_sampler=batches,
                        num_workers=count,
                        collate_fn=collate,
                        pin_memory=pin,
                        generator=torch.Generator(),  # torch's global one is the user's
                    )
                )

        count = self.count(batch_bytes)
        try:
            if count:
                multiprocessing.Lock()  # where none is to be had, torch would leave a traceback behind
            loaded = start(count)
        except OSError as error:  # no more processes, or locks, to be had
            if not count:
                raise
            self._wanted = 0
            self._tell(0, f"they cannot be started ({error.strerror or error})")
            loaded = start(0)
        yield from loaded

    def _tell(self, count: int, reason: str) -> None:
        if not self._warned:
            self._warned = True
            words = f"{count or 'no'} worker{'' if count == 1 else 's'}"
            self._warn(f"images are decoded by {words}, which takes longer: {reason}")


@contextlib.contextmanager
def lost_workers() -> Iterator[None]:
    """Raise DataError, in one line, if a process that reads data is lost. Python may notice that anywhere."""
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        if not _tells_of_a_lost_worker(error):
            raise
        _, killed, signal = str(error).partition("is killed by signal: ")
        how = f"killed by the signal {signal.partition('.')[0].strip()}" if killed else "lost"
        raise DataError(
            f"a worker process that reads the data was {how}, often for want of memory: `workers=1` takes less, and "
            "`workers=0` reads without such processes (num_workers=0 in a DataLoader of your own)"
        ) from error


def _tells_of_a_lost_worker(error: BaseException) -> bool:
    """Return whether torch has found that a worker is gone, or cannot get the batch that lies with one."""
    text = str(error)
    if isinstance(error, RuntimeError):
        return text.startswith("DataLoader worker (pid") or ("DataLoader worker" in text and "(shm)" in text)
    frames = {frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)}
    return "rebuild_storage_fd" in frames or "in pin memory thread" in text


def _cores() -> int:
    """Return how many cores this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _free_shared_memory() -> int | None:
    """Return its bytes, None where it is no folder: on other systems than Linux."""
    if sys.platform != "linux":
        return None
    try:
        return shutil.disk_usage(_SHARED_MEMORY).free if os.access(_SHARED_MEMORY, os.W_OK | os.X_OK) else 0
    except OSError:
        return 0
