"""What `slt-compress export` says of what it has written: lines for a person, a document for a program."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from slt_compress.cli.streams import shell
from slt_compress.tasks.record import TaskRecord

if TYPE_CHECKING:
    from slt_compress.c_export.export import CExportResult
    from slt_compress.cli.console import Printer
    from slt_compress.formats.writers import AnyExportResult
    from slt_compress.html_export.export import HtmlExportResult
    from slt_compress.onnx_export.export import ExportResult
    from slt_compress.onnx_export.left import Left
    from slt_compress.onnx_export.parity import Agreement
    from slt_compress.web_export.export import WebExportResult


def render(
    printer: "Printer", result: "AnyExportResult", options: dict[str, Any], images: list[str | Path] | None
) -> None:
    """Tell what was written with these options, where they were given; `images` as in `options.images_of`."""
    from slt_compress.c_export.export import CExportResult
    from slt_compress.html_export.export import HtmlExportResult
    from slt_compress.web_export.export import WebExportResult

    code = {"layout": options.get("layout", "rice"), "arithmetic": options.get("arithmetic", "float")}
    weights = options.get("weights", "compact")
    if isinstance(result, CExportResult):
        _render_c(printer, result, code, "main" in options)
    elif isinstance(result, HtmlExportResult):
        _render_html(printer, result, code)
    elif isinstance(result, WebExportResult):
        _render_web(printer, result, weights)
    else:
        _render_onnx(printer, weights, result, images)


def _render_onnx(printer: "Printer", weights: str, result: "ExportResult", images: list[str | Path] | None) -> None:
    from slt_compress.cli.console import size

    lines = [("onnx", f"{result.file}, {size(result.bytes)}, opset {result.opset}"), *_graph_lines(result, weights)]
    printer.result(
        {"onnx": str(result.file), "bytes": result.bytes, **_graph_fields(result, weights)},
        lines,
        advice="" if images is None else f"next: {shell('slt-compress', 'evaluate', result.file, *images)}",
    )


def _graph_lines(result: "ExportResult", weights: str) -> list[tuple[str, str]]:
    """Return the lines on how a graph compares with torch, and on what has been removed from it."""
    from slt_compress.onnx_export.forms import FORMS

    agreement = result.agreement
    parity = f"logits within {result.max_abs_difference:.1e} of torch's"
    if result.bit_identical_to_dense:
        parity += ", identical to the dense graph's"
    lines = [("parity", parity + _same_predictions(agreement))]
    lines += _removed(result.left)
    if agreement and not FORMS[weights].exact:
        lines.append((agreement.metric_name, f"{agreement.metric_torch:.2%} before, {agreement.metric_onnx:.2%} after"))
    return lines


def _graph_fields(result: "ExportResult", weights: str) -> dict[str, Any]:
    """Return what a document says of a graph."""
    return {
        "weights": weights,
        "opset": result.opset,
        "max_abs_difference": result.max_abs_difference,
        "bit_identical_to_dense": result.bit_identical_to_dense,
        "bit_identical_to_plain": result.bit_identical_to_plain,
        **_measured(result.agreement),
        "calibration_pictures": result.calibration_images,
        **_counted(result.left),
    }


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


def _render_web(printer: "Printer", result: "WebExportResult", weights: str) -> None:
    from slt_compress.cli.console import size

    run, agreement = result.run, result.run and result.run.agreement
    sizes = ", ".join(f"{name} {size(count)}" for name, count in result.files.items())
    lines = [
        ("web", f"{result.file}, {size(result.bytes)}, {size(result.gzip_bytes)} as gzip"),
        ("files", sizes),
        *_graph_lines(result.graph, weights),
        ("runtime", f"onnxruntime-web {result.runtime_version}, {_run_of(result)}"),
    ]
    if run:
        session = f"made in {run.session_milliseconds:,.0f} ms, {size(run.heap_bytes)} of memory"
        lines.append(("session", session))
    printer.result(
        {
            "web": str(result.file),
            "bytes": result.bytes,
            "gzip_bytes": result.gzip_bytes,
            "files": dict(result.files),
            **_graph_fields(result.graph, weights),
            "runtime_version": result.runtime_version,
            "runtime_proven_with": run and run.node,
            "runtime_max_abs_difference": run and run.max_abs_difference,
            "runtime_pictures": agreement.samples if agreement else 0,
            "runtime_predictions_equal": agreement and agreement.equal,
            "session_ms": run and run.session_milliseconds,
            "heap_bytes": run and run.heap_bytes,
        },
        lines,
        advice=f"next: {shell('python', '-m', 'http.server', '--directory', result.file)}, and open "
        "http://localhost:8000",
    )


def _run_of(result: "WebExportResult") -> str:
    """Return how onnxruntime-web compares with torch."""
    if not result.run:
        return "not run: there is no Node.js here"
    return f"within {result.run.max_abs_difference:.1e} of torch's{_same_predictions(result.run.agreement)}"


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


def _removed(left: "Left") -> list[tuple[str, str]]:
    """Return the line on the neurons that an export does without, if there are any."""
    if not left.removed_neurons:
        return []
    weights, macs = left.parameters / left.whole_parameters, left.macs / max(1, left.whole_macs)
    neurons = f"{left.removed_neurons:,} of {left.neurons:,} neurons"
    return [("removed", f"{neurons}; {weights:.0%} of the weights and {macs:.0%} of the MACs are left")]


def _counted(left: "Left") -> dict[str, int | None]:
    """Return what a document says of the neurons that an export does without."""
    return {
        "neurons": left.neurons,
        "removed_neurons": left.removed_neurons,
        "parameters_before": left.whole_parameters,
        "parameters_after": left.parameters,
        "macs_before": left.whole_macs,
        "macs_after": left.macs,
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
