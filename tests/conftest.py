"""Fixtures: a real ticket found on digits, and the command line in an empty folder."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from slt_compress.ticket.ticket import Ticket
from tests.support.process import Run, run_cli


def pytest_configure() -> None:
    torch.set_num_threads(1)  # tests run side by side, see pyproject.toml


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
