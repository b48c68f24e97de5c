"""`slt-compress inspect`: show what a ticket holds."""

from typing import TYPE_CHECKING

from slt_compress.cli import options as shared
from slt_compress.cli.failures import as_word, exit_codes, local_file
from slt_compress.cli.streams import shell
from slt_compress.models.spec import PYTHON

if TYPE_CHECKING:
    from slt_compress.prng import Freeze
    from slt_compress.tasks.record import TensorRecord
    from slt_compress.ticket.held_out import Reference
    from slt_compress.ticket.schema import Layer, Provenance
    from slt_compress.ticket.ticket import Ticket

_NEURONS = "neuron_sparsity"  # a metric of the search, not of the network
EXAMPLES = "Example:\n\nslt-compress inspect ticket.safetensors --json"


def inspect(file: shared.TicketFile, json: shared.Json = False) -> None:
    """Show what a ticket holds: layers, densities, bytes against the Shannon bound, and where it comes from."""
    with exit_codes():
        path = local_file(file)
        from slt_compress.cli.console import Printer, size
        from slt_compress.ticket.ticket import Ticket
        from slt_compress.ticket.version2 import provenance_json

        ticket = Ticket.load(path)
        printer = Printer(json=json)
        total = path.stat().st_size
        origin = ticket.provenance
        stored = any(layer.values for layer in ticket.layers)
        printer.table(
            (
                *("layer", "shape", "weights", "kept", "density", "codec", "bytes", "bound"),
                *(("values", "value bytes") if stored else ()),
            ),
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
                    *(_values_of(layer) if stored else ()),
                )
                for layer in ticket.layers
            ],
        )
        printer.result(
            {
                "bytes": total,
                "mask_bytes": ticket.mask_bytes,
                "mask_bound_bytes": ticket.mask_bound_bytes,
                "statistics_bytes": ticket.statistics_bytes,
                "parameters_bytes": ticket.parameters_bytes,
                "values_bytes": ticket.values_bytes,
                "reference_bytes": ticket.reference_bytes,
                "sparsity": ticket.sparsity,
                "seed": ticket.seed,
                "initialiser": ticket.initialiser,
                "freeze_ratio": ticket.freeze.ratio,
                "lock_ratio": ticket.freeze.lock,
                "granularity": ticket.granularity,
                "digest": ticket.digest,
                "tool": ticket.tool,
                "version": ticket.version,
                **provenance_json(origin),
                "held_out": origin.held_out and origin.held_out.to_json(),
                "model": origin.model.to_json(),
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
                        "coats": len(layer.coats),
                        "values": layer.values and layer.values.type,
                        "values_bytes": layer.values_bytes,
                    }
                    for layer in ticket.layers
                ],
            },
            [
                ("sparsity", f"{ticket.sparsity:.2%}: {ticket.kept:,} of {ticket.weight_count:,} weights kept"),
                *([("neurons", f"{origin.metrics[_NEURONS]:.2%} removed")] if _NEURONS in origin.metrics else []),
                ("bytes", f"{total:,}: {_parts(ticket, total)}"),
                *([("values", _values(ticket, total))] if stored else []),
                ("model", f"{origin.model.title}, built by {origin.library}"),
                *(_purpose(origin) if ticket.version > 1 else []),
                ("trained on", f"{origin.dataset}{_classes(origin.classes)}"),
                ("method", f"{origin.method.name}, seed {ticket.seed}"),
                *([("fixed", _fixed(ticket.freeze))] if ticket.freeze.ratio else []),
                *([("rewound", f"to step {origin.rewind_steps:,}")] if origin.rewind_steps else []),
                *_measured({name: value for name, value in origin.metrics.items() if name != _NEURONS}),
                *([("reference", _reference(origin.held_out))] if origin.held_out else []),
                ("size", f"{size(total)}, SHA-256 {ticket.digest}"),
                *([("format", f"version {ticket.version}")] if ticket.version > 1 else []),
            ],
            advice=f"next: slt-compress {_next(ticket)} {shell(as_word(file))}{_source(ticket)}",
        )


def _next(ticket: "Ticket") -> str:
    """Return the command that a ticket can be tried with: the images of some have no name to open them by."""
    origin = ticket.provenance
    images = shared.images_of(origin.dataset if origin.preprocessing else "", None, None)
    return "verify" if images is None else "evaluate"


def _source(ticket: "Ticket") -> str:
    return " --source FILE.py:FUNCTION" if ticket.provenance.model.builder == PYTHON else ""


def _parts(ticket: "Ticket", total: int) -> str:
    """Return how many bytes of a file each of its parts takes."""
    parts = {"statistics": ticket.statistics_bytes}
    parts |= {name: count for name, count in _further(ticket).items() if count}
    parts["header"] = total - ticket.mask_bytes - sum(parts.values())
    listed = ", ".join(f"{name} {count:,}" for name, count in parts.items())
    return f"masks {ticket.mask_bytes:,} (Shannon bound {ticket.mask_bound_bytes:,}), {listed}"


def _values_of(layer: "Layer") -> tuple[str, str]:
    """Return how the weights of a layer are stored, and in how many bytes."""
    return (layer.values.type, f"{layer.values_bytes:,}") if layer.values else ("from the seed", "0")


def _values(ticket: "Ticket", total: int) -> str:
    """Return how much of a file stored weights are."""
    stored = [(layer, layer.values) for layer in ticket.layers if layer.values]
    types = ", ".join(sorted({values.type for _, values in stored}))
    kept = sum(layer.kept for layer, _ in stored)
    return (
        f"{ticket.values_bytes:,} bytes, {ticket.values_bytes / total:.1%} of the file: {kept:,} trained weights of "
        f"{len(stored)} of {len(ticket.layers)} layers, as {types}"
    )


def _further(ticket: "Ticket") -> dict[str, int]:
    return {
        "parameters": ticket.parameters_bytes,
        "values": ticket.values_bytes,
        "reference": ticket.reference_bytes,
    }


def _purpose(origin: "Provenance") -> list[tuple[str, str]]:
    """Return what the network is for, line by line."""
    return [
        ("task", f"{origin.task.name}: {origin.task.loss}, measured by {origin.task.metric}"),
        ("inputs", ", ".join(map(_tensor, origin.inputs))),
        ("outputs", ", ".join(map(_tensor, origin.outputs))),
    ]


def _tensor(tensor: "TensorRecord") -> str:
    return f"{tensor.dtype} {'×'.join(map(str, tensor.shape)) or 'scalar'}"


def _classes(classes: list[str]) -> str:
    from slt_compress.errors import few

    return f", {len(classes)} classes: {few(classes)}" if classes else ""


def _reference(reference: "Reference") -> str:
    """Return what later images are compared with."""
    return f"{reference.images:,} held-out images, {len(reference.quantities)} quantities, for slt-compress monitor"


def _measured(metrics: dict[str, float]) -> list[tuple[str, str]]:
    """Return what was reported of the network, a line; of a classifier, its accuracy."""
    if "accuracy" in metrics or not metrics:
        return [("accuracy", f"{metrics['accuracy']:.2%} test, as reported" if metrics else "not recorded")]
    return [("metrics", ", ".join(f"{name} {value:.6g}" for name, value in metrics.items()) + ", as reported")]


def _fixed(freeze: "Freeze") -> str:
    return (
        f"about {freeze.ratio:.1%} of the mask by the seed: {freeze.lock:.1%} kept, "
        f"{freeze.ratio - freeze.lock:.1%} dropped"
    )
