"""The front door for Python: search, evaluate, export and compare, by the names that the command line knows too.

>>> import slt_compress
>>> result = slt_compress.search("resnet18", "cifar10", sparsity=0.95)
>>> result.ticket.save("resnet18.safetensors")
>>> slt_compress.evaluate("resnet18.safetensors").accuracy
>>> slt_compress.export("resnet18.safetensors", "resnet18.onnx")

The command line is a thin layer above these functions. They print nothing. A reporter, where one is given, is told how
long work is going.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from slt_compress import pipeline
from slt_compress.comparison.grid import Plan
from slt_compress.comparison.results import ComparisonResult
from slt_compress.comparison.run import compare as run_comparison
from slt_compress.config import SearchConfig
from slt_compress.data.datasets import DIGITS
from slt_compress.data.splits import Split
from slt_compress.errors import UsageError
from slt_compress.evaluation.accuracy import Evaluation
from slt_compress.evaluation.accuracy import evaluate as measure
from slt_compress.evaluation.networks import Network, open_network
from slt_compress.onnx_export.export import (
    CALIBRATION_IMAGES,
    EXACT_IMAGES,
    MEASURED_IMAGES,
    ExportConfig,
    ExportResult,
    check,
)
from slt_compress.onnx_export.export import export as write_onnx
from slt_compress.onnx_export.forms import FORMS
from slt_compress.progress import SILENT, SILENT_GRID, GridReporter, ProgressReporter
from slt_compress.ticket.record import NetworkRecord
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.checkpoint import Checkpoints
from slt_compress.training.distributed import SINGLE_PROCESS, DistributedContext

_Config = TypeVar("_Config", SearchConfig, ExportConfig)


def search(
    model: str,
    dataset: str | None = None,
    *,
    config: SearchConfig | None = None,
    reporter: ProgressReporter = SILENT,
    checkpoints: Checkpoints | None = None,
    context: DistributedContext = SINGLE_PROCESS,
    **settings: Any,
) -> pipeline.SearchResult:
    """Search a ticket, and measure it once on the test images.

    Args:
        model: name of a network: our own, timm's, or `torchvision/NAME`.
        dataset: name of a data set, "digits" if none is given.
        config: all other settings.
        reporter: who is told how the search is going.
        checkpoints: where the state is kept, so that a killed search can be resumed.
        context: the processes that share the search.
        settings: fields of `SearchConfig` that differ from `config`, such as `sparsity`, `method`, `epochs` or `seed`.

    Raises UsageError for unknown names and settings out of range, DataError if the images cannot be read, and
    UnreachableError if the gates that the seed fixes rule out the sparsity.
    """
    chosen = _search_config(config, dataset, settings)
    return pipeline.find_ticket(model, chosen, reporter, checkpoints=checkpoints, context=context)


def evaluate(
    network: Ticket | Network | str | Path,
    dataset: str | None = None,
    *,
    data_dir: str | Path | None = None,
    device: str = "auto",
    reporter: ProgressReporter = SILENT,
) -> Evaluation:
    """Measure a network on the test images of a data set.

    Args:
        network: a ticket, the file of one, or an exported `.onnx` file, which runs under onnxruntime.
        dataset: name of the data set, the one that the network was found on if none is given.
        data_dir: folder of the images.
        device: where a ticket's network computes: "auto", "cpu", "cuda" or "mps".
        reporter: who is told how the evaluation is going.

    Raises TicketError or VerificationError if the file is not what it should be, DataError if the images cannot be read
    or are of other classes.
    """
    opened = network if isinstance(network, Network) else open_network(network, device)
    name = dataset or opened.record.dataset
    split = pipeline.images_for(opened.record, name, _path(data_dir), reporter).to(opened.device)
    with reporter.counter("evaluating") as report:
        return measure(opened.classifier, split, opened.feed, report)


def export(
    ticket: Ticket | str | Path,
    output: str | Path,
    *,
    config: ExportConfig | None = None,
    dataset: str | None = None,
    data_dir: str | Path | None = None,
    reporter: ProgressReporter = SILENT,
    **settings: Any,
) -> ExportResult:
    """Write a ticket as ONNX, once onnxruntime has been shown to compute what torch does.

    Args:
        ticket: a ticket, or the file of one.
        output: file to write.
        config: what kind of file.
        dataset: whose test images the file is checked on; the ticket's own data set if none is given.
        data_dir: folder of these images. Without it, and without `dataset`, only the embedded digits are used: others
            might have to be downloaded.
        reporter: who is told how the export is going.
        settings: fields of `ExportConfig` that differ from `config`: `weights`, `opset`, `include_preprocessing` and
            `max_accuracy_drop`.

    Raises UsageError for settings out of range, UnreachableError if the weights cannot have this form, OutputError if
    the file cannot be written, and VerificationError if it would not compute what torch does.
    """
    opened = ticket if isinstance(ticket, Ticket) else Ticket.load(ticket)
    chosen = _with(config or ExportConfig(), settings)
    check(opened, chosen)
    module = opened.restore()
    test, calibration = _images_to_check(opened, chosen, dataset, _path(data_dir), reporter)
    reporter.note(f"exporting with {chosen.weights} weights")
    return write_onnx(
        module, opened, Path(output), chosen, test=test, calibration=calibration, counter=reporter.counter
    )


def compare(
    model: str,
    dataset: str | None = None,
    *,
    output: str | Path,
    methods: Sequence[str],
    sparsities: Sequence[float],
    config: SearchConfig | None = None,
    reporter: GridReporter = SILENT_GRID,
    **settings: Any,
) -> ComparisonResult:
    """Run methods at all sparsities and seeds, and train the dense network; finished runs in the folder are kept.

    Args:
        model: name of a network.
        dataset: name of a data set, "digits" if none is given.
        output: folder for tickets, tables and plots.
        methods: as the command line has them: NAME[:OPTION…].
        sparsities: targets, in [0, 1).
        config: what all searches share; its method, recipe, options, sparsity and seed are ignored.
        reporter: who is told how the comparison is going.
        settings: fields of `comparison.grid.Plan` (`seeds`, `dense`, `dense_lr`, `shard`) and of `SearchConfig`.

    Raises UsageError for what is unknown or out of range, or if the folder holds runs of other settings.
    """
    if isinstance(methods, str):
        raise UsageError(f"`methods` must be a list of names, got the string {methods!r}")
    for name in ("method", "recipe", "options", "sparsity", "seed"):
        if name in settings:
            raise UsageError(f"{name!r} differs from run to run; give `methods`, `sparsities` and `seeds`")
    of_plan = {"seeds": 3, "dense": True, "dense_lr": None, "shard": None}
    planned = {name: settings.pop(name, default) for name, default in of_plan.items()}
    chosen = _search_config(config, dataset, settings)
    plan = Plan.parse(model, chosen, methods=",".join(methods), sparsities=",".join(map(str, sparsities)), **planned)
    call = (
        f"slt_compress.compare({model!r}, {chosen.dataset!r}, methods={list(methods)}, sparsities={list(sparsities)})"
    )
    return run_comparison(plan, Path(output), call, reporter)


def _search_config(config: SearchConfig | None, dataset: str | None, settings: dict[str, Any]) -> SearchConfig:
    """Return the config with these fields changed, and the data set if one is given."""
    return _with(config or SearchConfig(), settings if dataset is None else {"dataset": dataset, **settings})


def _with(config: _Config, settings: dict[str, Any]) -> _Config:
    """Return the config with these fields changed. Raises UsageError for an unknown one."""
    known = [field.name for field in fields(config)]
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise UsageError(f"unknown setting {unknown[0]!r}; known: {', '.join(known)}")
    if "data_dir" in settings:
        settings = {**settings, "data_dir": _path(settings["data_dir"])}
    return replace(config, **settings)


def _images_to_check(
    ticket: Ticket, config: ExportConfig, dataset: str | None, data_dir: Path | None, reporter: ProgressReporter
) -> tuple[Split | None, Split | None]:
    """Return the test images that an export is checked on, and the training images that it is calibrated on.

    None where they might have to be downloaded, or are not needed.
    """
    record = NetworkRecord.of(ticket)
    name = dataset or record.dataset
    if not (dataset or data_dir or name == DIGITS):
        reporter.note(f"no images of {name} to check the file on; name their folder with `data_dir`")
        return None, None
    exact = FORMS[config.weights].exact
    most = EXACT_IMAGES if exact else MEASURED_IMAGES
    test = pipeline.images_for(record, name, data_dir, reporter, most=most)
    if exact:
        return test, None
    return test, pipeline.images_for(record, name, data_dir, reporter, part="train", most=CALIBRATION_IMAGES)


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)
