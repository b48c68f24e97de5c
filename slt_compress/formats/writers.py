"""A network, written in the format of a config: one way in for all of them."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from torch import nn

from slt_compress.c_export import export as c_export
from slt_compress.c_export.export import CExportConfig, CExportResult, Examples
from slt_compress.html_export import export as html_export
from slt_compress.html_export.export import HtmlExportConfig, HtmlExportResult
from slt_compress.onnx_export import export as onnx_export
from slt_compress.onnx_export.export import ExportConfig, ExportResult
from slt_compress.progress import ProgressReporter
from slt_compress.ticket.ticket import Ticket
from slt_compress.web_export import export as web_export
from slt_compress.web_export.export import WebExportConfig, WebExportResult

if TYPE_CHECKING:
    from slt_compress.formats.registry import AnyExportConfig

AnyExportResult: TypeAlias = ExportResult | CExportResult | HtmlExportResult | WebExportResult


def check(ticket: Ticket, path: Path, config: "AnyExportConfig") -> bool:
    """Return whether all predictions must be those of torch, so that no calibration is needed, before any long work.

    Raises what the `check` of the format raises.
    """
    if isinstance(config, ExportConfig):
        onnx_export.check(ticket, config)
    elif isinstance(config, CExportConfig):
        c_export.check(ticket, path, config)
    elif isinstance(config, HtmlExportConfig):
        html_export.check(ticket, config)
    else:
        web_export.check(ticket, path, config)
    return config.exact


def what_is_exact(config: "AnyExportConfig") -> str:
    """Return the setting that decides whether a file is exact, as messages have it."""
    if isinstance(config, ExportConfig | WebExportConfig):
        return f"`weights={config.weights}`"
    return f"`arithmetic={config.arithmetic}`"


def write(
    module: nn.Module,
    ticket: Ticket,
    path: Path,
    config: "AnyExportConfig",
    examples: Examples,
    reporter: ProgressReporter,
) -> AnyExportResult:
    """Write the module restored from a ticket, and note what could not be run here.

    Raises what the `export` of the format raises.
    """
    test, calibration, task, counter = examples.test, examples.calibration, examples.task, examples.counter
    if isinstance(config, CExportConfig):
        reporter.note(f"exporting C with the layout {config.layout}")
        written = c_export.export(
            module, ticket, path, config, test=test, calibration=calibration, task=task, counter=counter
        )
        if written.compiler is None:
            reporter.note("no C compiler here (cc, gcc or clang): the file has not been compiled and run")
        return written
    if isinstance(config, HtmlExportConfig):
        reporter.note("exporting an HTML page")
        page = html_export.export(module, ticket, path, config, examples)
        if not page.module_run:
            proven = "its C code has been run instead" if page.proven_with else "it has not been run"
            reporter.note(
                f"no Node.js here to run the page's module: {proven}; the page tests itself when it is opened"
            )
        return page
    if isinstance(config, WebExportConfig):
        reporter.note(f"exporting a folder with {config.weights} weights")
        folder = web_export.export(module, ticket, path, config, examples)
        if folder.run is None:
            reporter.note(
                "no Node.js here to run onnxruntime-web: the graph has been run by onnxruntime; the page tests itself "
                "when it is opened"
            )
        return folder
    reporter.note(f"exporting with {config.weights} weights")
    return onnx_export.export(
        module, ticket, path, config, test=test, calibration=calibration, task=task, counter=counter
    )
