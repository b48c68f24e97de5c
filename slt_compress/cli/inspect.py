"""`slt-compress inspect`: show what a ticket holds."""

from typing import TYPE_CHECKING

from slt_compress.cli import options as shared
from slt_compress.cli.failures import exit_codes, require_file

if TYPE_CHECKING:
    from slt_compress.prng import Freeze

EXAMPLES = "Example:\n\nslt-compress inspect ticket.safetensors --json"


def inspect(ticket_file: shared.TicketFile, json: shared.Json = False) -> None:
    """Show what a ticket holds: layers, densities, bytes against the Shannon bound, and where it comes from."""
    with exit_codes():
        require_file(ticket_file)
        from slt_compress.cli.console import Printer, size
        from slt_compress.ticket.schema import few
        from slt_compress.ticket.ticket import Ticket

        ticket = Ticket.load(ticket_file)
        printer = Printer(json=json)
        total = ticket_file.stat().st_size
        origin = ticket.provenance
        printer.table(
            ("layer", "shape", "weights", "kept", "density", "codec", "bytes", "bound"),
            [
                (
                    layer.name,
                    "×".join(map(str, layer.shape)),
                    f"{layer.size:,}",
                    f"{layer.kept:,}",
                    f"{layer.kept / layer.size:.4f}",
                    layer.codec,
                    f"{layer.code_bytes:,}",
                    f"{ticket.bound(layer):,}",
                )
                for layer in ticket.layers
            ],
        )
        other = total - ticket.mask_bytes - ticket.statistics_bytes
        printer.result(
            {
                "bytes": total,
                "mask_bytes": ticket.mask_bytes,
                "mask_bound_bytes": ticket.mask_bound_bytes,
                "statistics_bytes": ticket.statistics_bytes,
                "sparsity": ticket.sparsity,
                "seed": ticket.seed,
                "initialiser": ticket.initialiser,
                "freeze_ratio": ticket.freeze.ratio,
                "lock_ratio": ticket.freeze.lock,
                "granularity": ticket.granularity,
                "digest": ticket.digest,
                "tool": ticket.tool,
                **origin.to_json(),
                "layers": [
                    {
                        "name": layer.name,
                        "shape": list(layer.shape),
                        "weights": layer.size,
                        "kept": layer.kept,
                        "scale": layer.scale,
                        "codec": layer.codec,
                        "bytes": layer.code_bytes,
                        "bound_bytes": ticket.bound(layer),
                    }
                    for layer in ticket.layers
                ],
            },
            [
                ("sparsity", f"{ticket.sparsity:.2%}: {ticket.kept:,} of {ticket.weight_count:,} weights kept"),
                (
                    "bytes",
                    f"{total:,}: masks {ticket.mask_bytes:,} (Shannon bound {ticket.mask_bound_bytes:,}), "
                    f"statistics {ticket.statistics_bytes:,}, header {other:,}",
                ),
                ("model", f"{origin.model.name}, built by {origin.library}"),
                ("trained on", f"{origin.dataset}, {len(origin.classes)} classes: {few(origin.classes)}"),
                ("method", f"{origin.method.name}, seed {ticket.seed}"),
                *([("fixed", _fixed(ticket.freeze))] if ticket.freeze.ratio else []),
                (
                    "accuracy",
                    f"{origin.metrics['accuracy']:.2%} test, as reported" if origin.metrics else "not recorded",
                ),
                ("size", f"{size(total)}, SHA-256 {ticket.digest}"),
            ],
            advice=f"next: slt-compress evaluate {ticket_file}",
        )


def _fixed(freeze: "Freeze") -> str:
    return (
        f"about {freeze.ratio:.1%} of the mask by the seed: {freeze.lock:.1%} kept, "
        f"{freeze.ratio - freeze.lock:.1%} dropped"
    )
