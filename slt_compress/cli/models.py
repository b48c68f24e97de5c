"""`slt-compress models`: list networks and the sizes of their tickets."""

from typing import Annotated

import typer

from slt_compress.cli import options as shared
from slt_compress.cli.failures import exit_codes
from slt_compress.cli.flags import as_flags
from slt_compress.cli.streams import shell
from slt_compress.errors import UsageError

EXAMPLES = (
    "Examples:\n\nslt-compress models\n\nslt-compress models wide_resnet\n\n"
    "slt-compress models 'torchvision/*' --input-size 224 --classes 1000 --json"
)


def models(
    pattern: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILTER]",
            help="Part of a name, or a pattern with *. \\[default: a selection]",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[int, typer.Option(min=2, max=100_000, help="Logits of the network.")] = 10,
    channels: Annotated[int, typer.Option(min=1, max=64, help="Planes of the images: 3 for colour.")] = 3,
    input_size: Annotated[int, typer.Option(min=1, max=4096, help="Size of the images, in px.")] = 32,
    max_bytes: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Show at which sparsity a ticket has this size, such as 100KB, instead of its size at 90 %.",
        ),
    ] = None,
    json: shared.Json = False,
) -> None:
    """List networks with their gated weights and the size of a ticket, at 90 % sparsity or as small as asked."""
    with exit_codes():
        limit = None if max_bytes is None else shared.byte_count(max_bytes, "max_bytes")
        if limit is not None and limit < 1:
            raise UsageError(f"`max_bytes` must be a whole number of at least 1, got {limit}")
        from slt_compress.cli.console import Printer, size
        from slt_compress.models import catalogue

        printer = Printer(json=json)
        names = catalogue.matching(pattern)
        with printer.counter("building") as report:
            entries = list(
                catalogue.entries(
                    names,
                    classes=classes,
                    channels=channels,
                    input_size=input_size,
                    max_bytes=limit,
                    report=report,
                )
            )
        printer.table(
            ("model", "gated weights", "sparsity", "ticket", "dense"),
            [
                (
                    entry.name,
                    f"{entry.gated_weights:,}",
                    f"{100 * entry.sparsity:.4g} %",
                    size(entry.ticket_bytes),
                    size(entry.dense_bytes),
                )
                for entry in entries
                if entry.gated_weights and entry.ticket_bytes and entry.dense_bytes and entry.sparsity
            ],
        )
        for entry in entries:
            if entry.problem:
                printer.note(entry.problem)
        printer.result(
            {
                "classes": classes,
                "channels": channels,
                "input_size": input_size,
                "sparsity": 1 - catalogue.DENSITY if limit is None else None,
                "max_bytes": limit,
                "models": [{**vars(entry), "problem": as_flags(entry.problem or "") or None} for entry in entries],
            },
            [
                (
                    "models",
                    f"{len(entries)}, for {classes} classes and images of {channels}×{input_size}×{input_size}; "
                    + ("ticket: estimated" if limit is None else f"ticket: estimated, of at most {size(limit)}"),
                )
            ],
            advice=_advice([entry.name for entry in entries if not entry.problem], pattern, max_bytes),
        )


def _advice(names: list[str], pattern: str | None, max_bytes: str | None) -> str:
    target = [] if max_bytes is None else ["--max-bytes", max_bytes]
    if pattern is None:
        return f"more: {shell('slt-compress', 'models', 'wide_resnet', *target)}"
    return f"next: {shell('slt-compress', 'search', names[0], *target)}" if names else ""
