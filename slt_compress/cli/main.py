"""The application: its commands, and what holds for all of them. Nothing heavy is imported before a command runs."""

from typing import Annotated

import typer

from slt_compress.cli import (
    assess,
    bench,
    compare,
    doctor,
    evaluate,
    export,
    find_ticket,
    inspect,
    interrupts,
    models,
    monitor,
    predict,
    prune,
    push,
    search,
    train,
    verify,
)
from slt_compress.cli.application import Application
from slt_compress.cli.group import Group
from slt_compress.cli.options import with_method_options
from slt_compress.version import __version__

app = Application(
    name="slt-compress",
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"slt-compress {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Find strong lottery tickets and ship them as a seed plus at most one mask bit per weight."""


app.command(epilog=assess.EXAMPLES)(assess.assess)
app.command(epilog=search.EXAMPLES)(with_method_options(search.search))
app.command(epilog=prune.EXAMPLES)(prune.prune)
app.command(epilog=find_ticket.EXAMPLES)(find_ticket.find_ticket)
app.command(epilog=train.EXAMPLES)(train.train)
app.command(epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command(epilog=export.EXAMPLES)(export.export)
app.command(epilog=inspect.EXAMPLES)(inspect.inspect)
app.command(epilog=verify.EXAMPLES)(verify.verify)
app.command(epilog=bench.EXAMPLES)(bench.bench)
app.command(epilog=compare.EXAMPLES)(compare.compare)
app.command(epilog=predict.EXAMPLES)(predict.predict)
app.command(epilog=monitor.EXAMPLES)(monitor.monitor)
app.command(epilog=models.EXAMPLES)(models.models)
app.command(epilog=push.EXAMPLES)(push.push)
app.command(epilog=doctor.EXAMPLES)(doctor.doctor)


def main() -> None:
    """Run the command line, and end the process. Whoever calls it has installed `interrupts` before."""
    try:
        app()
    except SystemExit as ending:
        if isinstance(ending.code, int):
            interrupts.end_with(ending.code)
        raise
    except Exception:  # a bug, whose traceback Python prints
        interrupts.end_with(1)
        raise
