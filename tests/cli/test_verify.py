"""`verify`: recomputes what can be recomputed, and notices what is not the same."""

from dataclasses import replace
from pathlib import Path

from slt_compress import Ticket
from tests.support.commands import Searched, document
from tests.support.process import Run


def test_verify_recomputes_everything(searched: Searched, invoke: Run) -> None:
    shown = document(invoke("verify", searched[0], "--json"))
    assert shown["verified"] is True
    assert shown["layers"] == 3
    assert shown["digest"] == document(invoke("inspect", searched[0], "--json"))["digest"]
    assert "3 decoded" in invoke("verify", searched[0]).stdout


def test_verify_notices_other_weights(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    """A whole file, correctly digested, whose weights were made by another generator."""
    ticket = Ticket.load(searched[0])
    replace(ticket, weights_digest="0" * 64).save(tmp_path / "other.safetensors")
    done = invoke("verify", "other.safetensors")
    assert done.returncode == 3
    assert "the seed generates weights of digest" in done.stderr
