"""The machine that a figure is measured on: what it is called, and how much memory this process has taken."""

import contextlib
import platform
import sys
from pathlib import Path


def processor() -> str:
    """Return the name of the processor: its model where the system tells it, as Linux does."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def processor_with(threads: int) -> str:
    """Return the name of the processor with a number of threads, as tables have it."""
    return f"{processor()}, {threads} thread{'s' if threads > 1 else ''}"


def peak_memory() -> int | None:
    """Return the largest resident memory of this process so far in bytes; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else 1024 * largest
