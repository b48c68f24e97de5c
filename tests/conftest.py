"""Shared fixtures: a real ticket found on digits, and the command line as a user's shell runs it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from slt_compress.ticket import Ticket

Run = Callable[..., subprocess.CompletedProcess[str]]


def pytest_configure() -> None:
    torch.set_num_threads(1)


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


@pytest.fixture
def cli(tmp_path: Path) -> Run:
    """Run the command line in an empty folder."""

    def run(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
        return run_cli(*arguments, cwd=tmp_path, **environment)

    return run


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A ticket found by the command line on digits, and the JSON it printed."""
    folder = tmp_path_factory.mktemp("searched")
    arguments = ("search", "lenet-300-100", "--max-steps", 150, "--output", "t.safetensors", "--json")
    done = run_cli(*arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "t.safetensors", json.loads(done.stdout)


@pytest.fixture(scope="session")
def ticket(searched: tuple[Path, dict[str, Any]]) -> Ticket:
    return Ticket.load(searched[0])
