"""`verify`: recomputes what can be recomputed, and notices what is not the same."""

from dataclasses import replace
from pathlib import Path

from slt_compress import Ticket
from slt_compress.ticket.sample import with_values
from tests.support.commands import Searched, document
from tests.support.process import Run


def test_verify_recomputes_everything(searched: Searched, invoke: Run) -> None:
    shown = document(invoke("verify", searched[0], "--json"))
    assert shown["verified"] is True
    assert shown["layers"] == 3
    assert shown["digest"] == document(invoke("inspect", searched[0], "--json"))["digest"]
    assert "3 decoded" in invoke("verify", searched[0]).stdout


def test_verify_decodes_stored_weights(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    ticket = Ticket.load(searched[0])
    with_values(ticket, "int4").save(tmp_path / "all.safetensors")
    with_values(ticket, "int4", {ticket.layers[0].name}).save(tmp_path / "part.safetensors")
    lines = [" ".join(invoke("verify", name).stdout.split()) for name in ("all.safetensors", "part.safetensors")]
    assert "stored weights of 3 of 3 layers decoded" in lines[0]
    assert "generated from seed" not in lines[0]
    assert "stored weights of 2 of 3 layers decoded" in lines[1]
    assert "generated from seed" in lines[1]
    assert document(invoke("verify", "part.safetensors", "--json"))["stored_layers"] == 2


def test_verify_notices_other_weights(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    """A whole file, correctly digested, whose weights were made by another generator."""
    ticket = Ticket.load(searched[0])
    replace(ticket, weights_digest="0" * 64).save(tmp_path / "other.safetensors")
    done = invoke("verify", "other.safetensors")
    assert done.returncode == 3
    assert "the seed generates weights of digest" in done.stderr
