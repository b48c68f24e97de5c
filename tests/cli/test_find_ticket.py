"""`find-ticket`: a ticket for each sparsity, and what it refuses."""

from pathlib import Path

import pytest

from slt_compress.pruning import rounds
from slt_compress.ticket.ticket import Ticket
from tests.support.commands import document, refused
from tests.support.process import Run

FEW = ("lenet-300-100", "--max-steps", 30, "--batch-size", 64)
KEYS = {
    *("artifact", "model", "dataset", "method", "seed", "sparsity", "neuron_sparsity", "accuracy"),
    *("validation_accuracy", "loss", "bytes", "mask_bytes", "mask_bound_bytes", "dense_bytes", "epochs", "seconds"),
    *("images_per_second", "rewind_steps"),
}


def test_one_sparsity_is_one_ticket(invoke: Run, tmp_path: Path) -> None:
    found = document(invoke("find-ticket", *FEW, "--rewind-steps", 3, "--seed", 2, "--json"))
    assert set(found) == KEYS
    name = "lenet-300-100-digits-found-continuous-sparsification-0.9-from-3-2.safetensors"
    assert (found["artifact"], found["rewind_steps"]) == (name, 3)
    ticket = Ticket.load(tmp_path / name)
    assert ticket.provenance.rewind_steps == 3
    assert found["bytes"] == (tmp_path / name).stat().st_size
    assert document(invoke("evaluate", name, "--json"))["accuracy"] == found["accuracy"]


def test_several_sparsities_are_several_tickets_of_one_run(invoke: Run, tmp_path: Path) -> None:
    words = ("--method", "magnitude", "--sparsity", "0.5,0.8", "--rounds", 2, "--output", "f.safetensors")
    found = document(invoke("find-ticket", *FEW, *words, "--json"))["tickets"]
    assert [one["artifact"] for one in found] == ["f-0.5.safetensors", "f-0.8.safetensors"]
    assert [one["sparsity"] for one in found] == pytest.approx([0.5, 0.8], abs=1e-4)
    assert all((tmp_path / one["artifact"]).exists() for one in found)
    done = invoke("find-ticket", *FEW, *words, "--store-weights")
    assert "next: slt-compress train f-0.8.safetensors --controls" in done.stdout
    assert done.stdout.count("before it is trained") == 2


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--sparsity", "0.5,x"), "--sparsity must be numbers with commas between, such as 0.8,0.9, got '0.5,x'"),
        (("--sparsity", ""), "--sparsity is empty: give one at least"),
        (("--sparsity", "0.5,0.5"), "--sparsity has one twice"),
        (("--rewind-steps", 29), "--rewind-steps 29 leaves no step for each of 3 rounds: all steps together are 30"),
        (("--method", "crbg"), "crbg"),
        (("--checkpoint-every", 0), "--checkpoint-every"),
        (
            ("--checkpoint-every", 1, "--output", "t.safetensors", "--log", "t.safetensors.ckpt"),
            "the checkpoint and --log are the same file, t.safetensors.ckpt: give another --log",
        ),
    ],
)
def test_what_cannot_be_is_refused(words: tuple[object, ...], text: str, invoke: Run, tmp_path: Path) -> None:
    refused(invoke("find-ticket", *FEW, *words), 2, text, tmp_path)


@pytest.mark.parametrize("output", [".", "", "folder", "/dev/null"])
def test_several_files_are_named_after_a_file(output: str, invoke: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    done = invoke("find-ticket", *FEW, "--sparsity", "0.5,0.8", "--output", output)
    refused(done, 1, "expected a ", tmp_path)


@pytest.mark.parametrize(("failure", "code"), [(OSError("gone"), 1), (KeyboardInterrupt(), 130)])
def test_tickets_that_cannot_be_measured_are_saved_all(
    failure: BaseException, code: int, invoke: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(rounds, "settle", fail)
    done = invoke("find-ticket", *FEW, "--sparsity", "0.5,0.8", "--output", "f.safetensors")
    assert done.returncode == code
    assert "is saved as f-0.5.safetensors, " in done.stderr
    assert ("but measuring it has failed: OSError: gone" if code == 1 else "not yet measured") in done.stderr
    assert "f-0.8.safetensors" in done.stderr
    assert [Ticket.load(tmp_path / f"f-{one}.safetensors").kept for one in (0.5, 0.8)] == [25_100, 10_040]
