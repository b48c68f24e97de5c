"""Options that several commands share, each with one type and one help text, and those that methods bring along."""

import contextlib
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO, TypeAlias

import typer

from slt_compress.errors import UsageError
from slt_compress.methods import registry
from slt_compress.models.spec import MODEL_ARGUMENTS

if TYPE_CHECKING:
    from slt_compress.cli.console import Printer
    from slt_compress.config import SearchConfig

if TYPE_CHECKING:
    MethodName: TypeAlias = str
    RecipeName: TypeAlias = str
else:
    MethodName = Literal[tuple(registry.METHODS)]
    RecipeName = Literal[tuple(registry.recipes())]
InitialiserName = Literal["signed-constant", "kaiming-uniform", "uniform", "kaiming-normal"]
GranularityName = Literal["weight", "neuron", "neuron,weight"]
CodecName = Literal["auto", "raw", "rice"]
StatisticsName = Literal["auto", "fp32", "fp16"]
AugmentName = Literal["none", "flip", "crop", "crop-flip", "shift-flip"]
PrecisionName = Literal["auto", "fp32", "bf16"]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]

DATASETS = "digits, mnist, fashion-mnist, cifar10, cifar100, svhn, imagefolder, csv or hf:NAME"
_WITHOUT_PLACE = {"imagefolder", "csv", "hf"}  # data sets of which a ticket does not say where they are

Model = Annotated[
    str,
    typer.Argument(help="resnet20, vit_tiny_patch16_224, … See: slt-compress models.", show_default=False),
]
OwnModel = Annotated[
    str,
    typer.Argument(
        metavar="MODEL|FILE.py:FUNCTION",
        help="resnet20, vit_tiny_patch16_224, … See: slt-compress models. Or a function of yours that builds a torch "
        "module.",
        show_default=False,
    ),
]
Source = Annotated[
    str | None,
    typer.Option(metavar="FILE.py:FUNCTION", help="The function that builds the network, for a ticket of your own."),
]
TicketFile = Annotated[
    str,
    typer.Argument(
        metavar="TICKET", help="A ticket (.safetensors), here or as hf://OWNER/NAME on the hub.", show_default=False
    ),
]
NetworkFile = Annotated[
    str,
    typer.Argument(
        metavar="TICKET_OR_ONNX",
        help="A ticket, or an exported .onnx, here or as hf://OWNER/NAME/FILE on the hub.",
        show_default=False,
    ),
]
Dataset = Annotated[str, typer.Option(help=f"Images: {DATASETS}.", rich_help_panel="Model")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the images; imagefolder: with train/ and test/ (or val/), each a folder per class; csv: the "
        "file with the columns path, label and, if you like, split, or its folder."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Processes that decode images which are too many for memory; 0: none. \\[default: the cores, at most 8]",
    ),
]
SkipUnreadable = Annotated[
    bool,
    typer.Option("--skip-unreadable", help="Leave out images that cannot be read; else they are an error."),
]
InputSize = Annotated[
    int | None,
    typer.Option(min=1, max=4096, help="Images are resized to this, in px.", rich_help_panel="Model"),
]
ModelArg = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=NUMBER",
        help=f"What differs in a transformer of timm: {', '.join(MODEL_ARGUMENTS)}. Can be repeated.",
        rich_help_panel="Model",
    ),
]
Granularity = Annotated[
    GranularityName,
    typer.Option(
        help="What has a gate: each weight, each neuron (output channel, hidden unit or attention head), or both.",
        rich_help_panel="Gates",
    ),
]
NeuronSparsity = Annotated[
    float | None,
    typer.Option(
        help="Share of neurons that is removed where both have gates, in [0, 1). \\[default: 0.5]",
        rich_help_panel="Gates",
    ),
]
FreezeRatio = Annotated[
    float, typer.Option(help="Share of gated weights whose gate the seed fixes.", rich_help_panel="Gates")
]
LockRatio = Annotated[
    float,
    typer.Option(help="Share of gated weights that the seed keeps, part of --freeze-ratio.", rich_help_panel="Gates"),
]
Init = Annotated[
    InitialiserName | None,
    typer.Option(
        help="Distribution of the frozen weights. \\[default: signed-constant; uniform for crbg --recipe paper]",
        rich_help_panel="Gates",
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        help="Passes over the training images. \\[default: 12, or more for 1,000 steps]", rich_help_panel="Training"
    ),
]
MaxSteps = Annotated[
    int | None,
    typer.Option(
        help="Optimiser steps instead of epochs; every schedule is scaled to them.", rich_help_panel="Training"
    ),
]
BatchSize = Annotated[int, typer.Option(min=2, help="Images a step.", rich_help_panel="Training")]
Augment = Annotated[
    AugmentName,
    typer.Option(
        help="Random changes of training images: crop moves them by up to an eighth, shift by a sixteenth. Costs "
        "accuracy in few epochs.",
        rich_help_panel="Training",
    ),
]
Precision = Annotated[
    PrecisionName,
    typer.Option(help="Arithmetic of the search; auto takes bf16 on a GPU that has it.", rich_help_panel="Training"),
]
Device = Annotated[DeviceName, typer.Option(help="Where to compute; auto takes a GPU if there is one.")]
Teacher = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A trained network to learn from: a ticket, or a state dict of the same network.",
        rich_help_panel="Training",
    ),
]
CheckpointEvery = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="STEPS",
        help="Save the state after every so many steps, beside OUTPUT or in it, until the run ends.",
        rich_help_panel="Long runs",
    ),
]
Log = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.jsonl", help="Append a JSON line to this file at every report.", rich_help_panel="Long runs"
    ),
]
TensorBoard = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Write every report for TensorBoard too, if it is installed.", rich_help_panel="Long runs"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]


@contextlib.contextmanager
def printer(
    run: str,
    *,
    json: bool,
    quiet: bool,
    log: Path | None,
    tensorboard: Path | None,
    results: TextIO | None = None,
) -> Iterator["Printer"]:
    """Give the printer of a command that searches or trains, with its logs open until the end.

    `run` is the name of a search in them, `results` where results are printed to instead of stdout.
    """
    from slt_compress.cli.console import Printer
    from slt_compress.training.logs import JsonLines, TensorBoard

    found = Printer(json=json, quiet=quiet, run=run, results=results)
    with contextlib.ExitStack() as stack:
        if log:
            found.logs.append(stack.enter_context(contextlib.closing(JsonLines(log, found.warn))))
        if tensorboard:
            found.logs.append(stack.enter_context(contextlib.closing(TensorBoard(tensorboard, found.warn))))
        yield found


def with_method_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, which takes them as `options`, an option for each that a registered method understands."""
    signature = inspect.signature(command)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "options"]
    brought = [_parameter(option) for option in registry.options().values()]

    def run(**arguments: Any) -> None:
        given = {parameter.name: arguments.pop(parameter.name) for parameter in brought}
        command(**arguments, options={name: value for name, value in given.items() if value is not None})

    run.__doc__ = command.__doc__
    run.__name__ = command.__name__
    run.__signature__ = signature.replace(parameters=[*own, *brought])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *brought)}
    return run


def images_of(
    recorded: str, dataset: str | None, data_dir: Path | None, skip_unreadable: bool = False
) -> list[str | Path] | None:
    """Return the options by which the next command finds the images of a ticket; None if none are known.

    `recorded` is the data set that the ticket names, empty for data that has no name here; the others are options of
    this command.
    """
    if not recorded or (recorded in _WITHOUT_PLACE and not (dataset or data_dir)):
        return None
    found: list[str | Path] = []
    if dataset and dataset != recorded:
        found += ["--dataset", dataset]
    found += ["--data-dir", data_dir] if data_dir else []
    return found + (["--skip-unreadable"] if skip_unreadable else [])


def search_config(
    *, model_arg: Sequence[str] | None = None, freeze_ratio: float = 0.0, lock_ratio: float = 0.0, **fields: Any
) -> "SearchConfig":
    """Return the config of a search; `fields` are its other fields.

    Raises UsageError for what no search can do.
    """
    from slt_compress.config import SearchConfig
    from slt_compress.prng import Freeze

    arguments = numbers(model_arg or (), "model_arguments", "NAME=NUMBER, such as depth=6")
    return SearchConfig(freeze=Freeze(freeze_ratio, lock_ratio), model_arguments=arguments, **fields)


def byte_count(text: str, argument: str) -> int:
    """Return the bytes that 100KB, 1.5 MB or 2000 names; a KB has 1,000. Raises UsageError for anything else."""
    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,9})?) ?(B|KB|MB|GB)?", text.strip(), re.IGNORECASE | re.ASCII)
    if not found:
        raise UsageError(f"`{argument}` must be a number of bytes, such as 100KB or 1.5MB, got {text!r}")
    return int(float(found[1]) * {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}[(found[2] or "B").upper()])


def numbers(pairs: Sequence[str], argument: str, usual: str) -> dict[str, int]:
    """Return the numbers of an `argument` by their names, from pairs as in `usual`, such as "NAME=NUMBER, such as n=6".

    Raises UsageError for anything else, and for a name twice.
    """
    found: dict[str, int] = {}
    for pair in pairs:
        name, _, number = pair.partition("=")
        if not (name and re.fullmatch(r"-?[0-9]{1,9}", number)):
            raise UsageError(f"`{argument}` takes {usual}, got {pair!r}")
        if name in found:
            raise UsageError(f"`{argument}` has {name} twice: {found[name]} and {number}")
        found[name] = int(number)
    return found


def _parameter(option: registry.Option) -> inspect.Parameter:
    kind: Any = Literal[option.choices] if option.choices else option.type
    annotation = Annotated[kind | None, typer.Option(help=option.help.replace("[", "\\["), rich_help_panel="Gates")]
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
