"""`slt-compress verify`: recompute every digest of a ticket."""

from typing import TYPE_CHECKING

from slt_compress.cli import options as shared
from slt_compress.cli.failures import exit_codes, local_file
from slt_compress.cli.source import user_code

if TYPE_CHECKING:
    from slt_compress.ticket.ticket import Ticket

EXAMPLES = "Example:\n\nslt-compress verify ticket.safetensors"


def verify(file: shared.TicketFile, source: shared.Source = None, json: shared.Json = False) -> None:
    """Recompute every digest of a ticket, decode every mask and rebuild the network; exit with 3 on any mismatch."""
    with exit_codes():
        path = local_file(file)
        from slt_compress.cli.console import Printer
        from slt_compress.evaluation.networks import module_of
        from slt_compress.ticket.ticket import Ticket

        ticket = Ticket.load(path)
        ticket.check()
        stored = sum(bool(layer.values) for layer in ticket.layers)
        with user_code(source) as (own, results):
            module_of(ticket, own)
            Printer(json=json, results=results).result(
                {
                    "ticket": file,
                    "verified": True,
                    "digest": ticket.digest,
                    "weights_digest": ticket.weights_digest,
                    "architecture": ticket.provenance.architecture,
                    "layers": len(ticket.layers),
                    "weights": ticket.weight_count,
                    "kept": ticket.kept,
                    "stored_layers": stored,
                },
                [
                    ("file", f"SHA-256 {ticket.digest}"),
                    *([] if stored == len(ticket.layers) else [("weights", _generated(ticket))]),
                    *([("stored", f"weights of {stored} of {len(ticket.layers)} layers decoded")] if stored else []),
                    ("masks", f"{len(ticket.layers)} decoded, {ticket.kept:,} of {ticket.weight_count:,} weights kept"),
                    ("network", f"{ticket.provenance.model.title}, architecture {ticket.provenance.architecture}"),
                ],
            )


def _generated(ticket: "Ticket") -> str:
    return f"SHA-256 {ticket.weights_digest}, generated from seed {ticket.seed}"
