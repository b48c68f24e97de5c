"""`slt-compress export`: write a ticket as ONNX, as C, as an HTML page or as a folder to serve."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from slt_compress import files
from slt_compress.cli import options as shared
from slt_compress.cli.exported import render
from slt_compress.cli.failures import exit_codes, local_file, own_name, require_file
from slt_compress.cli.source import code_file, user_code
from slt_compress.formats.registry import FORMATS, format_of
from slt_compress.hub.address import is_address

EXAMPLES = (
    "Examples:\n\n"
    "slt-compress export ticket.safetensors --output ticket.onnx\n\n"
    "slt-compress export ticket.safetensors --weights int8 --include-preprocessing --data-dir images\n\n"
    "slt-compress export ticket.safetensors --output ticket.c --main\n\n"
    "slt-compress export ticket.safetensors --output digits.html\n\n"
    "slt-compress export ticket.safetensors --format web --output site --runtime node_modules/onnxruntime-web/dist"
)

FormatName = Literal["onnx", "c", "html", "web"]
FormName = Literal["compact", "dense", "int2", "ternary8", "int8"]
ArithmeticName = Literal["float", "fixed"]
LayoutName = Literal["rice", "gap", "signs"]
_ONNX, _C, _PAGE = "ONNX and web", "C and HTML", "HTML and web"  # panels of the help


def export(
    file: shared.TicketFile,
    output: Annotated[
        Path | None,
        typer.Option(help="File or folder to write. \\[default: the ticket's name with .onnx, .c, .html or .web]"),
    ] = None,
    format: Annotated[  # noqa: A002, the name of the option
        FormatName | None,
        typer.Option(
            help="onnx; c: a C99 file and its header; html: a page that classifies in a browser, offline; web: a "
            "folder with such a page and onnxruntime-web, for all networks. \\[default: by the suffix of --output, "
            "else onnx]"
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
            help="Let the graph take raw pixels, uint8 (batch, height, width, channels), as that of web always does.",
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
        typer.Option(help="Title of the page. \\[default: the network and its data]", rich_help_panel=_PAGE),
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(
            help="Folder dist of onnxruntime-web; for web alone. \\[default: node_modules/onnxruntime-web/dist]",
            rich_help_panel=_PAGE,
        ),
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
    """Write a ticket as ONNX, C, an HTML page or a folder to serve, and check that it computes what torch does."""
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
        from slt_compress.cli.console import Printer
        from slt_compress.ticket.ticket import Ticket

        inputs = {
            "the ticket": ticket_file,
            "`source`": code_file(source),
        }  # `export` itself checks those of its images
        written = {"`output`": output, "the header of `output`": output.with_suffix(".h") if kind == "c" else None}
        files.check_apart(written, inputs)
        with own_name(output, named):
            for path in filter(None, written.values()):
                if kind != "web":  # a folder, which `export` itself checks as early
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
            "runtime": runtime,
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
            origin = ticket.provenance
            recorded = origin.dataset if origin.preprocessing else ""
            images = shared.images_of(recorded, dataset, data_dir, skip_unreadable)
            render(printer, result, given, images)
