"""`slt-compress evaluate`: measure a ticket or an exported network on the test images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from slt_compress import files
from slt_compress.cli import options as shared
from slt_compress.cli.failures import as_word, exit_codes, failure_document, local_file
from slt_compress.cli.source import user_code
from slt_compress.cli.streams import shell
from slt_compress.data.places import inputs
from slt_compress.errors import UsageError, VerificationError
from slt_compress.hub.address import path_in
from slt_compress.prediction.log import suffix_of, write_log
from slt_compress.tasks.record import TaskRecord

if TYPE_CHECKING:
    from slt_compress.cli.console import Printer
    from slt_compress.evaluation.accuracy import Details, Evaluation
    from slt_compress.evaluation.networks import Network

EXAMPLES = (
    "Examples:\n\nslt-compress evaluate ticket.safetensors --per-class\n\n"
    "slt-compress evaluate ticket.onnx --min-accuracy 0.95 --json"
)

_PRINTED_CLASSES = 20  # of more, a matrix is no text that a person can read

BackendName = Literal["torch", "onnxruntime"]


def evaluate(
    file: shared.NetworkFile,
    dataset: Annotated[
        str | None, typer.Option(help=f"Images: {shared.DATASETS}. \\[default: what the file records]")
    ] = None,
    data_dir: shared.DataDir = None,
    workers: shared.Workers = None,
    skip_unreadable: shared.SkipUnreadable = False,
    backend: Annotated[
        BackendName | None,
        typer.Option(help="torch for a ticket, onnxruntime for an .onnx. \\[default: what fits]"),
    ] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(min=0, max=1, help="Exit with 3 if the accuracy is below this.")
    ] = None,
    per_class: Annotated[
        bool,
        typer.Option(
            "--per-class", help="Precision, recall and F1 of each class, and the confusion matrix, as PNG too."
        ),
    ] = False,
    confusion_matrix: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="The PNG of --per-class. \\[default: the file's name, -confusion.png]"),
    ] = None,
    save_predictions: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv|.jsonl", help="A line an image, as predict writes it, with features and label."),
    ] = None,
    device: shared.Device = "auto",
    source: shared.Source = None,
    json: shared.Json = False,
) -> None:
    """Measure a ticket or an exported network on the test images."""
    with exit_codes():
        is_onnx = path_in(file).suffix.lower() == ".onnx"
        if backend == "torch" and is_onnx:
            raise UsageError(f"{file} runs under onnxruntime; torch evaluates the ticket it was exported from")
        if backend == "onnxruntime" and not is_onnx:
            raise UsageError(
                f"onnxruntime needs an exported file; first run: slt-compress export {shell(as_word(file))}"
            )
        if is_onnx and device not in ("auto", "cpu"):
            raise UsageError(f"{file} runs on the CPU; `device` is for tickets")
        path = local_file(file)
        if confusion_matrix and not per_class:
            raise UsageError("`confusion_matrix` needs `per_class`")
        picture = (confusion_matrix or files.unused(Path(f"{path.stem}-confusion.png"))) if per_class else None
        _check_outputs(path, save_predictions, picture, data_dir)
        from slt_compress import api
        from slt_compress.cli.console import Printer
        from slt_compress.evaluation.networks import open_network
        from slt_compress.prediction.predict import check_classifies, logged
        from slt_compress.ticket.schema import classifies_images

        with user_code(source) as (own, results):
            printer = Printer(json=json, results=results)
            network = open_network(path, device, own)
            metric = network.record.task.metric
            if per_class or save_predictions:
                check_classifies(network.record)
            if min_accuracy is not None and metric != TaskRecord().metric:
                raise UsageError(f"`min_accuracy` is for accuracies, this network is measured by {metric}")
            result = api.evaluate(
                network,
                dataset,
                data_dir=data_dir,
                workers=workers,
                skip_unreadable=skip_unreadable,
                detailed=classifies_images(network.record),
                reporter=printer,
            )
            missed = None
            if min_accuracy is not None and result.accuracy < min_accuracy:
                missed = VerificationError(f"accuracy {result.accuracy:.4f} is below `min_accuracy` {min_accuracy:g}")
            name = dataset or network.record.dataset
            document = _document(path, network, result)
            lines = _lines(network, result, name)
            if save_predictions and result.details:
                write_log(save_predictions, logged(result.details, network.record.classes, f"{name}/test"))
                document["predictions"] = str(save_predictions)
                lines.append(("predictions", str(save_predictions)))
            if picture and result.details:
                document |= _per_class(printer, result.details, network.record.classes, picture, f"{path.name}, {name}")
                lines.append(("confusion", str(picture)))
            printer.result(document | (failure_document(missed) if missed else {}), lines)
            if missed:
                raise missed


def _check_outputs(file: Path, log: Path | None, picture: Path | None, data_dir: Path | None) -> None:
    """Raise UsageError or OutputError for what cannot be written, before anything is measured."""
    if log:
        suffix_of(log)
    outputs = {"`save_predictions`": log, "`confusion_matrix`": picture}
    files.check_apart(outputs, {"the network": file, **inputs("", data_dir)})
    for path in filter(None, outputs.values()):
        files.check_writable(path)


def _per_class(
    printer: "Printer", details: "Details", classes: Sequence[str], picture: Path, title: str
) -> dict[str, Any]:
    """Print the figures of each class and the confusion matrix, draw it, and return what JSON says of them."""
    from slt_compress.evaluation.classes import class_figures, confusion_matrix
    from slt_compress.plotting.confusion import confusion_png

    confusion = confusion_matrix(details.scores.classes[:, 0], details.targets, len(classes))
    figures = class_figures(confusion, classes)
    counts: list[list[int]] = confusion.tolist()
    printer.table(
        ("class", "images", "precision", "recall", "F1"),
        [(one.name, f"{one.images:,}", *map(_share, (one.precision, one.recall, one.f1))) for one in figures],
    )
    printer.text("")
    if len(classes) <= _PRINTED_CLASSES:
        printer.table(
            ("true \\ predicted", *classes),
            [(name, *map(str, row)) for name, row in zip(classes, counts, strict=True)],
        )
    else:
        mistakes = [(count, true, found) for true, row in enumerate(counts) for found, count in enumerate(row)]
        often = sorted((one for one in mistakes if one[1] != one[2]), reverse=True)[:_PRINTED_CLASSES]
        printer.table(
            ("the most frequent mistakes", "taken for", "images"),
            [(classes[true], classes[found], f"{count:,}") for count, true, found in often if count],
        )
    printer.text("")
    files.write_atomically(picture, confusion_png(counts, classes, title))
    return {
        "classes": [vars(one) for one in figures],
        "confusion_matrix": counts,
        "confusion_png": str(picture),
    }


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _document(file: Path, network: "Network", result: "Evaluation") -> dict[str, Any]:
    return {
        result.metric_name: result.metric,
        "loss": result.finite_loss,
        **({"calibration_error": result.details.calibration_error} if result.details else {}),
        "samples": result.samples,
        "seconds": result.seconds,
        "backend": network.backend,
        "sparsity": network.record.sparsity,
        "bytes": file.stat().st_size,
    }


def _lines(network: "Network", result: "Evaluation", name: str) -> list[tuple[str, str]]:
    return [
        (result.metric_name, f"{result.metric:.2%} of {result.samples:,} test images of {name}"),
        ("loss", f"{result.loss:.4f}"),
        *([("calibration", f"off by {result.details.calibration_error:.2%} on average")] if result.details else []),
        ("sparsity", f"{network.record.sparsity:.2%}"),
        ("time", f"{result.seconds:.2f} s with {network.backend}"),
    ]
