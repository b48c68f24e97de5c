"""Options in all combinations: one answer, one message, the right exit code, and nothing half-written."""

import contextlib
import json
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from typer.testing import CliRunner

from slt_compress.cli import source
from slt_compress.cli.main import app
from slt_compress.training import loop
from tests.support.calls import OPTIONS, calls, contents, prepare
from tests.support.commands import Searched, commands, options

_WRITTEN = (
    *("--output", "--log", "--save-reference", "--textfile", "--plot", "--confusion-matrix", "--save-predictions"),
)
# An alarm, an accuracy that is too low, and some images that cannot be read: what was found is written.
_WRITTEN_ALL_THE_SAME = {("monitor", 3), ("evaluate", 3), ("predict", 1)}


def test_every_option_takes_part() -> None:
    # bench starts ten processes, doctor tries everything there is, assess measures, and push goes to the network.
    assert set(OPTIONS) == set(commands()) - {"assess", "bench", "doctor", "push"}
    for command, values in OPTIONS.items():
        assert set(values) - {"--no-dense"} == set(options(command)) - {"--no-dense"}


@pytest.fixture(scope="session")
def files(searched: Searched, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A ticket, its export, and a ticket on images."""
    folder = tmp_path_factory.mktemp("files")
    prepare(folder, searched[0], searched[0], searched[0])
    with contextlib.chdir(folder):
        images = ("--dataset", "imagefolder", "--data-dir", "images", "--max-steps", "2")
        for words in (
            ("export", "t.safetensors", "--output", "t.onnx"),
            ("search", "lenet-300-100", *images, "--output", "images.safetensors"),
        ):
            assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    return searched[0], folder / "t.onnx", folder / "images.safetensors"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search has two steps unless it is told otherwise, nothing can be downloaded, and stdout is a test's."""
    monkeypatch.setattr(loop, "MIN_STEPS", 2)
    monkeypatch.setattr(loop, "DEFAULT_EPOCHS", 1)
    monkeypatch.setattr(source, "stdout_for_results", lambda: contextlib.nullcontext(sys.stdout))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@settings(
    max_examples=20,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(words=calls())
def test_any_call_has_one_answer(files: tuple[Path, Path, Path], words: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        folder = Path(name)
        prepare(folder, *files)
        before = contents(folder)
        environment = {"COLUMNS": "200", "HOME": str(files[1].parent)}
        done = CliRunner().invoke(app, words, env=environment, catch_exceptions=False)
        after = contents(folder)
        assert done.exit_code in (0, 1, 2, 3), done.stderr
        assert "Traceback" not in done.stderr
        failed = done.exit_code != 0
        told = [line for line in done.stderr.splitlines() if line.startswith(("error: ", "╭─ Error"))]
        assert len(told) == failed, done.stderr
        if "--json" in words and "-h" not in words:
            answer = json.loads(done.stdout)
            assert answer.get("exit_code", 0) == done.exit_code
            assert bool(answer.get("error")) == failed
        elif failed and words[0] != "compare":
            assert "error" not in done.stdout
        assert not [path for path in after if path.endswith((".tmp", ".lock"))]
        changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
        named = [words[index + 1] for index, word in enumerate(words[:-1]) if word in _WRITTEN]
        if failed and (words[0], done.exit_code) not in _WRITTEN_ALL_THE_SAME:
            assert not changed, (done.stderr, changed)
        else:
            made = ("grid", "board", *named)
            own = (".safetensors", ".onnx", "-confusion.png")
            assert all(path.startswith(made) or path.endswith(own) for path in changed), changed
            assert changed & set(before) <= set(named)
