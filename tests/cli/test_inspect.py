"""`inspect`: every byte is accounted for, and text from a file stays text."""

from dataclasses import replace
from pathlib import Path

from slt_compress import Ticket
from tests.support.commands import Searched, document, refused
from tests.support.process import Run


def test_inspect_accounts_for_every_byte(searched: Searched, invoke: Run) -> None:
    shown = document(invoke("inspect", searched[0], "--json"))
    assert shown["bytes"] == searched[0].stat().st_size
    assert sum(layer["bytes"] for layer in shown["layers"]) == shown["mask_bytes"]
    assert sum(layer["weights"] for layer in shown["layers"]) == 50_200
    assert set(shown["layers"][0]) >= {"name", "shape", "weights", "kept", "codec", "bytes", "bound_bytes"}
    assert shown["method"]["name"] == "crbg"
    text = invoke("inspect", searched[0]).stdout
    for word in ("1.weight", "300×64", "rice", "Shannon bound", "digits", "slt-compress evaluate"):
        assert word in text


def test_class_names_from_a_file_are_plain_text(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    ticket = Ticket.load(searched[0])
    hostile = ["[bold]x[/bold]\x1b[2J", *ticket.provenance.classes[1:]]
    replace(ticket, provenance=replace(ticket.provenance, classes=hostile)).save(tmp_path / "t.safetensors")
    done = invoke("inspect", "t.safetensors")
    assert "[bold]x[/bold]\\x1b[2J" in done.stdout


def test_a_folder_is_no_ticket(invoke: Run, tmp_path: Path) -> None:
    refused(invoke("inspect", ".", "--json"), 2, ". is a folder, expected a file", tmp_path)
