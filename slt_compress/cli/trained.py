"""What the commands that train weights share: options, how a training is run and saved, and what is said of it."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeAlias

import typer

from slt_compress import files
from slt_compress.cli import options as shared
from slt_compress.cli.failures import own_name
from slt_compress.cli.options import CodecName, InitialiserName, StatisticsName
from slt_compress.cli.output import figures, how_to_measure, how_to_resume, is_kept, rescued, save
from slt_compress.cli.source import code_file, names_code, user_code
from slt_compress.cli.streams import shell
from slt_compress.errors import SltError, UsageError
from slt_compress.pruning.names import FINDERS, METHODS, RECIPES, SCOPES, VALUES

if TYPE_CHECKING:
    from slt_compress.cli.console import Printer
    from slt_compress.config import SearchConfig
    from slt_compress.pipeline.find import UnmeasuredError, UnmeasuredInterrupt
    from slt_compress.pruning.results import TrainedResult
    from slt_compress.ticket.ticket import Ticket
    from slt_compress.training.checkpoint import Checkpoints

    PruneMethod: TypeAlias = str
    FindMethod: TypeAlias = str
    RecipeName: TypeAlias = str
    ScopeName: TypeAlias = str
    ValuesName: TypeAlias = str
else:
    PruneMethod = Literal[METHODS]
    FindMethod = Literal[FINDERS]
    RecipeName = Literal[RECIPES]
    ScopeName = Literal[SCOPES]
    ValuesName = Literal[VALUES]

Recipe = Annotated[
    RecipeName, typer.Option(help="Our settings, or those the method was published with.", rich_help_panel="Gates")
]
Scope = Annotated[ScopeName, typer.Option(help="Where weights are ranked against each other.", rich_help_panel="Gates")]
Init = Annotated[
    InitialiserName,
    typer.Option(help="Distribution of the weights that training starts from.", rich_help_panel="Model"),
]
Seed = Annotated[
    int, typer.Option(min=0, max=2**64 - 1, help="Of first weights, gates and data order.", rich_help_panel="Model")
]
Lr = Annotated[
    float | None,
    typer.Option(help="Learning rate of the weights. \\[default: the kind of network's]", rich_help_panel="Training"),
]
Values = Annotated[
    ValuesName,
    typer.Option(help="How kept weights are stored; int8 and int4 with one scale a row.", rich_help_panel="Output"),
]
CheckpointEvery = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="STEPS",
        help="Save the state after every so many steps, beside OUTPUT, until the run ends. The same command goes on "
        "from there.",
        rich_help_panel="Long runs",
    ),
]
Codec = Annotated[CodecName, typer.Option(help="Code of the masks; auto takes the shorter.", rich_help_panel="Output")]
Statistics = Annotated[
    StatisticsName,
    typer.Option(
        help="Form of the BatchNorm statistics; auto takes fp16 if it changes no held-out prediction.",
        rich_help_panel="Output",
    ),
]
Reference = Annotated[
    bool,
    typer.Option(
        "--reference",
        help="Store how the network sees the held-out images, about 0.5 KB, for slt-compress monitor.",
        rich_help_panel="Output",
    ),
]


def numbers(name: str, text: str, example: str) -> tuple[float, ...]:
    """Return the numbers between commas. Raises UsageError for anything else."""
    try:
        return tuple(float(one) for one in text.split(",") if one.strip())
    except ValueError as error:
        raise UsageError(f"`{name}` must be numbers with commas between, such as {example}, got {text!r}") from error


@dataclass
class Writing:
    """A command that writes a ticket.

    Attributes:
        model: FILE.py:FUNCTION where the user's own code builds the network, or anything else.
        config: of data and device.
        output: the ticket to write.
        named: whether the user has named it.
        checkpoint_every: steps after which the state is saved, None for never.
        found: tickets that an interrupt must not lose.
        folder: where the state is saved.
    """

    model: str
    config: "SearchConfig"
    output: Path
    named: bool
    checkpoint_every: int | None = None
    found: "list[tuple[Ticket, SearchConfig]]" = field(default_factory=list)
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder = Path(f"{self.output}.ckpt")

    def check(self, logs: Mapping[str, Path | None], inputs: Mapping[str, Any]) -> None:
        """Raise UsageError if files to be written are among those that are read, OutputError if one cannot be."""
        from slt_compress.data import places
        from slt_compress.training import distributed

        if distributed.started_by_torchrun():
            raise UsageError("weights are trained in one process; torchrun is for search")
        read = {**places.inputs(self.config.dataset, self.config.data_dir), "the network": code_file(self.model)}
        kept = {"the checkpoint": self.folder if self.checkpoint_every else None}
        files.check_apart({**kept, **logs, "`output`": self.output}, {**read, **inputs})
        with own_name(self.output, self.named):
            files.check_writable(self.output)
            if self.checkpoint_every:
                files.check_folder(self.folder)

    @contextlib.contextmanager
    def opened(
        self, *, json: bool, quiet: bool, log: Path | None, tensorboard: Path | None
    ) -> "Iterator[tuple[Printer, Callable[[], Any] | None]]":
        """Give the printer, and the function that builds the user's network, None for one by name."""
        run = self.output.name.removesuffix(".safetensors")
        with (
            user_code(self.model if names_code(self.model) else None) as (own, results),
            shared.printer(run, json=json, quiet=quiet, log=log, tensorboard=tensorboard, results=results) as printer,
        ):
            yield printer, own

    def checkpoints(self, printer: "Printer") -> "Checkpoints | None":
        """Return where the state is kept, None if nobody has asked for it."""
        from slt_compress.training.checkpoint import Checkpoints

        if self.checkpoint_every is None:
            return None
        return Checkpoints(self.folder, self.checkpoint_every, resume=True, warn=printer.warn, automatic=True)

    def save(self, make: "Callable[[Checkpoints | None], TrainedResult]", printer: "Printer") -> "TrainedResult":
        """Make a ticket, with these checkpoints, and save it, also where measuring it fails."""
        from slt_compress.pipeline.find import UnmeasuredError, UnmeasuredInterrupt

        checkpoints = self.checkpoints(printer)
        try:
            result = make(checkpoints)
        except (UnmeasuredError, UnmeasuredInterrupt) as failure:
            self.keep(failure, printer)
        self.found.append((result.ticket, self.config))
        self.output = save(result.ticket, self.output, printer, named=self.named)
        if checkpoints:
            checkpoints.remove()
        return result

    def keep(self, failure: "UnmeasuredError | UnmeasuredInterrupt", printer: "Printer") -> NoReturn:
        """Save the ticket that could not be measured, and raise what says so; an interrupt saves it at the end."""
        self.found.append((failure.ticket, self.config))
        if isinstance(failure, KeyboardInterrupt):
            raise failure
        self.output = save(failure.ticket, self.output, printer, named=self.named)
        how = how_to_measure(self.model, self.config, self.output, failure.__cause__)
        raise SltError(
            f"the ticket was made, and is saved as {self.output}, but measuring it has failed: {failure.reason}; {how}"
        ) from failure

    def interrupted(self) -> str:
        """Save what was made before an interrupt, if there is something, and say so, and how to go on."""
        saved = rescued(self.found, self.model, self.output, named=self.named)
        goes_on = how_to_resume(self.folder if self.checkpoint_every else None)
        if saved and self.checkpoint_every and is_kept(self.folder):
            return f"{saved}; {goes_on.removeprefix('interrupted; ')}"
        return saved or goes_on

    def advice(self, command: str, *words: str) -> str:
        """Return what to run next on the ticket."""
        recorded = self.config.dataset.partition(":")[0]
        images = shared.images_of(recorded, self.config.dataset, self.config.data_dir, self.config.skip_unreadable)
        source = ["--source", self.model] if names_code(self.model) else []
        return f"next: {shell('slt-compress', command, self.output, *(images or []), *source, *words)}"


def render(printer: "Printer", writing: Writing, result: "TrainedResult", method: str, model: str) -> None:
    """Say what has come of a training: the keys of a search, and what is known of the values."""
    from slt_compress.cli.console import size

    ticket, test, validation = result.ticket, result.test, result.validation
    written, dense = writing.output.stat().st_size, result.dense_bytes
    name = test.metric_name
    kinds = {layer.values.type for layer in ticket.layers if layer.values}
    controls = [
        {
            "name": one.name,
            name: one.test.metric,
            f"validation_{name}": one.validation.metric,
        }
        for one in result.controls
    ]
    printer.result(
        {
            **figures(writing.output, (model, writing.config.dataset, method), result, result),
            "learning_rate": result.learning_rate,
            "values": ", ".join(sorted(kinds)),
            "values_bytes": ticket.values_bytes,
            f"rounding_drop_{name}": result.rounding_drop,
            "controls": controls,
        },
        [
            (name, f"{test.metric:.2%} of {test.samples:,} test images ({validation.metric:.2%} of the held-out ones)"),
            ("sparsity", f"{ticket.sparsity:.2%}: {ticket.kept:,} of {ticket.weight_count:,} weights kept"),
            (
                "values",
                f"{', '.join(sorted(kinds))}, {size(ticket.values_bytes)}; held-out {name} before rounding "
                f"{validation.metric + result.rounding_drop:.2%}",
            ),
            ("size", f"{size(written)} against {size(dense)} dense, {dense / written:.0f}× smaller"),
            ("time", f"{result.seconds:.1f} s, {result.images_per_second:,.0f} images/s"),
            *((one.name, f"{one.test.metric:.2%} ({one.validation.metric:.2%})") for one in result.controls),
            ("ticket", str(writing.output)),
        ],
        advice=writing.advice("evaluate"),
    )
