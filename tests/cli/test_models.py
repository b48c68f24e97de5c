"""`models`: lists networks with the sizes of their tickets, and answers a wrong name with close ones."""

from pathlib import Path

import pytest

from tests.support.commands import document, refused
from tests.support.process import Run


def test_it_lists_them(invoke: Run) -> None:
    found = document(invoke("models", "conv?", "--json"))
    assert (found["classes"], found["input_size"], found["sparsity"]) == (10, 32, 0.9)
    assert [row["name"] for row in found["models"]] == ["conv2", "conv4", "conv6", "conv8"]
    assert found["models"][0]["gated_weights"] == 4_300_992


def test_a_person_gets_a_table_and_what_cannot_be_built(invoke: Run) -> None:
    done = invoke("models", "conv?", "--input-size", 64, "--classes", 7, "--channels", 1)
    assert done.returncode == 0
    heading, *rows = done.stdout.splitlines()
    assert heading.split() == ["model", "gated", "weights", "sparsity", "ticket", "dense"]
    assert [row.split()[0] for row in rows[:4]] == ["conv2", "conv4", "conv6", "conv8"]
    assert "4, for 7 classes and images of 1×64×64" in done.stdout
    assert done.stdout.endswith("next: slt-compress search conv2\n")
    problem = invoke("models", "torchvision/maxvit_t")
    assert "torchvision/maxvit_t cannot take images of 32 px" in problem.stderr
    assert "give an --input-size that it can, such as 224" in problem.stderr
    (entry,) = document(invoke("models", "torchvision/maxvit_t", "--json"))["models"]
    assert entry["problem"] in problem.stderr
    assert entry["gated_weights"] is None


def test_an_unknown_name_is_answered_with_close_ones(invoke: Run, tmp_path: Path) -> None:
    refused(invoke("models", "lenett-5"), 1, "no model matches 'lenett-5'; closest: lenet-5", tmp_path)


@pytest.mark.parametrize("size", ["0", "0.0001KB"])
def test_a_size_below_one_byte_is_refused(size: str, invoke: Run) -> None:
    done = invoke("models", "lenet-5", "--max-bytes", size)
    assert (done.returncode, done.stderr) == (2, "error: --max-bytes must be a whole number of at least 1, got 0\n")
