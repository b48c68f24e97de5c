"""Commands in the process of the test: for what needs neither a process nor a search of its own."""

import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from slt_compress.cli.main import app
from tests.support.process import Run


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in an empty folder, as the fixture `cli` does, but in this process; a bug is raised."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
        words = [str(argument) for argument in arguments]
        done = CliRunner().invoke(app, words, env={"COLUMNS": "200", **environment}, catch_exceptions=False)
        return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)

    return run
