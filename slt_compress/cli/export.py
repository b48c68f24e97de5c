"""`slt-compress export`: write a ticket as ONNX, as C or as an HTML page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from slt_compress import files
from slt_compress.cli import options as shared
from slt_compress.cli.failures import exit_codes, local_file, own_name, require_file
from slt_compress.cli.source import code_file, user_code
from slt_compress.cli.streams import shell
from slt_compress.formats.registry import FORMATS, format_of
from slt_compress.hub.address import is_address
from slt_compress.tasks.record import TaskRecord

if TYPE_CHECKING:
    from slt_compress.c_export.export import CExportResult
    from slt_compress.cli.console import Printer
    from slt_compress.html_export.export import HtmlExportResult
    from slt_compress.onnx_export.export import ExportResult
    from slt_compress.onnx_export.left import Left
    from slt_compress.onnx_export.parity import Agreement

EXAMPLES = (
    "Examples:\n\n"
    "slt-compress export ticket.safetensors --output ticket.onnx\n\n"
    "slt-compress export ticket.safetensors --weights int8 --include-preprocessing --data-dir images\n\n"
    "slt-compress export ticket.safetensors --output ticket.c --main\n\n"
    "slt-compress export ticket.safetensors --output digits.html"
)

FormatName = Literal["onnx", "c", "html"]
FormName = Literal["compact", "dense", "int2", "ternary8", "int8"]
ArithmeticName = Literal["float", "fixed"]
LayoutName = Literal["rice", "gap", "signs"]
_ONNX, _C, _HTML = "ONNX", "C and HTML", "HTML"  # panels of the help


def export(
    file: shared.TicketFile,
    output: Annotated[
        Path | None, typer.Option(help="File to write. \\[default: the ticket's name with .onnx, .c or .html]")
    ] = None,
    format: Annotated[  # noqa: A002, the name of the option
        FormatName | None,
        typer.Option(
            help="onnx; c: a C99 file and its header; html: a page that classifies in a browser, offline. \\[default: "
            "by the suffix of --output, else onnx]"
        ),
    ] = None,
    weights: Annotated[
        FormName | None,
        typer.Option(
            help="compact: seed and masks, regenerated while onnxruntime loads the file; dense: fp32; int2: 2-bit "
            "constants; ternary8: 8-bit constants, for other runtimes; int8: seed and masks, computed in 8 bits, "
            "calibrated on training images. \\[default: compact]",
            rich_help_panel=_ONNX,
        ),
    ] = None,
    opset: Annotated[
        int | None,
        typer.Option(
            help="ONNX operator set. \\[default: 20, for dense, ternary8 and --portable 18, for int2 25]",
            rich_help_panel=_ONNX,
        ),
    ] = None,
    include_preprocessing: Annotated[
        bool,
        typer.Option(
            "--include-preprocessing",
            help="Let the graph take raw pixels, uint8 (batch, height, width, channels).",
            rich_help_panel=_ONNX,
        ),
    ] = False,
    portable: Annotated[
        bool,
        typer.Option(
            "--portable",
            help="compact: for other runtimes too, such as OpenVINO, OpenCV and tract.",
            rich_help_panel=_ONNX,
        ),
    ] = False,
    layout: Annotated[
        LayoutName | None,
        typer.Option(
            help="rice: the fewest bytes; gap: a byte for each gap between kept weights, faster; signs: with the sign "
            "in that byte, the fastest. \\[default: rice]",
            rich_help_panel=_C,
        ),
    ] = None,
    arithmetic: Annotated[
        ArithmeticName | None,
        typer.Option(
            help="fixed: values in 8 bits and sums in 32, calibrated on training images. \\[default: float]",
            rich_help_panel=_C,
        ),
    ] = None,
    main: Annotated[
        bool,
        typer.Option(
            "--main", help="Add a program that reads an image from standard input; for c alone.", rich_help_panel=_C
        ),
    ] = False,
    title: Annotated[
        str | None,
        typer.Option(help="Title of the page. \\[default: the network and its data]", rich_help_panel=_HTML),
    ] = None,
    keep_structure: Annotated[
        bool,
        typer.Option("--keep-structure", help="Leave dead neurons in; else they are removed where a layer has them."),
    ] = False,
    dataset: Annotated[
        str | None,
        typer.Option(help="Images to check the file on and to calibrate with. \\[default: what the ticket records]"),
    ] = None,
    data_dir: shared.DataDir = None,
    workers: shared.Workers = None,
    skip_unreadable: shared.SkipUnreadable = False,
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="int8 and fixed: exit with 3 if the test accuracy falls by more than this fraction. \\[default: 0.01]",
        ),
    ] = None,
    source: shared.Source = None,
    json: shared.Json = False,
) -> None:
    """Write a ticket as ONNX, as C or as an HTML page, and check that it computes what torch does."""
    kind = format_of(format, output)
    ticket_file = beside = Path(file)
    if is_address(file):
        with exit_codes():
            ticket_file = local_file(file)
        beside = Path(ticket_file.name)  # what is made of it lies in the current folder, and never in the cache
    named, output = output, output or files.named_after(beside, FORMATS[kind].suffix)
    with exit_codes(output=output):
        require_file(ticket_file)
        from slt_compress import api
        from slt_compress.c_export.export import CExportResult
        from slt_compress.cli.console import Printer
        from slt_compress.html_export.export import HtmlExportResult
        from slt_compress.ticket.ticket import Ticket

        inputs = {
            "the ticket": ticket_file,
            "`source`": code_file(source),
        }  # `export` itself checks those of its images
        written = {"`output`": output, "the header of `output`": output.with_suffix(".h") if kind == "c" else None}
        files.check_apart(written, inputs)
        with own_name(output, named):
            for path in filter(None, written.values()):
                files.check_writable(path)
        settings = {
            "weights": weights,
            "opset": opset,
            "include_preprocessing": include_preprocessing or None,
            "portable": portable or None,
            "keep_structure": keep_structure or None,
            "max_accuracy_drop": max_accuracy_drop,
            "layout": layout,
            "arithmetic": arithmetic,
            "main": main or None,
            "title": title,
        }
        given: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
        with user_code(source) as (own, results):
            printer = Printer(json=json, results=results)
            ticket = Ticket.load(ticket_file)
            result = api.export(
                ticket,
                output,
                format=kind,
                dataset=dataset,
                data_dir=data_dir,
                workers=workers,
                skip_unreadable=skip_unreadable,
                source=own,
                reporter=printer,
                replace=bool(named),
                **given,
            )
            if result.file != output:
                printer.warn(f"{output} holds something else and stays as it is")
            code: dict[str, str] = {"layout": layout or "rice", "arithmetic": arithmetic or "float"}
            if isinstance(result, CExportResult):
                _render_c(printer, result, code, main)
                return
            if isinstance(result, HtmlExportResult):
                _render_html(printer, result, code)
                return
            origin = ticket.provenance
            recorded = origin.dataset if origin.preprocessing else ""
            images = shared.images_of(recorded, dataset, data_dir, skip_unreadable)
            _render(printer, weights or "compact", result, images)


def _render(printer: "Printer", weights: str, result: "ExportResult", images: list[str | Path] | None) -> None:
    from slt_compress.cli.console import size
    from slt_compress.onnx_export.forms import FORMS

    agreement = result.agreement
    parity = f"logits within {result.max_abs_difference:.1e} of torch's"
    if result.bit_identical_to_dense:
        parity += ", identical to the dense graph's"
    parity += _same_predictions(agreement)
    lines = [("onnx", f"{result.file}, {size(result.bytes)}, opset {result.opset}"), ("parity", parity)]
    lines += _removed(result)
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
            **_measured(agreement),
            "calibration_pictures": result.calibration_images,
            **_counted(result),
        },
        lines,
        advice="" if images is None else f"next: {shell('slt-compress', 'evaluate', result.file, *images)}",
    )


def _render_c(printer: "Printer", result: "CExportResult", kind: dict[str, str], main: bool) -> None:
    from slt_compress.cli.console import size

    agreement = result.agreement
    memory = f"{size(result.arena_bytes)} of static memory, {size(result.table_bytes)} of tables"
    lines = [("c", f"{result.file}, {result.header}"), ("memory", memory)]
    lines += _checked(result.max_abs_difference, agreement, kind["arithmetic"], "there is no C compiler here")
    lines += _removed(result.left)
    printer.result(
        {
            "c": str(result.file),
            "header": str(result.header),
            "bytes": result.bytes,
            **kind,
            "table_bytes": result.table_bytes,
            "arena_bytes": result.arena_bytes,
            "arena_bound_bytes": result.bound_bytes,
            "compiler": result.compiler,
            "max_abs_difference": result.max_abs_difference,
            **_measured(agreement),
            "calibration_pictures": result.calibration_images,
            **_counted(result.left),
        },
        lines,
        advice=f"next: {shell('cc', '-O2', *(('-o', result.file.with_suffix('')) if main else ('-c',)), result.file)}",
    )


def _render_html(printer: "Printer", result: "HtmlExportResult", kind: dict[str, str]) -> None:
    from slt_compress.cli.console import size

    lines = [("html", f"{result.file}, {size(result.bytes)}, with a module of {size(result.module_bytes)}")]
    why = "there is neither Node.js nor a C compiler here"
    lines += _checked(result.max_abs_difference, result.agreement, kind["arithmetic"], why)
    lines += _removed(result.left)
    printer.result(
        {
            "html": str(result.file),
            "bytes": result.bytes,
            "module_bytes": result.module_bytes,
            **kind,
            "compiler": result.compiler,
            "proven_with": result.proven_with,
            "module_run": result.module_run,
            "max_abs_difference": result.max_abs_difference,
            **_measured(result.agreement),
            "calibration_pictures": result.calibration_images,
            **_counted(result.left),
        },
        lines,
        advice=f"next: open {shell(result.file)} in a browser",
    )


def _checked(
    difference: float | None, agreement: "Agreement | None", arithmetic: str, unchecked: str
) -> list[tuple[str, str]]:
    """Return the lines on how code compares with torch."""
    if difference is None:
        return [("parity", f"not checked: {unchecked}")]
    lines = [("parity", f"outputs within {difference:.1e} of torch's{_same_predictions(agreement)}")]
    if agreement and arithmetic == "fixed":
        lines.append((agreement.metric_name, f"{agreement.metric_torch:.2%} before, {agreement.metric_onnx:.2%} after"))
    return lines


def _removed(left: "Left | ExportResult") -> list[tuple[str, str]]:
    """Return the line on the neurons that an export does without, if there are any."""
    if not left.removed_neurons:
        return []
    share = left.parameters / left.whole_parameters
    words = f"{left.removed_neurons:,} of {left.neurons:,} neurons; {share:.0%} of the weights are left"
    return [("removed", words)]


def _counted(left: "Left | ExportResult") -> dict[str, int | None]:
    """Return what a document says of the neurons that an export does without."""
    return {
        "neurons": left.neurons,
        "removed_neurons": left.removed_neurons,
        "parameters_before": left.whole_parameters,
        "parameters_after": left.parameters,
    }


def _same_predictions(agreement: "Agreement | None") -> str:
    """Return how many predictions are those of torch, to be added to a sentence."""
    if not agreement:
        return ""
    one_each = agreement.predictions == agreement.samples
    what = ", the same class for " if one_each else ", the same prediction in "
    return f"{what}{agreement.equal:,} of {agreement.predictions:,} {'test images' if one_each else 'cases'}"


def _measured(agreement: "Agreement | None") -> dict[str, Any]:
    """Return what a document says of a test split."""
    metric = agreement.metric_name if agreement else TaskRecord().metric
    return {
        "pictures": agreement.samples if agreement else 0,
        "predictions_equal": agreement.equal if agreement else None,
        f"{metric}_before": agreement.metric_torch if agreement else None,
        f"{metric}_after": agreement.metric_onnx if agreement else None,
    }
