"""Every failure of every command, with `--json`: one document that says what went wrong."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slt_compress import files
from tests.support.commands import Searched, commands, document
from tests.support.process import Run

GIVEN = {
    "search": ["lenet-5"],
    "compare": ["lenet-5", "--output", "grid"],
    "models": [],
    "doctor": [],
    "push": ["t", "me/net"],
    "assess": ["lenet-5"],
}


@pytest.mark.parametrize("name", sorted(commands()))
def test_what_typer_refuses_is_answered(invoke: Run, tmp_path: Path, name: str) -> None:
    words = [name, *GIVEN.get(name, ["t.safetensors"]), "--json"]
    refusals = [("--bad", "No such option: --bad"), ("more", "unexpected extra argument")]
    takes_any = name in ("bench", "monitor", "predict")  # number of files
    for addition, message in refusals[: 1 if takes_any else 2]:
        done = invoke(*words, addition, *([] if name != "models" else ["again"]))
        answer = document(done, 2)
        assert set(answer) == {"error", "exit_code"}
        assert message in answer["error"]
        assert answer["exit_code"] == 2
        assert invoke(*[word for word in words if word != "--json"], addition, "again").stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--json"], 2),
        (["serach", "--json"], 2),
        (["search", "--json"], 2),
        (["search", "lenet-5", "--seed", "x", "--json"], 2),
        (["search", "lenet-5", "--json", "--sparsity", "3"], 2),
        (["search", "lenet-5", "--json", "--output", "none/t"], 1),
        (["inspect", "none", "--json"], 2),
        (["verify", "bad", "--json"], 3),
        (["export", "bad", "--json"], 3),
        (["evaluate", "bad", "--json"], 3),
        (["bench", "bad", "--json"], 3),
        (["compare", "lenet-5", "--output", "bad", "--json"], 1),
        (["models", "no-such-model", "--json"], 1),
    ],
)
def test_every_failure_is_answered_with_its_exit_code(invoke: Run, tmp_path: Path, words: list[str], code: int) -> None:
    (tmp_path / "bad").write_bytes(b"noise")
    done = invoke(*words)
    answer = document(done, code)
    assert answer["exit_code"] == code
    assert answer["error"]
    if "Usage" not in done.stderr:
        assert done.stderr == f"error: {answer['error']}\n"


def test_a_result_that_fails_is_still_one_document(searched: Searched, invoke: Run) -> None:
    found = document(invoke("evaluate", searched[0], "--min-accuracy", 1, "--json"), 3)
    assert found["accuracy"] < 1
    assert found["exit_code"] == 3
    assert "is below --min-accuracy 1" in found["error"]


def test_an_interrupt_is_answered(invoke: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "check_apart", interrupted)
    answer = document(invoke("search", "lenet-5", "--json"), 130)
    assert answer["exit_code"] == 130
    assert answer["error"].startswith("interrupted; nothing was written")


def test_a_network_that_prints_does_not_spoil_the_answer(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("print('hello')\ndef build():\n    print('there')\n    return 3\n")
    command = [sys.executable, "-m", "slt_compress", "search", "net.py:build", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    answer = json.loads(done.stdout)
    assert done.returncode == answer["exit_code"] == 2
    assert "hello" in done.stderr


def test_an_interrupted_search_that_has_kept_nothing_yet_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "slt_compress", "search", "lenet-300-100", "--epochs", "4000", "--json"]
    command += ["--checkpoint-every", "10000000", "--log", "log.jsonl"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not ((tmp_path / "log.jsonl").exists() or process.poll() is not None):
            time.sleep(0.05)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out) == {
        "error": "interrupted; nothing was written, as no checkpoint was due yet",
        "exit_code": 130,
    }
    assert err.strip().splitlines()[-1].startswith("error: interrupted")
