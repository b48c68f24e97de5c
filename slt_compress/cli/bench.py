"""`slt-compress bench`: measure what tickets and ONNX files cost when onnxruntime runs them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slt_compress.cli import options as shared
from slt_compress.cli.config_file import COMMAS
from slt_compress.cli.failures import as_word, exit_codes, require_file
from slt_compress.cli.source import user_code
from slt_compress.cli.streams import shell
from slt_compress.errors import UsageError

if TYPE_CHECKING:
    from slt_compress.benchmark.results import BenchResult, Row
    from slt_compress.cli.console import Printer

EXAMPLES = (
    "Examples:\n\nslt-compress bench ticket.safetensors\n\n"
    "slt-compress bench ticket.safetensors ticket-int8.onnx --batch 1,8,64 --threads 2 --json"
)


def bench(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="Tickets, which stand for their compact export, and .onnx files, here or as hf://OWNER/NAME/FILE on "
            "the hub. Files that export did not write are compared with the first.",
            show_default=False,
        ),
    ],
    batch: Annotated[str, typer.Option(metavar="N[,N…]", help="Images a run; each size is measured."), COMMAS] = "1,32",
    threads: Annotated[int, typer.Option(metavar="N", help="Threads of onnxruntime.")] = 1,
    rounds: Annotated[int, typer.Option(metavar="N", help="Fresh processes for each file; they take turns.")] = 5,
    runs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Timed runs of each batch size in a process. \\[default: as many as take a second, 3 to 50]",
            show_default=False,
        ),
    ] = None,
    provider: Annotated[
        str, typer.Option(metavar="NAME", help="Execution provider, one that onnxruntime lists.")
    ] = "CPUExecutionProvider",
    dim: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=LENGTH", help="Length of a dimension of the inputs that is open. Can be repeated."),
    ] = None,
    source: shared.Source = None,
    json: shared.Json = False,
) -> None:
    """Measure latency, memory and bytes under onnxruntime, beside the dense export of the same network."""
    with exit_codes():
        from slt_compress.benchmark.config import BenchConfig

        dims = shared.numbers(dim or (), "dims", "NAME=LENGTH, such as sequence=128")
        config = BenchConfig(_sizes(batch), threads, rounds, runs, provider, dims)
        named = [as_word(file) for file in files]
        for file in named:
            if isinstance(file, Path):
                require_file(file)
        from slt_compress import api
        from slt_compress.cli.console import Printer

        with user_code(source) as (own, results):
            printer = Printer(json=json, results=results)
            _render(printer, api.bench(named, config=config, source=own, reporter=printer), named, source)


def _sizes(text: str) -> tuple[int, ...]:
    parts = text.replace(" ", "").split(",")
    if not all(re.fullmatch("[0-9]{1,9}", part, re.ASCII) for part in parts):
        raise UsageError(f"`batch` takes whole numbers, such as 1,32, got {text!r}")
    return tuple(map(int, parts))


def _render(printer: "Printer", result: "BenchResult", files: Sequence[str | Path], source: str | None) -> None:
    printer.table(
        ("file", "batch", "latency", "p95", "images/s", "bytes", "session", "peak memory", "MACs"),
        [_cells(row) for row in result.rows],
    )
    compared: dict[str, list[str]] = {}
    for row in result.rows:
        if _label(row) != row.compared_with and _label(row) not in compared.setdefault(row.compared_with, []):
            compared[row.compared_with].append(_label(row))
    config, machine = result.config, result.machine
    threads = "1 thread" if config.threads == 1 else f"{config.threads} threads"
    lines = [("ratios", f"of {', '.join(labels)} to {reference}") for reference, labels in compared.items() if labels]
    lines += [
        ("rounds", f"{config.rounds}, each file in a fresh process; times, memory and ratios are medians over them"),
        ("machine", f"{machine['processor']}, {machine['cores']} cores; {threads}, {config.provider}"),
        ("software", f"onnxruntime {result.versions['onnxruntime']}, Python {result.versions['python']}"),
        *(("note", note) for note in result.notes),
    ]
    printer.result(result.to_json(), lines, advice=_advice(result, files, source))


def _advice(result: "BenchResult", files: Sequence[str | Path], source: str | None) -> str:
    """Return the command that writes what was measured of the first ticket."""
    measured = {row.file: row.measured for row in reversed(result.rows)}  # the first of each is the file itself
    tickets = [file for file in files if measured[str(file)]]
    if not tickets:
        return ""
    options = ["--weights", "dense"] if measured[str(tickets[0])] == "dense export" else []
    options += ["--source", source] if source else []
    return f"next: {shell('slt-compress', 'export', tickets[0], *options)}"


def _label(row: "Row") -> str:
    return f"{row.file} ({row.measured})" if row.measured else row.file


def _cells(row: "Row") -> list[str]:
    from slt_compress.cli.console import size

    def with_ratio(text: str, name: str) -> str:
        ratio = row.ratio[name]
        return f"{text} {'–' if ratio is None else f'{ratio:.2f}×':>6}"

    peak = "–" if row.peak_bytes is None else size(round(row.peak_bytes))
    return [
        _label(row),
        str(row.batch),
        with_ratio(_milliseconds(row.latency_seconds), "latency_seconds"),
        with_ratio(_milliseconds(row.latency_p95_seconds), "latency_p95_seconds"),
        with_ratio(f"{row.images_per_second:,.0f}", "images_per_second"),
        with_ratio(size(row.bytes), "bytes"),
        with_ratio(_milliseconds(row.session_seconds), "session_seconds"),
        with_ratio(peak, "peak_bytes"),
        with_ratio("–" if row.macs is None else _count(row.macs), "macs"),
    ]


def _milliseconds(seconds: float) -> str:
    """Return a time with three digits that count."""
    value = 1e3 * seconds
    decimals = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{decimals}f} ms"


def _count(number: int) -> str:
    """Return a number as a person reads it, powers of 1000."""
    for unit, factor in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= factor:
            return f"{number / factor:.3g} {unit}" if number < 1000 * factor else f"{number / factor:,.0f} {unit}"
    return str(number)
