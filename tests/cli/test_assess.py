"""`assess`: tables, advice with the exact next command, a page, and one JSON document."""

import shlex
from pathlib import Path

import pytest

from tests.support.commands import document, refused
from tests.support.process import Run

QUICK = ("assess", "lenet-300-100", "--device", "cpu", "--max-steps", "60", "--budget", "0.03", "--sparsities", "0.9")


def test_the_advice_is_a_command_that_works(invoke: Run, tmp_path: Path) -> None:
    done = invoke(*QUICK, "--report", "r.html", "--devices", "5", "--link-price", "2", "--json")
    found = document(done)
    assert (tmp_path / "r.html").read_text().startswith("<!DOCTYPE html>")
    words = shlex.split(found["command"])
    assert words[:4] == ["slt-compress", "search", "lenet-300-100", "--dataset"]
    made = document(invoke(*words[1:], "--json"))
    choice = found["recommendation"]["choice"]
    assert made["sparsity"] == pytest.approx(choice["sparsity"], abs=1e-3)
    assert made["method"] == choice["method"]
    assert found["fleet"]["years"][0]["cost"] > 0


def test_the_text_ends_with_the_next_command(invoke: Run) -> None:
    done = invoke(*QUICK, "--target-bytes", "1.5 KB")
    assert done.returncode == 0, done.stderr
    assert "No sparsity that was tried gives 1.5 KB" in done.stdout
    assert "next: slt-compress search lenet-300-100" in done.stdout
    assert "dense" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nosuch",), 2, "nosuch"),
        (("lenet-5", "--target-bytes", "many"), 2, "--target-bytes must be a number of bytes, such as 100KB"),
        (("lenet-5", "--target-accuracy", "95"), 2, "--target-accuracy must be a fraction"),
        (("lenet-5", "--sparsities", "0.9,0.9"), 2, "--sparsities names 0.9 twice"),
        (("lenet-5", "--budget", "-1"), 2, "--budget must be a positive number of minutes"),
        (("lenet-5", "--link-price", "2"), 2, "--link-price is of a fleet: give --devices too"),
        (("lenet-5", "--report", "r.pdf"), 2, "--report is an HTML page"),
        (("lenet-5", "--report", "no/r.html"), 1, "the folder no does not exist"),
    ],
)
def test_bad_requests(invoke: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    refused(invoke("assess", *arguments, "--json"), code, words, tmp_path)
