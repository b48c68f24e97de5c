"""`slt-compress assess`: what a search will cost and give, before it is made."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slt_compress import files
from slt_compress.cli import options as shared
from slt_compress.cli.config_file import COMMAS
from slt_compress.cli.failures import exit_codes
from slt_compress.cli.source import code_file, names_code, user_code
from slt_compress.cli.streams import shell
from slt_compress.errors import UsageError

if TYPE_CHECKING:
    from slt_compress.assessment.extrapolation import Forecast
    from slt_compress.assessment.results import Assessment
    from slt_compress.cli.console import Printer

EXAMPLES = (
    "Examples:\n\nslt-compress assess lenet-300-100 --dataset digits --budget 1\n\n"
    "slt-compress assess resnet20-w2 --dataset cifar10 --target-bytes 50KB --devices 1000 --link-price 2 "
    "--report resnet20.html"
)


def assess(
    model: shared.OwnModel,
    *,
    dataset: shared.Dataset = "digits",
    data_dir: shared.DataDir = None,
    workers: shared.Workers = None,
    skip_unreadable: shared.SkipUnreadable = False,
    input_size: shared.InputSize = None,
    model_arg: shared.ModelArg = None,
    sparsities: Annotated[
        str,
        typer.Option(metavar="S[,S…]", help="Shares of zero weights that the pilot tries.", rich_help_panel="Pilot"),
        COMMAS,
    ] = "0.8,0.9,0.95",
    budget: Annotated[float, typer.Option(metavar="MINUTES", help="Time of the pilot.", rich_help_panel="Pilot")] = 3.0,
    target_bytes: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Most bytes of the ticket, such as 100KB.", rich_help_panel="Wishes"),
    ] = None,
    target_accuracy: Annotated[
        float | None, typer.Option(help="Least accuracy, a fraction.", rich_help_panel="Wishes")
    ] = None,
    devices: Annotated[
        int | None, typer.Option(metavar="N", help="Devices that get the network.", rich_help_panel="Fleet")
    ] = None,
    updates_per_year: Annotated[
        float | None,
        typer.Option(metavar="K", help="Updates of each in a year. \\[default: 12]", rich_help_panel="Fleet"),
    ] = None,
    link_price: Annotated[
        float | None, typer.Option(metavar="PRICE", help="Price of a GB that is moved.", rich_help_panel="Fleet")
    ] = None,
    epochs: shared.Epochs = None,
    max_steps: shared.MaxSteps = None,
    batch_size: shared.BatchSize = 256,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="Of the pilot's searches.")] = 0,
    augment: shared.Augment = "none",
    precision: shared.Precision = "auto",
    device: shared.Device = "auto",
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page with plots that needs no other file.")
    ] = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Say what a search will cost and give, from facts and a few minutes of short searches, and what to do."""
    with exit_codes(output=report):
        from slt_compress.assessment.config import AssessConfig
        from slt_compress.assessment.fleet import Fleet
        from slt_compress.comparison.grid import read_sparsities
        from slt_compress.data import places

        config = shared.search_config(
            dataset=dataset,
            data_dir=data_dir,
            workers=workers,
            skip_unreadable=skip_unreadable,
            input_size=input_size,
            model_arg=model_arg,
            freeze_ratio=0.0,
            lock_ratio=0.0,
            seed=seed,
            epochs=epochs,
            max_steps=max_steps,
            batch_size=batch_size,
            augment=augment,
            precision=precision,
            device=device,
        )
        fleet = None
        if devices is not None:
            fleet = Fleet(devices, 12.0 if updates_per_year is None else updates_per_year, link_price)
        elif updates_per_year is not None or link_price is not None:
            name = "updates_per_year" if updates_per_year is not None else "link_price"
            raise UsageError(f"`{name}` is of a fleet: give `devices` too")
        wanted = AssessConfig(
            sparsities=tuple(read_sparsities(sparsities)),
            budget=budget,
            target_bytes=None if target_bytes is None else shared.byte_count(target_bytes, "target_bytes"),
            target_accuracy=target_accuracy,
            fleet=fleet,
        )
        if report:
            if report.suffix.lower() not in (".html", ".htm"):
                raise UsageError(f"`report` is an HTML page, such as report.html, got {report}")
            inputs = {**places.inputs(dataset, data_dir), "the network": code_file(model)}
            files.check_apart({"`report`": report}, inputs)
            files.check_writable(report)
        from slt_compress import api
        from slt_compress.assessment.page import html_page
        from slt_compress.cli.console import Printer

        with user_code(model if names_code(model) else None) as (own, results):
            printer = Printer(json=json, quiet=quiet, results=results)
            found = api.assess(
                own or model,
                config=config,
                wanted=wanted,
                reporter=printer,
            )
            given: dict[str, object] = {
                "dataset": dataset,
                "data_dir": data_dir,
                "workers": workers,
                "input_size": input_size,
                "epochs": epochs,
                "max_steps": max_steps,
                "batch_size": batch_size,
                "seed": seed,
                "augment": augment,
                "precision": precision,
                "device": device,
            }
            words = _request(model, given, model_arg or ()) + (["--skip-unreadable"] if skip_unreadable else [])
            command = _command(found, words)
            document = {**found.to_json(), "command": command, "report": str(report) if report else None}
            if report:
                files.write_atomically(report, html_page(found, command).encode())
            _tables(printer, found)
            printer.result(document, _lines(found, report), advice=f"next: {command}" if command else "")


def _request(model: str, given: dict[str, object], model_arg: Sequence[str]) -> list[str | Path]:
    """Return the words of a search with these options, without those that are as by default."""
    usual = {"batch_size": 256, "seed": 0, "augment": "none", "precision": "auto", "device": "auto"}
    words: list[str | Path] = ["slt-compress", "search", model]
    for name, value in given.items():
        if value is not None and value != usual.get(name):
            words += [f"--{name.replace('_', '-')}", value if isinstance(value, Path) else str(value)]
    for pair in model_arg:
        words += ["--model-arg", pair]
    return words


def _command(found: "Assessment", words: Sequence[str | Path]) -> str:
    """Return the search that is recommended, for a shell; empty if none is."""
    from slt_compress.assessment.pilot import KINDS

    choice = found.recommendation.choice
    if not choice:
        return ""
    words = [*words, "--sparsity", f"{choice.sparsity:g}"]
    words += ["--method", choice.method] if choice.method != "crbg" else []
    words += ["--granularity", choice.granularity] if choice.granularity != "weight" else []
    kind = next(kind for kind in KINDS if kind.label == choice.kind)
    for name, value in kind.options.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return shell(*words)


def _tables(printer: "Printer", found: "Assessment") -> None:
    from slt_compress.assessment.words import expected, size, year_rows

    def row(name: str, search: str, forecasts: "Sequence[Forecast]", sizes: Sequence[int | None]) -> list[str]:
        return [name, search, *map(expected, forecasts), *("–" if one is None else size(one) for one in sizes)]

    rows = [
        row(f"{one.sparsity:.4g}", one.kind, (one.forecast, one.asked), (one.ticket_bytes, one.onnx_bytes))
        for one in found.choices
    ]
    if found.dense:
        rows.append(row("dense", "–", found.dense, (found.facts.dense_bytes["fp32"], None)))
    if rows:
        after = f"{found.metric_name}, {found.default.steps:,} steps", f"{found.asked.steps:,} steps"
        printer.table(("sparsity", "search", *after, "file", "as ONNX"), rows)
        printer.text("")
    if found.years:
        printer.table(*year_rows(found.years))
        printer.text("")


def _lines(found: "Assessment", report: Path | None) -> list[tuple[str, str]]:
    from slt_compress.assessment.words import clock, size

    facts, speed = found.facts, found.speeds[0]
    dense = ", ".join(f"{size(count)} {form}" for form, count in facts.dense_bytes.items())
    peak = "" if speed.peak_bytes is None else f"{size(speed.peak_bytes)} in all; "
    advice = found.recommendation
    return [
        (
            "network",
            f"{facts.gated_weights:,} gated weights, {facts.other_weights:,} others, {facts.macs:,} MACs an image",
        ),
        ("dense", dense),
        (
            "memory",
            f"a search takes {peak}{size(facts.held_bytes)} for weights and gates, {size(facts.training_bytes)} for "
            f"each image of a batch; an inference {size(facts.activation_bytes)} for activations",
        ),
        *(("speed", f"{one.device}: {one.images_per_second:,.0f} images/s in {one.precision}") for one in found.speeds),
        ("time", f"{clock(found.default.seconds)} for {found.default.steps:,} steps, the default"),
        *([("", f"{clock(found.asked.seconds)} for {found.asked.steps:,} steps, as asked")] if _differ(found) else []),
        *(("advice", text) for text in advice.reasons),
        *(("warning", text) for text in advice.warnings),
        *(("better", text) for text in advice.improvements),
        *(("note", text) for text in found.notes),
        *([("report", str(report))] if report else []),
    ]


def _differ(found: "Assessment") -> bool:
    return found.default.steps != found.asked.steps
