"""Processes that decode images while the network runs: how many there can be, and what is said when one is lost.

Their batches lie in shared memory, of which a container may have very little: 64 MB by Docker's default.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator

from slt_compress.errors import DataError

_MOST = 8
_SHARED_MEMORY = "/dev/shm"
_BATCHES_EACH = 2  # torch lets every process work ahead by so many
_BATCHES_IN_USE = 2  # one that the network has, one that is on its way


class Workers:
    """The number of processes.

    `wanted` is the most there may be; None: as many as there are cores, at most eight. `warn` is told once if there are
    fewer.
    """

    def __init__(self, wanted: int | None, warn: Callable[[str], None]) -> None:
        self._wanted = min(_MOST, _cores()) if wanted is None else wanted
        self._warn = warn
        self._warned = False

    def count(self, batch_bytes: int) -> int:
        """Return how many there are, for batches of a size: 0 where shared memory has no room for one's."""
        free = _free_shared_memory()
        if free is None:
            return self._wanted
        room = (free // max(1, batch_bytes) - _BATCHES_IN_USE) // _BATCHES_EACH
        count = max(0, min(self._wanted, room))
        if count < self._wanted and not self._warned:
            self._warned = True
            self._warn(
                f"images are decoded by {count or 'no'} worker{'' if count == 1 else 's'} instead of {self._wanted}, "
                f"which takes longer: {_SHARED_MEMORY} has {free / 1e6:,.0f} MB free, a batch takes "
                f"{batch_bytes / 1e6:,.1f} MB (docker run --shm-size=2g gives more)"
            )
        return count


@contextlib.contextmanager
def lost_workers() -> Iterator[None]:
    """Raise DataError, in one line, if a process that reads data is lost. Python may notice that anywhere."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if not text.startswith("DataLoader worker (pid") and not ("DataLoader worker" in text and "(shm)" in text):
            raise
        _, killed, signal = text.partition("is killed by signal: ")
        how = f"killed by the signal {signal.partition('.')[0].strip()}" if killed else "ended"
        raise DataError(
            f"a worker process that reads the data was {how}, often for want of memory: `workers=1` takes less, and "
            "`workers=0` reads without such processes (num_workers=0 in a DataLoader of your own)"
        ) from error


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
