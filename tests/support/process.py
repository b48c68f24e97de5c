"""The command line as a user's shell runs it; and in this process, which saves the seconds that imports take."""

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer import testing

from slt_compress.cli.main import app

# Else the signatures of all commands are read for each call, which takes longer than most commands that fail.
testing._get_command = functools.cache(testing._get_command)  # type: ignore[attr-defined]

Run = Callable[..., subprocess.CompletedProcess[str]]


def run_cli(*arguments: object, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run `slt-compress` in a process of its own, without a terminal: where the process is what matters."""
    return subprocess.run(
        [sys.executable, "-m", "slt_compress", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def run_here(*arguments: object, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in a folder, as `run_cli` does, but in this process; a bug is raised."""
    words = [str(argument) for argument in arguments]
    with contextlib.chdir(cwd), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["slt-compress", *words])
        done = testing.CliRunner().invoke(app, words, env={"COLUMNS": "200", **environment}, catch_exceptions=False)
    return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)
