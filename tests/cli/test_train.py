"""`train`: tickets and masks of other tools, controls and teachers, and what it refuses."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import slt_compress
from slt_compress.ticket.ticket import Ticket
from tests.support.commands import Searched, document, refused
from tests.support.process import Run

FEW = ("--max-steps", 20, "--batch-size", 64)


def test_a_ticket_is_trained_with_controls_and_a_teacher(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    shutil.copy(searched[0], tmp_path / "t.safetensors")
    found = document(invoke("train", "t.safetensors", *FEW, "--controls", "--json"))
    assert found["artifact"] == "t-trained.safetensors"
    assert (found["model"], found["dataset"], found["method"]) == ("lenet-300-100", "digits", "train")
    assert found["sparsity"] == Ticket.load(searched[0]).sparsity
    assert [one["name"] for one in found["controls"]] == ["random-mask", "other-weights"]
    assert all(set(one) == {"name", "accuracy", "validation_accuracy"} for one in found["controls"])
    taught = invoke(
        "train", "t.safetensors", *FEW, "--teacher", "t-trained.safetensors", "--output", "taught.safetensors"
    )
    assert taught.returncode == 0, taught.stderr
    settings = Ticket.load(tmp_path / "taught.safetensors").provenance.method.settings
    assert settings["teacher"]["name"] == "t-trained.safetensors"


def test_a_mask_of_another_tool_is_trained(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    ticket = Ticket.load(searched[0])
    masks = {layer.name: torch.from_numpy(ticket.mask(layer.name)).float() for layer in ticket.layers}
    save_file(masks, tmp_path / "mask.safetensors")
    words = ("train", "lenet-300-100", "--mask", "mask.safetensors", "--seed", 3, "--values", "int8", *FEW)
    found = document(invoke(*words, "--json"))
    assert found["artifact"] == "lenet-300-100-digits-trained-int8-3.safetensors"
    assert found["seed"] == 3
    assert Ticket.load(tmp_path / found["artifact"]).kept == ticket.kept


def test_a_ticket_of_the_users_network_needs_its_code(cli: Run, invoke: Run, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\n\n\ndef build():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
    )
    found = slt_compress.find_ticket(
        lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)), max_steps=6, sparsity=0.5
    )
    found.tickets[0].ticket.save(tmp_path / "f.safetensors")
    done = cli("train", "f.safetensors", *FEW, "--source", "net.py:build")
    assert done.returncode == 0, done.stderr
    assert "next: slt-compress evaluate f-trained.safetensors --source net.py:build" in done.stdout
    without = invoke("train", "f.safetensors", *FEW)
    assert without.returncode == 2
    assert "is of your own network, " in without.stderr
    assert "give --source, what builds it" in without.stderr


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("none.safetensors",), 2, "none.safetensors does not exist"),
        (("lenet-300-100",), 2, "'lenet-300-100' is no ticket; to train a network by name, give its --mask"),
        (("x.safetensors", "--mask", "x.safetensors"), 2, "x.safetensors is a ticket, which has its mask"),
        (("net.py:build",), 2, "net.py:build needs a --mask"),
        (("lenet-300-100", "--mask", "m", "--source", "net.py:build"), 2, "--source is for a ticket"),
        (
            ("lenet-300-100", "--mask", "none.safetensors"),
            2,
            "none.safetensors does not exist, expected tensors by name",
        ),
        (("lenet-300-100", "--mask", "none", "--teacher", "none"), 2, "none does not exist"),
        (("lenet-300-100", "--mask", "."), 2, ". is a folder, expected tensors by name"),
        (("x.safetensors",), 3, "x.safetensors is not a valid ticket"),
    ],
)
def test_what_cannot_be_is_refused(words: tuple[str, ...], code: int, text: str, invoke: Run, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"x" * 100)
    done = invoke("train", *words, "--output", "out.safetensors")
    (tmp_path / "x.safetensors").unlink()
    refused(done, code, text, tmp_path)


def test_the_seed_of_a_ticket_is_its_own(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    shutil.copy(searched[0], tmp_path / "t.safetensors")
    done = invoke("train", "t.safetensors", "--seed", 3)
    assert (done.returncode, "--seed has no meaning for a ticket, which has its own" in done.stderr) == (2, True)
