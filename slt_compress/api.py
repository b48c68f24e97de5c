"""The front door for Python: assess, search, evaluate, export and bench.

The package's own page shows them with names that the command line knows. With a network, data and a task of your own:

>>> result = slt_compress.search(build_net, train=train_set, test=test_set, loss=loss_fn, metric=metric_fn)
>>> result.metric
>>> result.ticket.apply_to(build_net())
>>> slt_compress.export(result.ticket, "net.onnx", source=build_net, test=test_set, metric=metric_fn)

The command line is a thin layer above these functions. They print nothing; a reporter is told how long work is going.
What only some of them need is imported by these: onnx is slow to import.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from slt_compress.config import SearchConfig, search_config, with_settings
from slt_compress.data import places
from slt_compress.data.own import as_split
from slt_compress.data.splits import Reading, Split
from slt_compress.data.workers import lost_workers
from slt_compress.errors import UsageError
from slt_compress.evaluation.accuracy import BATCH_SIZE, Evaluation
from slt_compress.evaluation.accuracy import evaluate as measure
from slt_compress.evaluation.networks import Network, module_of, open_network
from slt_compress.files import check_apart
from slt_compress.formats.registry import export_config
from slt_compress.models.defaults import torch_defaults
from slt_compress.models.source import Given
from slt_compress.pipeline.find import SearchResult, find_ticket
from slt_compress.pipeline.images import check_inputs, images_for, images_to_check, own_data_to_check
from slt_compress.pipeline.prepare import own_data, prepare
from slt_compress.prediction.predict import check_classifies
from slt_compress.progress import SILENT, ProgressReporter
from slt_compress.tasks.task import CLASSIFY, Loss, Metric, recorded_task, task_of
from slt_compress.ticket.record import NetworkRecord
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.checkpoint import Checkpoints
from slt_compress.training.distributed import SINGLE_PROCESS, DistributedContext

if TYPE_CHECKING:
    from slt_compress.assessment.config import AssessConfig
    from slt_compress.assessment.results import Assessment
    from slt_compress.benchmark.candidates import File
    from slt_compress.benchmark.config import BenchConfig
    from slt_compress.benchmark.results import BenchResult
    from slt_compress.c_export.export import CExportResult
    from slt_compress.formats.registry import AnyExportConfig
    from slt_compress.formats.writers import AnyExportResult
    from slt_compress.html_export.export import HtmlExportResult
    from slt_compress.onnx_export.export import ExportResult
    from slt_compress.web_export.export import WebExportResult

AnyTicket = Ticket | str | Path  # a ticket, or the file of one


@torch_defaults()
def search(
    model: str | Given,
    dataset: str | None = None,
    *,
    train: Any = None,
    test: Any = None,
    validation: Any = None,
    loss: str | Loss | None = None,
    metric: str | Metric | None = None,
    config: SearchConfig | None = None,
    reporter: ProgressReporter = SILENT,
    checkpoints: Checkpoints | None = None,
    context: DistributedContext = SINGLE_PROCESS,
    **settings: Any,
) -> SearchResult:
    """Search a ticket, and measure it once on the test split.

    Args:
        model: name of a network: our own, timm's, or `torchvision/NAME`. Or a torch module, which is not changed, or a
            function that builds one; with a function, buffers that differ from build to build are found and stored.
        dataset: name of a data set, "digits" if none is given.
        train, test: instead of it, data of your own: torch data sets or `DataLoader`s of (input, target), each a tensor
            or a tuple of tensors of any shape and dtype. A tuple of inputs becomes the arguments of the network.
            float64 becomes float32. A loader keeps its batch size.
        validation: likewise, held-out examples. Without it, a tenth of `train` is held out, at most 5,000 examples;
            data that can be read only from end to end needs it, and `max_steps` if it has no length.
        loss: what is minimised: "cross-entropy" (the default), "binary-cross-entropy", "mse", or a function of
            (outputs, targets) that returns the mean over a batch and can be differentiated.
        metric: what the result is measured by: "accuracy", "mean-iou", "f1", "r2", or a function of (outputs, targets)
            of a whole split, concatenated on the CPU, that returns a number, the higher the better. Without it, the
            one that goes with the loss, or minus the loss where that is a function.
        config: all other settings.
        reporter: who is told how it is going, here and in the other functions.
        checkpoints: where the state is kept, so that a killed search can be resumed.
        context: the processes that share the search.
        settings: fields of `SearchConfig` that differ from `config`, such as `sparsity`, `method`, `epochs` or `seed`.

    Raises UsageError for unknown names, settings out of range, and a network, data, loss and metric that do not fit
    together; DataError if the data cannot be read; UnreachableError if the gates that the seed fixes rule out the
    sparsity; UnmeasuredError, whose `ticket` is what was found, if that cannot be measured; and UnmeasuredInterrupt,
    likewise, for a KeyboardInterrupt while it is.
    """
    chosen = search_config(config, dataset, settings)
    own = own_data(dataset, train, test, validation)
    task = None if loss is None and metric is None else task_of(loss, metric)
    return find_ticket(model, chosen, reporter, data=own, task=task, checkpoints=checkpoints, context=context)


@torch_defaults()
@lost_workers()
def evaluate(
    network: Ticket | Network | str | Path,
    dataset: str | None = None,
    *,
    data_dir: str | Path | None = None,
    workers: int | None = None,
    skip_unreadable: bool = False,
    test: Any = None,
    loss: str | Loss | None = None,
    metric: str | Metric | None = None,
    source: Given | None = None,
    device: str = "auto",
    detailed: bool = False,
    reporter: ProgressReporter = SILENT,
) -> Evaluation:
    """Measure a network on the test split of a data set.

    Args:
        network: a ticket, the file of one, or an exported `.onnx` file, which runs under onnxruntime.
        dataset: name of the data set, the one that the network was found on if none is given.
        data_dir: folder of the images, of which only the test split has to be there.
        workers, skip_unreadable: how its images are read, as in `SearchConfig`.
        test: data of your own instead, as in `search`.
        loss, metric: as in `search`; those that the file names if none is given. A function has to be given again.
        source: your module, or the function that builds it, for a ticket of one.
        device: where a ticket's network computes: "auto", "cpu", "cuda" or "mps".
        detailed: whether the result has `details` of every image of a `dataset`, for a network that gives one class an
            image.

    Raises TicketError or VerificationError if the file is not what it should be, DataError if the images cannot be read
    or are of other classes, and UsageError for details that there are none of.
    """
    if isinstance(network, Network) and (device != "auto" or source is not None):
        name = "`device`" if device != "auto" else "`source`"
        raise UsageError(f"{name} has no meaning for a network that has been opened")
    opened = network if isinstance(network, Network) else open_network(network, device, source)
    task = recorded_task(opened.record.task, loss, metric)
    if detailed:
        check_classifies(opened.record)
        if test is not None:
            raise UsageError("`detailed` is for images of a `dataset`, not for `test`")
    split: Split
    if test is None:
        reading = _reading(workers, skip_unreadable)
        split = images_for(opened.record, dataset, _path(data_dir), reporter, reading=reading)
    else:
        _one_kind_of_data(dataset, data_dir, workers, skip_unreadable)
        split, _ = as_split(test, "test", BATCH_SIZE)
        check_inputs(opened.record, split)
    with reporter.counter("evaluating") as report:
        return measure(opened.classifier, split.to(opened.device), opened.feed, report, task=task, detailed=detailed)


@overload
def export(ticket: AnyTicket, output: str | Path, *, format: Literal["c"], **options: Any) -> "CExportResult": ...
@overload
def export(ticket: AnyTicket, output: str | Path, *, format: Literal["onnx"], **options: Any) -> "ExportResult": ...
@overload
def export(ticket: AnyTicket, output: str | Path, *, format: Literal["html"], **options: Any) -> "HtmlExportResult": ...
@overload
def export(ticket: AnyTicket, output: str | Path, *, format: Literal["web"], **options: Any) -> "WebExportResult": ...
@overload
def export(
    ticket: AnyTicket, output: str | Path, *, format: str | None = None, **options: Any
) -> "AnyExportResult": ...
@torch_defaults()
@lost_workers()
def export(
    ticket: AnyTicket,
    output: str | Path,
    *,
    format: str | None = None,  # noqa: A002, the name of the option
    config: "AnyExportConfig | None" = None,
    dataset: str | None = None,
    data_dir: str | Path | None = None,
    workers: int | None = None,
    skip_unreadable: bool = False,
    train: Any = None,
    test: Any = None,
    loss: str | Loss | None = None,
    metric: str | Metric | None = None,
    source: Given | None = None,
    reporter: ProgressReporter = SILENT,
    **settings: Any,
) -> "AnyExportResult":
    """Write a ticket as ONNX, C, an HTML page or a folder to serve, once it has been shown to compute what torch does.

    Args:
        ticket: a ticket, or the file of one.
        output: file to write, for "web" a folder; a C file gets a header beside it.
        format: "onnx", "c", "html" or "web"; if none is given, the `config` or the suffix of the output decides.
        config: what kind of file.
        dataset: whose test images the file is checked on; the ticket's own data set if none is given.
        data_dir: folder of these images. Without it, and without `dataset`, only the embedded digits are used: others
            might have to be downloaded. Training images have to be there only if they are calibrated on.
        workers, skip_unreadable: how these are read, as in `SearchConfig`.
        test: data of your own to check the file on, as in `search`.
        train: data of your own to calibrate 8-bit values on, which can be read in any order.
        loss, metric, source: as in `evaluate`.
        settings: fields of `ExportConfig` that differ from `config`: `weights`, `opset`, `include_preprocessing`,
            `portable`, `keep_structure`, `max_accuracy_drop`, `replace`; or of `CExportConfig`: `layout`, `arithmetic`,
            `main`, `keep_structure`, `max_accuracy_drop`, `replace`; or of `HtmlExportConfig`: `title` and these, but
            for `main`; or of `WebExportConfig`: `title`, `runtime` and those of `ExportConfig` but for
            `include_preprocessing`.

    Raises UsageError for settings out of range, UnreachableError if the network cannot have this form,
    MissingPackageError without the compiler or the runtime that it needs, OutputError if the file cannot be written,
    and VerificationError if it would not compute what torch does.
    """
    from slt_compress.c_export.export import CExportConfig, Examples
    from slt_compress.formats import writers

    path = Path(output)
    chosen = export_config(format, path, config, settings)
    opened = ticket if isinstance(ticket, Ticket) else Ticket.load(ticket)
    recorded, _, _ = opened.provenance.dataset.partition(":")  # a ticket leads to no place by itself
    header = path.with_suffix(".h") if isinstance(chosen, CExportConfig) else None
    inputs = {"the ticket": None if isinstance(ticket, Ticket) else Path(ticket)}
    check_apart(
        {"`output`": path, "the header of `output`": header},
        {**inputs, **places.inputs(dataset or recorded, _path(data_dir))},
    )
    exact = writers.check(opened, path, chosen)
    if train is not None and exact:
        raise UsageError(f"`train` has no meaning for {writers.what_is_exact(chosen)}, which needs no calibration")
    module = module_of(opened, source)
    if test is not None or train is not None:
        _one_kind_of_data(dataset, data_dir, workers, skip_unreadable)
        split, calibration = own_data_to_check(test, train)
        for part in (split, calibration):
            if part is not None:
                check_inputs(NetworkRecord.of(opened), part)
    else:
        record, reading = NetworkRecord.of(opened), _reading(workers, skip_unreadable)
        split, calibration = images_to_check(record, dataset, _path(data_dir), reporter, exact=exact, reading=reading)
    if split is None and (loss is not None or metric is not None):
        raise UsageError("`loss` and `metric` have no meaning without data to measure: give `test`, or a `dataset`")
    task = CLASSIFY if split is None else recorded_task(opened.provenance.task, loss, metric)
    examples = Examples(split, calibration, task, reporter.counter)
    return writers.write(module, opened, path, chosen, examples, reporter)


@torch_defaults()
@lost_workers()
def assess(
    model: str | Given,
    dataset: str | None = None,
    *,
    train: Any = None,
    test: Any = None,
    validation: Any = None,
    loss: str | Loss | None = None,
    metric: str | Metric | None = None,
    config: SearchConfig | None = None,
    wanted: "AssessConfig | None" = None,
    reporter: ProgressReporter = SILENT,
    **settings: Any,
) -> "Assessment":
    """Say what a search will cost and give, from facts and a few minutes of short searches on held-out examples.

    Args:
        wanted: sparsities, the time of the pilot, what the ticket should be, and the devices it is for.
        The others: as in `search`. Method, options and sparsity are ignored; nothing is measured on `test`.

    Raises as a search does, and UsageError for a metric of your own.
    """
    from slt_compress.assessment.config import AssessConfig
    from slt_compress.assessment.run import assess as run_assessment

    chosen = search_config(config, dataset, settings)
    task = None if loss is None and metric is None else task_of(loss, metric)
    prepared = prepare(model, chosen, reporter, data=own_data(dataset, train, test, validation), task=task)
    return run_assessment(prepared, chosen, wanted or AssessConfig(), reporter)


@torch_defaults()
def bench(
    files: "Sequence[File]",
    *,
    config: "BenchConfig | None" = None,
    source: Given | None = None,
    reporter: ProgressReporter = SILENT,
    **settings: Any,
) -> "BenchResult":
    """Measure what files cost when onnxruntime runs them, each beside the dense export of the same network.

    Args:
        files: tickets, which stand for their compact exports, and any `.onnx` files.
        config: how they are measured; `settings` are fields of it that differ, such as `batch`, `threads` or `rounds`.
        source, reporter: as in `evaluate`.

    Raises UsageError for settings out of range or inputs that cannot be made, TicketError, VerificationError or
    UnreachableError if a file is not what it should be, and LostProcessError if memory runs out.
    """
    from slt_compress.benchmark.config import BenchConfig
    from slt_compress.benchmark.run import bench as run_bench

    return run_bench(files, with_settings(config or BenchConfig(), settings), source, reporter)


@torch_defaults()
def _reading(workers: int | None, skip_unreadable: bool) -> Reading:
    """Return how images are read. Raises UsageError, as a search does, for what cannot be."""
    chosen = SearchConfig(workers=workers, skip_unreadable=skip_unreadable)
    return Reading(chosen.workers, chosen.skip_unreadable)


def _one_kind_of_data(dataset: str | None, data_dir: object, workers: int | None, skip_unreadable: bool) -> None:
    if dataset or data_dir:
        raise UsageError("give a `dataset` by name, or `test`, not both")
    if option := Reading(workers, skip_unreadable).asked_for:
        raise UsageError(f"`{option}` is for images of a `dataset`; `test` is read as it is")


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)
