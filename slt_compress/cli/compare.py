"""`slt-compress compare`: run methods over sparsities and seeds."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slt_compress import files
from slt_compress.cli import options as shared
from slt_compress.cli.config_file import COMMAS, spelled_out
from slt_compress.cli.failures import exit_codes, failure_document
from slt_compress.cli.flags import as_flags
from slt_compress.cli.streams import shell
from slt_compress.errors import FailedRunsError, UsageError
from slt_compress.methods import registry

if TYPE_CHECKING:
    from slt_compress.cli.console import Printer
    from slt_compress.comparison.frontier import FrontierResult
    from slt_compress.comparison.results import ComparisonResult

EXAMPLES = (
    "Examples:\n\n"
    "slt-compress compare lenet-300-100 --dataset digits --sparsities 0.9,0.98 --output digits\n\n"
    "slt-compress compare conv4 --dataset cifar10 --methods crbg,random --seeds 5 --epochs 20 --output conv4"
)


SPARSITIES = "0.5,0.8,0.9,0.95,0.98"


def compare(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL", help="resnet20, vit_tiny_patch16_224, … See: slt-compress models.", show_default=False
        ),
    ] = None,
    *,
    output: Annotated[
        Path,
        typer.Option(
            help="Folder for tickets, tables and plots; finished cells of the same settings in it are kept.",
            show_default=False,
        ),
    ],
    dataset: shared.Dataset = "digits",
    data_dir: shared.DataDir = None,
    workers: shared.Workers = None,
    skip_unreadable: shared.SkipUnreadable = False,
    input_size: shared.InputSize = None,
    model_arg: shared.ModelArg = None,
    methods: Annotated[
        str,
        typer.Option(
            help=f"Of {', '.join(registry.METHODS)}, with commas between; options of a method follow as NAME:OPTION. "
            "prune:NAME[:VALUES] trains and prunes weights, see slt-compress prune.",
            rich_help_panel="Grid",
        ),
        COMMAS,
    ] = ",".join(registry.METHODS),
    models: Annotated[
        str | None,
        typer.Option(
            help="Instead of MODEL, several networks with commas between: which is best where.", rich_help_panel="Grid"
        ),
        COMMAS,
    ] = None,
    sparsities: Annotated[
        str | None,
        typer.Option(
            help="Shares of zero weights, or removed neurons, in [0, 1), with commas between. "
            f"\\[default: {SPARSITIES}]",
            rich_help_panel="Grid",
        ),
        COMMAS,
    ] = None,
    bytes: Annotated[  # noqa: A002, as the option is called
        str | None,
        typer.Option(
            metavar="SIZES",
            help="Instead of sparsities, largest sizes of a ticket, such as 10KB,30KB.",
            rich_help_panel="Grid",
        ),
        COMMAS,
    ] = None,
    seeds: Annotated[
        int, typer.Option(help="Runs of each method at each sparsity, with seeds from 0.", rich_help_panel="Grid")
    ] = 3,
    dense: Annotated[
        bool,
        typer.Option("--dense/--no-dense", help="Also train all weights, as the baseline.", rich_help_panel="Grid"),
    ] = True,
    dense_lr: Annotated[
        float | None,
        typer.Option(
            help="Learning rate of the dense baseline and of prune:NAME. \\[default: the best of three on held-out "
            "images]",
            rich_help_panel="Grid",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Run only every N-th cell, from the I-th on; then the command without --shard writes the tables.",
            rich_help_panel="Grid",
        ),
    ] = None,
    granularity: shared.Granularity = "weight",
    neuron_sparsity: shared.NeuronSparsity = None,
    freeze_ratio: shared.FreezeRatio = 0.0,
    lock_ratio: shared.LockRatio = 0.0,
    init: shared.Init = None,
    epochs: shared.Epochs = None,
    max_steps: shared.MaxSteps = None,
    batch_size: shared.BatchSize = 256,
    augment: shared.Augment = "none",
    precision: shared.Precision = "auto",
    device: shared.Device = "auto",
    checkpoint_every: shared.CheckpointEvery = None,
    log: shared.Log = None,
    tensorboard: shared.TensorBoard = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Compare methods over sparsities or sizes, and seeds: tickets, tables of mean ± std, plots. Resumes."""
    with exit_codes(lambda: f"interrupted; finished cells stay in {output}, run the same command again to continue"):
        config = shared.search_config(
            dataset=dataset,
            data_dir=data_dir,
            workers=workers,
            skip_unreadable=skip_unreadable,
            input_size=input_size,
            model_arg=model_arg,
            sparsity=0.0,
            granularity=granularity,
            neuron_sparsity=neuron_sparsity,
            freeze_ratio=freeze_ratio,
            lock_ratio=lock_ratio,
            initialiser=init,
            epochs=epochs,
            max_steps=max_steps,
            batch_size=batch_size,
            augment=augment,
            precision=precision,
            device=device,
        )
        from slt_compress.training import distributed

        if distributed.started_by_torchrun():
            raise UsageError("compare runs in one process; torchrun is for search")
        from slt_compress.comparison.frontier import compare_models
        from slt_compress.comparison.grid import Plan
        from slt_compress.comparison.run import compare as run
        from slt_compress.comparison.run import outputs
        from slt_compress.data import places

        networks = _networks(model, models)
        sizes = tuple(shared.byte_count(size, "bytes") for size in bytes.split(",")) if bytes is not None else ()
        plan = Plan.parse(
            networks[0],
            config,
            methods=methods,
            sparsities=SPARSITIES if sparsities is None and bytes is None else sparsities,
            seeds=seeds,
            dense=dense,
            dense_lr=dense_lr,
            shard=shard,
        )
        plan = replace(plan, sizes=sizes, checkpoint_every=checkpoint_every)
        plan.refuse_idle({"log": log, "tensorboard": tensorboard})
        written = {**outputs(output), "`log`": log, "`tensorboard`": tensorboard}
        files.check_apart(written, places.inputs(dataset, data_dir))
        command = shell("slt-compress", *spelled_out(sys.argv[1:]))
        with shared.printer("compare", json=json, quiet=quiet, log=log, tensorboard=tensorboard) as printer:
            if models is not None:
                found = compare_models(plan, networks, output, command, printer)
            else:
                result = run(plan, output, command, printer)
        if models is not None:
            _render_frontier(printer, found, output, tables=shard is None)
            return
        failure = None
        if result.failed:
            names = ", ".join(result.failed)
            failure = FailedRunsError(f"{len(result.failed)} of {result.cells} runs failed: {names}; see above")
        _render(printer, result, output, failure, tables=shard is None)
        if failure:
            raise failure


def _networks(model: str | None, models: str | None) -> list[str]:
    """Return the networks that are named, in one way or the other."""
    from slt_compress.comparison.grid import read_names

    if model is not None and models is None:
        return [model]
    if model is None and models is not None:
        return read_names("models", models)
    raise UsageError("give a MODEL, or several as `models`" + ("" if model is None else ", not both"))


def _render_frontier(printer: "Printer", found: "FrontierResult", output: Path, *, tables: bool) -> None:
    from slt_compress.comparison.frontier import table

    cells = sum(result.cells for result in found.models.values())
    finished = sum(len(result.rows) for result in found.models.values())
    failure = None
    if found.failed:
        failure = FailedRunsError(f"{len(found.failed)} of {cells} runs failed: {', '.join(found.failed)}; see above")
    document = found.to_json()
    document["failed"] = {cell: as_flags(reason) for cell, reason in found.failed.items()}
    document |= failure_document(failure) if failure else {}
    lines = [("cells", f"{finished} of {cells} finished")]
    lines += [("failed", f"{cell}: {reason}") for cell, reason in document["failed"].items()]
    if tables and found.points:
        if found.undrawn:
            printer.warn(f"cannot draw {output / 'frontier.png'} ({found.undrawn}); the tables are complete")
        printer.table(*table(found))
        lines.append(("table", f"{output / 'frontier.md'}, {output / 'frontier.json'}"))
        lines += [] if found.undrawn else [("plot", str(output / "frontier.png"))]
    advice = "" if tables else "next, once all shards are finished: the same command without --shard"
    printer.result(document, lines, advice=advice)
    if failure:
        raise failure


def _render(
    printer: "Printer", result: "ComparisonResult", output: Path, failure: FailedRunsError | None, *, tables: bool
) -> None:
    from slt_compress.comparison.run import PLOTS
    from slt_compress.comparison.tables import accuracy_table

    lines = [("cells", f"{len(result.rows)} of {result.cells} finished")]
    document = result.to_json()
    document["failed"] = {cell: as_flags(reason) for cell, reason in result.failed.items()}
    document |= failure_document(failure) if failure else {}
    lines += [("failed", f"{cell}: {reason}") for cell, reason in document["failed"].items()]
    if not (tables and result.rows):
        advice = "" if tables else "next, once all shards are finished: the same command without --shard"
        printer.result(document, lines, advice=advice)
        return
    drawn = [name for name in PLOTS if name not in result.undrawn]
    for name, reason in result.undrawn.items():
        printer.warn(f"cannot draw {output / name} ({reason}); the tables are complete")
    printer.table(*accuracy_table(result.summaries))
    lines += [
        ("accuracy", f"test, in per cent, {'mean ± std' if result.seeds > 1 else 'one seed'}"),
        ("table", f"{output / 'results.csv'}, {output / 'results.json'}, {output / 'results.md'}"),
        *([("plots", ", ".join(str(output / name) for name in drawn))] if drawn else []),
        ("tickets", str(output / "tickets")),
    ]
    printer.result(document, lines)
