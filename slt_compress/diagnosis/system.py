"""The machine that a fault occurs on: what it computes with, and how much room there is.

Nothing personal is told: no name of a user or a host, no environment, and the home folder is ~.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slt_compress import files, machine
from slt_compress.diagnosis.report import without_home
from slt_compress.errors import first_line

_AMPERE = 8  # compute capability of the first cards with bf16
_PATIENCE = 10  # seconds for a compiler to name itself


def system() -> dict[str, Any]:
    """Return what the machine is, by name. What cannot be found out is None, or says why."""
    return {name: _asked(question) for name, question in _QUESTIONS.items()}


def _asked(question: Callable[[], Any]) -> Any:
    try:
        return question()
    except ImportError:
        return None  # among the packages, the report says which
    except Exception as error:  # drivers raise anything
        return without_home(f"unknown ({type(error).__name__}: {first_line(error)})")


def memory(meminfo: str, limit: str = "", used: str = "") -> tuple[int, int]:
    """Return the total and the free memory in bytes, as Linux tells them, or a container's limit if that is lower."""
    kilobytes = (re.findall(rf"^{name}:\s+(\d+) kB", meminfo, re.MULTILINE)[0] for name in ("MemTotal", "MemAvailable"))
    total, free = (1024 * int(number) for number in kilobytes)
    if limit.strip().isdigit() and int(limit) < total:
        total = int(limit)
        free = min(free, max(0, total - int(used or 0)))
    return total, free


def _memory() -> tuple[int, int | None]:
    if sys.platform == "linux":
        limit, used = (_text(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
        return memory(Path("/proc/meminfo").read_text(), limit, used)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _usable_cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _gpus() -> list[dict[str, Any]]:
    import torch

    if not torch.cuda.is_available():
        return []
    found = []
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        bf16 = card.major >= _AMPERE
        found.append({"name": card.name, "memory_bytes": card.total_memory, "bf16": bf16})
    return found


def _mps() -> bool:
    import torch

    return torch.backends.mps.is_available()


def _bf16_instructions() -> bool | None:
    """Return whether the processor multiplies bf16, None where the system does not tell."""
    lines = re.findall(r"^(?:flags|Features)\s*:(.*)$", _text(Path("/proc/cpuinfo")), re.MULTILINE)
    return bool({"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"} & set(lines[0].split())) if lines else None


def _compiler() -> str | None:
    from slt_compress.c_export import proof

    found = proof.compiler()
    if not found:
        return None
    done = subprocess.run([found, "-v"], capture_output=True, text=True, check=True, timeout=_PATIENCE)
    return next(line for line in done.stderr.splitlines() if " version " in line)


def _data_folder() -> str:
    from slt_compress.data import datasets

    return str(datasets.DEFAULT_FOLDER)


def _data_folder_is_writable() -> bool:
    from slt_compress.data import datasets

    files.check_folder(datasets.DEFAULT_FOLDER.expanduser())
    return True


def _hub_cache() -> str:
    from huggingface_hub import constants

    return without_home(str(constants.HF_HUB_CACHE))


def _free(folder: str) -> int:
    return shutil.disk_usage(folder).free


_QUESTIONS: dict[str, Callable[[], Any]] = {
    "platform": platform.platform,
    "processor": machine.processor,
    "cores": os.cpu_count,
    "usable_cores": _usable_cores,
    "threads": _threads,
    "bf16_instructions": _bf16_instructions,
    "gpus": _gpus,
    "mps": _mps,
    "memory_bytes": lambda: _memory()[0],
    "free_memory_bytes": lambda: _memory()[1],
    "free_disk_bytes": lambda: _free("."),
    "free_temporary_bytes": lambda: _free(tempfile.gettempdir()),
    "data_folder": _data_folder,
    "data_folder_writable": _data_folder_is_writable,
    "hub_cache": _hub_cache,
    "c_compiler": _compiler,
    "stdout_encoding": lambda: getattr(sys.stdout, "encoding", None),
}
