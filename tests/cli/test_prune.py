"""`prune`: what it reports and writes, and what it refuses."""

import re
from pathlib import Path

import pytest
import torch

from slt_compress.ticket.ticket import Ticket
from tests.support.commands import document, refused
from tests.support.process import Run

KEYS = {
    *("artifact", "model", "dataset", "method", "seed", "sparsity", "neuron_sparsity", "accuracy"),
    *("validation_accuracy", "loss", "bytes", "mask_bytes", "mask_bound_bytes", "dense_bytes", "epochs", "seconds"),
    *("images_per_second", "learning_rate", "values", "values_bytes", "rounding_drop_accuracy", "controls"),
}
FEW = ("lenet-300-100", "--max-steps", 40, "--batch-size", 64)


@pytest.mark.parametrize("method", ["continuous-sparsification", "magnitude", "crbg"])
def test_it_reports_what_it_wrote(method: str, invoke: Run, tmp_path: Path) -> None:
    found = document(invoke("prune", *FEW, "--method", method, "--values", "int8", "--seed", 3, "--json"))
    assert set(found) == KEYS
    path = tmp_path / f"lenet-300-100-digits-prune-{method}-0.9-int8-3.safetensors"
    assert found["artifact"] == path.name
    assert found["bytes"] == path.stat().st_size
    assert (found["method"], found["seed"], found["values"]) == (method, 3, "int8")
    assert found["sparsity"] == pytest.approx(0.9, abs=1e-4)
    assert found["values_bytes"] == 5_020 + 4 * 410
    assert found["dense_bytes"] > 10 * found["bytes"]
    evaluated = document(invoke("evaluate", path.name, "--json"))
    assert evaluated["accuracy"] == found["accuracy"] > 0.5
    assert document(invoke("inspect", path.name, "--json"))["bytes"] == found["bytes"]
    assert invoke("verify", path.name).returncode == 0


def test_a_person_gets_a_summary(invoke: Run) -> None:
    done = invoke("prune", *FEW, "--values", "int4", "--log", "log.jsonl", "--output", "t.safetensors")
    assert done.returncode == 0, done.stderr
    assert "int4" in done.stdout
    assert "next: slt-compress evaluate t.safetensors" in done.stdout
    assert "50,200 weights trained and pruned by continuous-sparsification, 40 steps of 64 on cpu" in done.stderr


def test_of_several_learning_rates_the_best_counts(invoke: Run, tmp_path: Path) -> None:
    words = ("prune", *FEW, "--output", "t.safetensors", "--json")
    found = document(invoke(*words, "--lr", "1e-5, 1e-2"))
    assert found["learning_rate"] == 0.01
    told = re.findall(
        r"learning rate (\S+): accuracy (\S+) of held-out images",
        invoke(*words[:-1], "--lr", "1e-2,1e-5", "--checkpoint-every", 30).stderr,
    )
    assert [rate for rate, _ in told] == ["0.01", "1e-05"]
    assert float(told[0][1]) == pytest.approx(found["validation_accuracy"], abs=1e-4)
    (tmp_path / "t.safetensors").unlink()
    for rates, said in (("1e-2,x", "such as 1e-2,3e-3, got '1e-2,x'"), ("1e-2,0", "a positive number, got 0")):
        refused(invoke(*words, "--lr", rates), 2, said, tmp_path)


def test_the_published_recipe_leaves_the_sparsity_to_the_price(invoke: Run, tmp_path: Path) -> None:
    words = ("--recipe", "paper", "--initial-score", -0.01, "--penalty", "1e-4", "--json")
    found = document(invoke("prune", *FEW, *words))
    assert found["artifact"] == "lenet-300-100-digits-prune-continuous-sparsification-fp16-0.safetensors"
    settings = Ticket.load(tmp_path / found["artifact"]).provenance.method.settings
    assert settings["gates"]["initial_score"] == -0.01
    assert settings["gates"]["penalty"] == 1e-4
    assert settings["weights"]["optimiser"] == "sgd"


def test_it_starts_from_weights_of_the_user(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\n\n\ndef build():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
    )
    torch.save({"1.weight": torch.zeros(10, 64), "1.bias": torch.ones(10)}, tmp_path / "w.pth")
    words = ("prune", "net.py:build", "--weights", "w.pth", "--max-steps", 30, "--output", "t.safetensors", "--quiet")
    done = cli(*words, "--method", "magnitude", "--sparsity", 0.5)
    assert done.returncode == 0, done.stderr
    assert "next: slt-compress evaluate t.safetensors --source net.py:build" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (
            ("--rounds", 3),
            2,
            "--rounds has no meaning for --method continuous-sparsification: it is an option of magnitude",
        ),
        (("--penalty", 1), 2, "--penalty has no meaning for --recipe default"),
        (("--sparsity", 1), 2, "--sparsity must be at least 0 and below 1, got 1"),
        (("--weights", "none.pth"), 2, "none.pth does not exist, expected tensors by name"),
        (("--weights", "x" * 300), 2, "cannot be read (File name too long), expected tensors by name"),
        (("--dataset", "minst"), 2, "minst"),
        (("--values", "int2"), 2, "int2"),
    ],
)
def test_what_cannot_be_is_refused(
    words: tuple[object, ...], code: int, text: str, invoke: Run, tmp_path: Path
) -> None:
    refused(invoke("prune", *FEW, *words), code, text, tmp_path)
