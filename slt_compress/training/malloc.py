"""Memory that a step has freed stays with the process, for the next step to take."""

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)
_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")  # the same, from the environment
_NEVER = -1
_GIBIBYTE, _MOST_BEFORE_2_35 = 1 << 30, 1 << 25  # bytes


def keep_freed_memory() -> None:
    """Have the C library keep what the main thread frees instead of returning it to the system.

    glibc hands a large block back the moment it is freed. Every step of a search on a CPU then asks for all its
    activations anew, and the system clears each page of them: a fifth of the time of a ResNet-18's step. The price is a
    peak of up to a quarter more, as what is kept does not always fit what is asked for (docs/speed.md).

    It holds for the rest of the process. glibc before 2.35 keeps no block above 32 MiB. Nothing changes where the
    environment has settings of its own, nor with other C libraries (musl, macOS, Windows).
    """
    if sys.platform != "linux" or any(name in os.environ for name in _OWN):
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return
    if libc.mallopt(_MMAP_THRESHOLD, _GIBIBYTE) or libc.mallopt(_MMAP_THRESHOLD, _MOST_BEFORE_2_35):
        libc.mallopt(_TRIM_THRESHOLD, _NEVER)
