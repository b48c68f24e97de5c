"""Standard streams of every kind: other encodings, closed, full, without a reader; and names of files of any bytes."""

import codecs
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slt_compress.cli import streams
from slt_compress.cli.streams import shell

PROGRAM = f"{sys.executable} -m slt_compress"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ticket, found by a process without stdout and stderr."""
    found = tmp_path_factory.mktemp("streams")
    done = in_shell(f"{PROGRAM} search lenet-300-100 --method random --output t.safetensors >&- 2>&-", found)
    assert done.returncode == 1  # the result could not be told
    assert [path.name for path in found.iterdir()] == ["t.safetensors"]
    return found


def in_shell(line: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    settings = {**os.environ, **environment}
    return subprocess.run(["bash", "-c", line], cwd=cwd, env=settings, capture_output=True, timeout=300, check=False)


@pytest.mark.parametrize("words", ["inspect t.safetensors", "inspect t.safetensors --json", "--help", "--version"])
@pytest.mark.parametrize(
    ("stdout", "reason"), [(">&-", "Bad file descriptor"), ("> /dev/full", "No space left on device")]
)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_result_that_cannot_be_told_is_one_line(folder: Path, words: str, stdout: str, reason: str) -> None:
    for unbuffered in ("", "1"):
        done = in_shell(f"{PROGRAM} {words} {stdout}", folder, PYTHONUNBUFFERED=unbuffered)
        assert done.returncode == 1
        (line,) = done.stderr.decode().splitlines()
        assert line.startswith(f"error: cannot write to standard output: {reason}")


def test_a_search_without_a_reader_keeps_its_ticket(tmp_path: Path) -> None:
    line = (
        f"{PROGRAM} search lenet-300-100 --method random --quiet --output t.safetensors | true; exit ${{PIPESTATUS[0]}}"
    )
    done = in_shell(line, tmp_path)
    assert done.returncode == 1
    assert done.stderr.decode() == (
        "error: cannot write to standard output: Broken pipe; files that were written stay\n"
    )
    assert (tmp_path / "t.safetensors").stat().st_size > 1000


@pytest.mark.parametrize("stderr", ["2>&-", "2> /dev/full"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_what_is_said_beside_the_result_may_be_lost(folder: Path, stderr: str) -> None:
    done = in_shell(f"{PROGRAM} search lenet-300-100 --method random --output u.safetensors --json {stderr}", folder)
    assert done.returncode == 0
    assert json.loads(done.stdout)["artifact"] == "u.safetensors"
    assert (folder / "u.safetensors").read_bytes() == (folder / "t.safetensors").read_bytes()


@pytest.mark.parametrize(
    "encoding", [{"PYTHONIOENCODING": name} for name in ("ascii", "cp437", "cp1251")] + [{"LC_ALL": "C"}]
)
def test_every_text_can_be_shown_in_every_encoding(folder: Path, encoding: dict[str, str]) -> None:
    environment = {**encoding, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "COLUMNS": "100"}
    codec = encoding.get("PYTHONIOENCODING", "ascii")
    name = "naïve 雪 × ±.safetensors"
    (folder / name).write_bytes((folder / "t.safetensors").read_bytes())
    done = in_shell(f"{PROGRAM} inspect '{name}'", folder, **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    shown = done.stdout.decode(codec)
    assert "300x64" in shown
    advice = next(line for line in shown.splitlines() if line.startswith("next: slt-compress "))
    again = in_shell(f"{PROGRAM} inspect {advice.removeprefix('next: slt-compress evaluate ')} --json", folder)
    assert again.returncode == 0, again.stderr
    for words in ("--help", "search --help", *(["models wide_resnet16_1 --classes 2"] if codec == "ascii" else [])):
        done = in_shell(f"{PROGRAM} {words}", folder, **environment)
        assert (done.returncode, done.stderr) == (0, b"")
        done.stdout.decode(codec)
    done = in_shell(f"{PROGRAM} inspect 'none × …' --json", folder, **environment)
    assert done.returncode == 2
    assert done.stderr.decode(codec).startswith("error: none ")
    assert json.loads(done.stdout)["exit_code"] == 2


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no such names")
def test_a_name_that_is_no_text_is_shown_and_can_be_pasted(folder: Path) -> None:
    raw = b"odd \xff\n'\\.safetensors"
    (folder / os.fsdecode(raw)).write_bytes((folder / "t.safetensors").read_bytes())
    program: list[str | bytes] = [sys.executable, "-m", "slt_compress"]
    done = subprocess.run([*program, "inspect", raw], cwd=folder, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    advice = done.stdout.decode().splitlines()[-1]
    assert advice == r"next: slt-compress evaluate $'odd \xff\x0a\x27\x5c.safetensors'"
    again = in_shell(f"{PROGRAM} inspect {advice.removeprefix('next: slt-compress evaluate ')} --json", folder)
    assert again.returncode == 0, again.stderr
    done = subprocess.run([*program, "export", raw, "--json"], cwd=folder, capture_output=True, check=False)
    assert os.fsencode(json.loads(done.stdout)["onnx"]) == raw.replace(b".safetensors", b".onnx")
    assert (folder / os.fsdecode(raw.replace(b".safetensors", b".onnx"))).exists()
    none = subprocess.run([*program, "inspect", b"\xfe none"], cwd=folder, capture_output=True, check=False)
    assert none.stderr.decode().startswith("error: \\xfe none does not exist")


@pytest.mark.parametrize("width", ["0", "-3", "wide", "1", "9" * 30, ""])
def test_a_width_that_is_none_is_forgotten(folder: Path, width: str) -> None:
    done = in_shell(f"{PROGRAM} search --bad", folder, COLUMNS=width, TERMINAL_WIDTH=width, LINES=width)
    assert done.returncode == 2
    assert "No such option: --bad" in done.stderr.decode()


@pytest.mark.parametrize("word", ["plain", "two words", "it's", 'a"b', "$HOME `x` \\", "-x", "é", "a\nb\x1b[1m", "*"])
def test_a_shell_reads_what_was_written(word: str) -> None:
    for given, expected in ((word, word), (Path(word), f"./{word}" if word.startswith("-") else word)):
        done = subprocess.run(
            ["bash", "-c", f"printf '%s|' {shell('one', given)}"], capture_output=True, text=True, check=True
        )
        assert done.stdout == f"one|{expected}|"


def test_escapes() -> None:
    codecs.register_error("slt-substitutes", streams._substitute)
    assert "1 × 2 ± 3 … ü \udc80".encode("ascii", "slt-substitutes") == rb"1 x 2 +- 3 ... \xfc \x80"
