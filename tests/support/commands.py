"""What tests of commands share: reading their output, and recognising a refusal."""

import functools
import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from typer.main import get_command

from slt_compress.cli.main import app

OF_ALL = ("--help", "--config", "--print-config")  # options that every command has
Searched = tuple[Path, dict[str, Any]]
EXPORT_KEYS = {
    *("onnx", "bytes", "weights", "opset", "max_abs_difference", "bit_identical_to_dense", "bit_identical_to_plain"),
    *("pictures", "predictions_equal", "accuracy_before", "accuracy_after", "calibration_pictures"),
    *("neurons", "removed_neurons", "parameters_before", "parameters_after"),
    *("macs_before", "macs_after"),
}


def document(done: "subprocess.CompletedProcess[str]", code: int = 0) -> dict[str, Any]:
    """Return the one JSON document that a command printed."""
    assert done.returncode == code, done.stderr
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


def refused(done: "subprocess.CompletedProcess[str]", code: int, words: str, folder: Path) -> None:
    """One message, the right code, no traceback, nothing on stdout but the message as JSON, no new file."""
    assert done.returncode == code, (done.stdout, done.stderr)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "`" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= (1 if code != 2 or "Usage" not in done.stderr else 99)
    if done.stdout:
        assert json.loads(done.stdout)["exit_code"] == code
        assert words in json.loads(done.stdout)["error"]
    assert [path for path in folder.iterdir() if path.suffix in (".safetensors", ".onnx", ".tmp")] == []


@functools.cache
def commands() -> dict[str, Any]:
    """Return the commands of the application, by name."""
    found: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    return found


def options(command: str) -> dict[str, Any]:
    """Return the options of a command by their long flag, without those that every command has."""
    return {
        flag: parameter
        for parameter in commands()[command].params
        for flag in parameter.opts
        if flag.startswith("--") and flag not in OF_ALL
    }


class FakeLog(NamedTuple):
    """Stands for an opened log."""

    kind: str
    path: Path

    def close(self) -> None:
        """There is nothing to close."""
