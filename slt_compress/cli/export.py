"""`slt-compress export`: write a ticket as ONNX."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from slt_compress import files
from slt_compress.cli import options as shared
from slt_compress.cli.failures import exit_codes, own_name, require_file
from slt_compress.cli.source import code_file, user_code
from slt_compress.cli.streams import shell
from slt_compress.tasks.record import TaskRecord

if TYPE_CHECKING:
    from slt_compress.cli.console import Printer
    from slt_compress.onnx_export.export import ExportResult

EXAMPLES = (
    "Examples:\n\n"
    "slt-compress export ticket.safetensors --output ticket.onnx\n\n"
    "slt-compress export ticket.safetensors --weights int8 --include-preprocessing --data-dir images"
)

FormName = Literal["compact", "dense", "int2", "ternary8", "int8"]


def export(
    ticket_file: shared.TicketFile,
    output: Annotated[
        Path | None, typer.Option(help="ONNX file to write. \\[default: the ticket's name with .onnx]")
    ] = None,
    weights: Annotated[
        FormName,
        typer.Option(
            help="compact: seed and masks, regenerated while onnxruntime loads the file; dense: fp32; int2: 2-bit "
            "constants; ternary8: 8-bit constants, for other runtimes; int8: seed and masks, computed in 8 bits, "
            "calibrated on training images."
        ),
    ] = "compact",
    opset: Annotated[
        int | None, typer.Option(help="ONNX operator set. \\[default: 20, for dense and ternary8 18, for int2 25]")
    ] = None,
    include_preprocessing: Annotated[
        bool,
        typer.Option(
            "--include-preprocessing", help="Let the graph take raw pixels, uint8 (batch, height, width, channels)."
        ),
    ] = False,
    dataset: Annotated[
        str | None,
        typer.Option(help="Images to check the file on and to calibrate int8. \\[default: what the ticket records]"),
    ] = None,
    data_dir: shared.DataDir = None,
    workers: shared.Workers = None,
    skip_unreadable: shared.SkipUnreadable = False,
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="int8: exit with 3 if the test accuracy falls by more than this fraction. \\[default: 0.01]",
        ),
    ] = None,
    source: shared.Source = None,
    json: shared.Json = False,
) -> None:
    """Write a ticket as ONNX and check that onnxruntime computes what torch does."""
    named, output = output, output or files.named_after(ticket_file, ".onnx")
    with exit_codes(output=output):
        require_file(ticket_file)
        from slt_compress import api
        from slt_compress.cli.console import Printer
        from slt_compress.onnx_export.export import ExportConfig
        from slt_compress.ticket.ticket import Ticket

        inputs = {
            "the ticket": ticket_file,
            "`source`": code_file(source),
        }  # `export` itself checks those of its images
        files.check_apart({"`output`": output}, inputs)
        with own_name(output, named):
            files.check_writable(output)
        config = ExportConfig(weights, opset, include_preprocessing, max_accuracy_drop, replace=bool(named))
        with user_code(source) as (own, results):
            printer = Printer(json=json, results=results)
            ticket = Ticket.load(ticket_file)
            result = api.export(
                ticket,
                output,
                config=config,
                dataset=dataset,
                data_dir=data_dir,
                workers=workers,
                skip_unreadable=skip_unreadable,
                source=own,
                reporter=printer,
            )
            if result.file != output:
                printer.warn(f"{output} holds something else and stays as it is")
            origin = ticket.provenance
            recorded = origin.dataset if origin.preprocessing else ""
            images = shared.images_of(recorded, dataset, data_dir, skip_unreadable)
            _render(printer, weights, result, images)


def _render(printer: "Printer", weights: str, result: "ExportResult", images: list[str | Path] | None) -> None:
    from slt_compress.cli.console import size
    from slt_compress.onnx_export.forms import FORMS

    agreement = result.agreement
    metric = agreement.metric_name if agreement else TaskRecord().metric
    parity = f"logits within {result.max_abs_difference:.1e} of torch's"
    if result.bit_identical_to_dense:
        parity += ", identical to the dense graph's"
    if agreement:
        one_each = agreement.predictions == agreement.samples
        parity += ", the same class for " if one_each else ", the same prediction in "
        parity += f"{agreement.equal:,} of {agreement.predictions:,} {'test images' if one_each else 'cases'}"
    lines = [("onnx", f"{result.file}, {size(result.bytes)}, opset {result.opset}"), ("parity", parity)]
    if agreement and not FORMS[weights].exact:
        lines.append((agreement.metric_name, f"{agreement.metric_torch:.2%} before, {agreement.metric_onnx:.2%} after"))
    printer.result(
        {
            "onnx": str(result.file),
            "bytes": result.bytes,
            "weights": weights,
            "opset": result.opset,
            "max_abs_difference": result.max_abs_difference,
            "bit_identical_to_dense": result.bit_identical_to_dense,
            "bit_identical_to_plain": result.bit_identical_to_plain,
            "pictures": agreement.samples if agreement else 0,
            "predictions_equal": agreement.equal if agreement else None,
            f"{metric}_before": agreement.metric_torch if agreement else None,
            f"{metric}_after": agreement.metric_onnx if agreement else None,
            "calibration_pictures": result.calibration_images,
        },
        lines,
        advice="" if images is None else f"next: {shell('slt-compress', 'evaluate', result.file, *images)}",
    )
