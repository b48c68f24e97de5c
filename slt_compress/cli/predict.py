"""`slt-compress predict`: classify images in files."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slt_compress import files
from slt_compress.cli import options as shared
from slt_compress.cli.failures import exit_codes, failure_document, local_file
from slt_compress.cli.source import user_code
from slt_compress.errors import DataError

if TYPE_CHECKING:
    from slt_compress.prediction.log import Prediction
    from slt_compress.progress import ReportCount

EXAMPLES = (
    "Examples:\n\nslt-compress predict ticket.safetensors photo.jpg pictures/\n\n"
    "slt-compress predict ticket.onnx 'pictures/**/*.png' --top 3 --output predictions.csv"
)

_NAMED = 5  # unreadable images that a message names


def predict(
    file: shared.NetworkFile,
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGES...", help="Images, folders of images, and patterns.", show_default=False),
    ],
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv|.jsonl", help="The log of predictions. \\[default: CSV on stdout]"),
    ] = None,
    top: Annotated[int, typer.Option(min=1, metavar="K", help="Most probable classes that are given.")] = 1,
    features: Annotated[
        bool,
        typer.Option("--features", help="Add entropy, largest logit, and mean and contrast of the image, for monitor."),
    ] = False,
    device: shared.Device = "auto",
    source: shared.Source = None,
    json: shared.Json = False,
) -> None:
    """Classify images in files: class, probability and margin of each. Unreadable ones are left out and listed."""
    with exit_codes():
        from slt_compress.prediction import log

        if output:
            log.suffix_of(output)
        path = local_file(file)
        from slt_compress.cli.console import Printer
        from slt_compress.evaluation.networks import open_network
        from slt_compress.prediction.images import named_images
        from slt_compress.prediction.predict import predict as predict_images

        with user_code(source) as (own, results):
            printer = Printer(json=json, results=results)
            paths, notes = named_images(images)
            if output:
                files.check_apart({"`output`": output}, {"the network": path, "the images": paths})
                files.check_writable(output)
            for note in notes:
                printer.warn(note)
            network = open_network(path, device, own)
            unreadable: list[dict[str, str]] = []

            def leave_out(path: str, error: DataError) -> None:
                unreadable.append({"path": path, "error": str(error)})
                printer.warn(str(error))

            start = time.perf_counter()
            kept: list[dict[str, Any]] = []
            with printer.counter("classifying") as report:
                found = _counted(
                    predict_images(network, paths, top=top, features=features, unreadable=leave_out),
                    report,
                    len(paths),
                    unreadable,
                )
                if output:
                    count = log.write_log(output, found)
                elif json:
                    kept = [prediction.fields() for prediction in found]
                    count = len(kept)
                else:
                    count = 0
                    for count, line in enumerate(log.lines(found, log.CSV), 1):  # noqa: B007
                        printer.line(line)
            seconds = time.perf_counter() - start
            failure = _failure(unreadable, len(paths))
            document = {
                "images": count,
                "unreadable": unreadable,
                "seconds": seconds,
                "images_per_second": count / seconds,
                "backend": network.backend,
                **({"output": str(output) if count else None} if output else {"predictions": kept}),
                **(failure_document(failure) if failure else {}),
            }
            rate = f"{count:,} images, {count / seconds:,.0f} a second, with {network.backend}"
            if output or json:
                printer.result(
                    document, [("classified", rate), *([("output", str(output))] if output and count else [])]
                )
            else:
                printer.note(rate)
            if failure:
                raise failure


def _counted(
    predictions: "Iterator[Prediction]",
    report: "ReportCount | None",
    total: int,
    unreadable: list[dict[str, str]],
) -> "Iterator[Prediction]":
    for count, prediction in enumerate(predictions, 1):
        if report:
            report(count + len(unreadable), total)
        yield prediction


def _failure(unreadable: list[dict[str, str]], total: int) -> DataError | None:
    """Return what ends the command with 1 once the other images are classified."""
    if not unreadable:
        return None
    named = ", ".join(one["path"] for one in unreadable[:_NAMED]) + (", …" if len(unreadable) > _NAMED else "")
    rest = total - len(unreadable)
    others = "the others are classified" if rest else "none is left"
    return DataError(f"{len(unreadable):,} of {total:,} images cannot be read: {named}; {others}")
