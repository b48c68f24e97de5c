"""`slt-compress evaluate`: measure a ticket or an exported network on the test images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from slt_compress.cli import options as shared
from slt_compress.cli.failures import as_word, exit_codes, failure_document, local_file
from slt_compress.cli.source import user_code
from slt_compress.cli.streams import shell
from slt_compress.errors import UsageError, VerificationError
from slt_compress.tasks.record import TaskRecord

if TYPE_CHECKING:
    from slt_compress.evaluation.accuracy import Evaluation
    from slt_compress.evaluation.networks import Network

EXAMPLES = (
    "Examples:\n\nslt-compress evaluate ticket.safetensors\n\n"
    "slt-compress evaluate ticket.onnx --min-accuracy 0.95 --json"
)

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
    device: shared.Device = "auto",
    source: shared.Source = None,
    json: shared.Json = False,
) -> None:
    """Measure a ticket or an exported network on the test images."""
    with exit_codes():
        path = local_file(file)
        is_onnx = path.suffix.lower() == ".onnx"
        if backend == "torch" and is_onnx:
            raise UsageError(f"{file} runs under onnxruntime; torch evaluates the ticket it was exported from")
        if backend == "onnxruntime" and not is_onnx:
            raise UsageError(
                f"onnxruntime needs an exported file; first run: slt-compress export {shell(as_word(file))}"
            )
        if is_onnx and device not in ("auto", "cpu"):
            raise UsageError(f"{file} runs on the CPU; `device` is for tickets")
        from slt_compress import api
        from slt_compress.cli.console import Printer
        from slt_compress.evaluation.networks import open_network

        with user_code(source) as (own, results):
            printer = Printer(json=json, results=results)
            network = open_network(path, device, own)
            metric = network.record.task.metric
            if min_accuracy is not None and metric != TaskRecord().metric:
                raise UsageError(f"`min_accuracy` is for accuracies, this network is measured by {metric}")
            result = api.evaluate(
                network,
                dataset,
                data_dir=data_dir,
                workers=workers,
                skip_unreadable=skip_unreadable,
                reporter=printer,
            )
            missed = None
            if min_accuracy is not None and result.accuracy < min_accuracy:
                missed = VerificationError(f"accuracy {result.accuracy:.4f} is below `min_accuracy` {min_accuracy:g}")
            document = _document(path, network, result) | (failure_document(missed) if missed else {})
            printer.result(document, _lines(network, result, dataset or network.record.dataset))
            if missed:
                raise missed


def _document(file: Path, network: "Network", result: "Evaluation") -> dict[str, Any]:
    return {
        result.metric_name: result.metric,
        "loss": result.finite_loss,
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
        ("sparsity", f"{network.record.sparsity:.2%}"),
        ("time", f"{result.seconds:.2f} s with {network.backend}"),
    ]
