"""What the machine is called that a figure was measured on."""

import contextlib
import platform
from pathlib import Path


def processor() -> str:
    """Return the name of the processor: its model where the system tells it, as Linux does."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
