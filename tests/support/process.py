"""The command line as a user's shell runs it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., subprocess.CompletedProcess[str]]


def run_cli(*arguments: object, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run `slt-compress` in a process of its own, one thread, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "slt_compress", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
