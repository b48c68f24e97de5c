"""`slt-compress monitor`: does a deployed network still see what it was made for?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slt_compress import files
from slt_compress.cli import options as shared
from slt_compress.cli.failures import exit_codes, failure_document, local_file
from slt_compress.cli.source import user_code
from slt_compress.errors import UsageError, VerificationError
from slt_compress.monitoring.config import MonitorConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from slt_compress.monitoring.judge import Window
    from slt_compress.monitoring.run import MonitorResult

EXAMPLES = (
    "Examples:\n\nslt-compress monitor ticket.safetensors --images camera/ --window 500 --log monitor.jsonl\n\n"
    "slt-compress monitor ticket.onnx --predictions predictions.csv --textfile slt.prom\n\n"
    "slt-compress monitor ticket.onnx --merge device-1.json device-2.json"
)

_NAMED = 5  # unreadable images that are named


def monitor(
    file: shared.NetworkFile,
    histograms: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[HISTOGRAM]...", help="With --merge, what devices have counted.", show_default=False),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="What the network sees; a folder named as a class gives labels."),
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(metavar="FILE.csv|.jsonl", help="A log of its predictions, instead of images.")
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Add up the histograms of devices, and judge the sum.")
    ] = False,
    reference: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="What to compare with. \\[default: what is in the file]"),
    ] = None,
    reference_images: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Measure what to compare with on images that it was not trained on."),
    ] = None,
    save_reference: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Keep what was compared with, for --reference.")
    ] = None,
    window: Annotated[
        int | None, typer.Option(metavar="N", help="Images that are judged together. \\[default: all]")
    ] = None,
    false_alarms: Annotated[
        float, typer.Option(metavar="SHARE", help="Windows of unchanged images with an alarm, at most.")
    ] = MonitorConfig.false_alarms,
    threshold: Annotated[
        float, typer.Option(metavar="PSI", help="A quantity that has drifted by less raises no alarm.")
    ] = MonitorConfig.threshold,
    log: shared.Log = None,
    textfile: Annotated[
        Path | None, typer.Option(metavar="FILE.prom", help="Write the last window for Prometheus.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw the windows.")] = None,
    device: shared.Device = "auto",
    source: shared.Source = None,
    json: shared.Json = False,
) -> None:
    """Judge whether a deployed network still sees what it was made for; exit with 3 on an alarm."""
    outputs = {"`save_reference`": save_reference, "`log`": log, "`textfile`": textfile, "`plot`": plot}
    with exit_codes(lambda: _interrupted(log)):
        if merge != bool(histograms):
            raise UsageError("`merge` takes histograms: slt-compress monitor FILE --merge HISTOGRAM…")
        if reference and reference_images:
            raise UsageError("give a `reference`, or `reference_images` to measure one on, not both")
        if reference_images and not reference_images.is_dir():
            raise UsageError(f"`reference_images` should be a folder of images, got {reference_images}")
        path = local_file(file)
        places: dict[str, files.Places] = {"the network": path, "the histograms": histograms}
        single = {
            "images": images,
            "predictions": predictions,
            "reference": reference,
            "reference_images": reference_images,
        }
        files.check_apart(outputs, {**places, **{f"`{name}`": place for name, place in single.items()}})
        for place in filter(None, outputs.values()):
            files.check_writable(place)
        from slt_compress.cli.console import Printer
        from slt_compress.monitoring.reference_file import save_reference as save
        from slt_compress.monitoring.run import measure_reference
        from slt_compress.monitoring.run import monitor as run

        if log:
            files.check_log(log)
        with user_code(source) as (own, results):
            printer = Printer(json=json, results=results)
            config = MonitorConfig(window, false_alarms, threshold, device, own)
            if save_reference and reference_images and not (images or predictions or merge):
                record, measured = measure_reference(path, reference_images, config, printer)
                save(save_reference, measured, record.classes)
                printer.result(
                    {"reference": measured.to_json(), "saved": str(save_reference)},
                    [("reference", f"{measured.images:,} images"), ("saved", str(save_reference))],
                )
                return
            result = run(
                path,
                images,
                predictions=predictions,
                histograms=histograms if merge else None,
                reference=reference_images or reference,
                config=config,
                report=_writer(path.name, log, textfile),
                reporter=printer,
            )
            if save_reference:
                save(save_reference, result.reference, result.record.classes)
            if plot:
                from slt_compress.monitoring.plots import windows_png

                files.write_atomically(plot, windows_png(result.windows, path.name))
            failure = _failure(result)
            for _, reason in result.unreadable[:_NAMED]:
                printer.warn(f"left out: {reason}")
            if len(result.unreadable) > _NAMED:
                printer.warn(f"left out: {len(result.unreadable) - _NAMED:,} more images")
            _tables(printer.table, result)
            document = _document(result) | (failure_document(failure) if failure else {})
            printer.result(document, _lines(result))
            if failure:
                raise failure


def _writer(name: str, log: Path | None, textfile: Path | None) -> "Callable[[Window], None]":
    """Return what writes every window as soon as it is judged."""
    from slt_compress.monitoring import output

    alarms = 0

    def write(window: "Window") -> None:
        nonlocal alarms
        alarms += bool(window.alarms)
        if log:
            output.append_line(log, window)
        if textfile:
            files.write_atomically(textfile, output.to_prometheus(window, name, alarms).encode())

    return write


def _interrupted(log: Path | None) -> str:
    kept = log is not None and log.is_file()
    return f"interrupted; {log} has the windows that were judged" if kept else "interrupted; nothing was written"


def _failure(result: "MonitorResult") -> VerificationError | None:
    found = [window for window in result.windows if window.alarms]
    if not found:
        return None
    windows = f"{len(found):,} of {len(result.windows):,} windows" if len(result.windows) > 1 else "the images"
    last = found[-1]
    return VerificationError(f"alarm in {windows}: {'; '.join(last.alarms[:3])}{'; …' if len(last.alarms) > 3 else ''}")


def _document(result: "MonitorResult") -> dict[str, Any]:
    from slt_compress.monitoring.output import to_json

    return {
        "images": sum(window.images for window in result.windows),
        "alarm": bool(result.alarms),
        "windows": [to_json(window) for window in result.windows],
        "unreadable": [{"path": path, "error": reason} for path, reason in result.unreadable],
        "reference": {"images": result.reference.images, "accuracy": result.reference.accuracy},
        "ticket": result.record.ticket,
        "model": result.record.model,
    }


def _tables(table: "Callable[..., None]", result: "MonitorResult") -> None:
    """Print the windows, if there are several, and the quantities of the last one, or of the last one in alarm."""
    if len(result.windows) > 1:
        table(
            ("images", "from", "low confidence", "estimated", "accuracy", "alarms"),
            [
                (
                    f"{window.images:,}",
                    f"{window.first:,}",
                    _percent(window.low_confidence),
                    _percent(window.estimated_accuracy),
                    _percent(window.accuracy),
                    ", ".join(alarm.split()[0] for alarm in window.alarms) or "-",
                )
                for window in result.windows
            ],
        )
    shown = _shown(result)
    table(
        ("quantity", "PSI", "by chance", "KS", "by chance", "alarm"),
        [
            (
                one.quantity,
                f"{one.psi:.3f}",
                f"≤ {one.psi_limit:.3f}",
                "-" if one.ks is None else f"{one.ks:.3f}",
                "-" if one.ks_limit is None else f"≤ {one.ks_limit:.3f}",
                "alarm" if one.alarm else "-",
            )
            for one in shown.drifts
        ],
    )


def _lines(result: "MonitorResult") -> list[tuple[str, str]]:
    window, reference = _shown(result), result.reference
    place = f", the window from image {window.first:,} on" if len(result.windows) > 1 else ""
    lines = [("images", f"{window.images:,}{place}, beside {reference.images:,} of the reference")]
    if window.low_confidence is not None:
        lines.append(
            ("low confidence", f"{window.low_confidence:.1%} (reference {window.low_confidence_reference:.1%})")
        )
    held_out = "" if reference.accuracy is None else f" (reference {reference.accuracy:.2%})"
    if window.estimated_accuracy is not None:
        error = window.estimated_error or 0.0
        other = _percent(window.calibrated_accuracy)
        text = f"estimated {window.estimated_accuracy:.1%} ± {100 * error:.1f} points, by calibration {other}{held_out}"
        lines.append(("accuracy", text))
    if window.accuracy is not None:
        lines.append(("accuracy", f"{window.accuracy:.2%} of {window.labelled:,} with a label{held_out}"))
    if window.drifts:
        least = max(one.psi_limit for one in window.drifts)
        lines.append(("resolution", f"changes of a PSI below {least:.3f} cannot be told from chance"))
    else:
        lines.append(("judged", "nothing: there are too few images"))
    lines += [("not judged", f"{name}: {reason}") for name, reason in window.not_judged.items()]
    lines += [("alarm", reason) for reason in window.alarms]
    return lines if window.alarms else [*lines, ("alarm", "none")]


def _shown(result: "MonitorResult") -> "Window":
    return next((window for window in reversed(result.windows) if window.alarms), result.windows[-1])


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
