"""`slt-compress evaluate`: measure a ticket or an exported network on the test images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from slt_compress.cli import options as shared
from slt_compress.cli.failures import exit_codes, require_file
from slt_compress.errors import UsageError, VerificationError

if TYPE_CHECKING:
    import torch

    from slt_compress.evaluation.accuracy import Classifier, Feed
    from slt_compress.ticket.record import NetworkRecord

EXAMPLES = (
    "Examples:\n\nslt-compress evaluate ticket.safetensors\n\n"
    "slt-compress evaluate ticket.onnx --min-accuracy 0.95 --json"
)

BackendName = Literal["torch", "onnxruntime"]


def evaluate(
    file: Annotated[Path, typer.Argument(metavar="TICKET_OR_ONNX", help="A ticket, or an exported .onnx.")],
    dataset: Annotated[
        str | None, typer.Option(help=f"Images: {shared.DATASETS}. [default: what the file records]")
    ] = None,
    data_dir: shared.DataDir = None,
    backend: Annotated[
        BackendName | None,
        typer.Option(help="torch for a ticket, onnxruntime for an .onnx. [default: what fits]"),
    ] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(min=0, max=1, help="Exit with 3 if the accuracy is below this.")
    ] = None,
    device: shared.Device = "auto",
    json: shared.Json = False,
) -> None:
    """Measure a ticket or an exported network on the test images."""
    with exit_codes():
        is_onnx = file.suffix.lower() == ".onnx"
        if backend == "torch" and is_onnx:
            raise UsageError(f"{file} runs under onnxruntime; torch evaluates the ticket it was exported from")
        if backend == "onnxruntime" and not is_onnx:
            raise UsageError(f"onnxruntime needs an exported file; first run: slt-compress export {file}")
        require_file(file)
        from slt_compress.cli.console import Printer
        from slt_compress.evaluation.accuracy import evaluate as measure
        from slt_compress.pipeline import images_for
        from slt_compress.training import malloc
        from slt_compress.training.device import choose_device

        printer = Printer(json=json)
        target = choose_device("cpu" if is_onnx else device)
        if target.type == "cpu":
            malloc.keep_freed_memory()
        classifier, record, feed = _open(file, target)
        name = dataset or record.dataset
        split = images_for(record, name, data_dir, printer)
        with printer.counter("evaluating") as report:
            result = measure(classifier, split.to(target), feed, report)
        used = "onnxruntime" if is_onnx else "torch"
        printer.result(
            {
                "accuracy": result.accuracy,
                "loss": result.finite_loss,
                "samples": result.samples,
                "seconds": result.seconds,
                "backend": used,
                "sparsity": record.sparsity,
                "bytes": file.stat().st_size,
            },
            [
                ("accuracy", f"{result.accuracy:.2%} of {result.samples:,} test images of {name}"),
                ("loss", f"{result.loss:.4f}"),
                ("sparsity", f"{record.sparsity:.2%}"),
                ("time", f"{result.seconds:.2f} s with {used}"),
            ],
        )
        if min_accuracy is not None and result.accuracy < min_accuracy:
            raise VerificationError(f"accuracy {result.accuracy:.4f} is below `min_accuracy` {min_accuracy:g}")


def _open(file: Path, device: "torch.device") -> "tuple[Classifier, NetworkRecord, Feed]":
    """Return what classifies, what is known of it, and what prepares its images."""
    if file.suffix.lower() == ".onnx":
        from slt_compress.evaluation.onnxruntime_backend import OnnxClassifier

        classifier = OnnxClassifier(file)
        return classifier, classifier.record, classifier.feed
    from slt_compress.evaluation.accuracy import torch_classifier
    from slt_compress.ticket.record import NetworkRecord
    from slt_compress.ticket.ticket import Ticket

    ticket = Ticket.load(file)
    return torch_classifier(ticket.restore(), device), NetworkRecord.of(ticket), ticket.provenance.preprocessing
