"""What a monitor writes for other programs: a JSON object a window, and the text format of Prometheus."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slt_compress.errors import OutputError
from slt_compress.monitoring.judge import Drift, Window

_PREFIX = "slt_compress_monitor_"
# Metric -> what it is, for people.
_OF_QUANTITIES = {
    "psi": "Population stability index of a quantity against the reference.",
    "psi_limit": "What that may be by chance.",
    "ks": "Kolmogorov-Smirnov statistic of a quantity against the reference.",
    "ks_limit": "What that may be by chance.",
}
_OF_WINDOWS = {
    "images": "Images in the last window.",
    "low_confidence": "Share of images with a low probability.",
    "low_confidence_reference": "That share of the held-out images.",
    "estimated_accuracy": "Accuracy estimated without labels.",
    "estimated_error": "Half of the 95 % interval around the estimated accuracy.",
    "calibrated_accuracy": "Another estimate, by the accuracy of held-out images with the same probability.",
    "accuracy": "Accuracy of the images with a label.",
    "labelled": "Images with a label.",
}


def to_json(window: Window) -> dict[str, Any]:
    """Return a window as a JSON object."""
    return {**vars(window), "drifts": [vars(one) for one in window.drifts], "alarms": list(window.alarms)}


def append_line(path: Path, window: Window) -> None:
    """Add a window to a log, a JSON object a line. Raises OutputError if that is impossible."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(to_json(window), allow_nan=False) + "\n")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def to_prometheus(window: Window, model: str, alarms: int) -> str:
    """Return a window as text for a collector of Prometheus.

    `model` names the network, `alarms` is the number of windows with an alarm so far, this one included.
    """
    label = f'model="{_escaped(model)}"'
    lines: list[str] = []
    for name, what in _OF_QUANTITIES.items():
        samples = [(f'{label},quantity="{one.quantity}"', getattr(one, name)) for one in window.drifts]
        lines += _metric(name, what, samples)
    for name, what in _OF_WINDOWS.items():
        lines += _metric(name, what, [(label, getattr(window, name))])
    lines += _metric(
        "quantities_in_alarm", "Quantities that have drifted.", [(label, sum(map(_alarms, window.drifts)))]
    )
    lines += _metric("alarm", "Whether there is an alarm of the last window.", [(label, int(bool(window.alarms)))])
    lines += _metric("alarm_windows", "Windows with an alarm in this run.", [(label, alarms)])
    return "".join(f"{line}\n" for line in lines)


def _metric(name: str, what: str, samples: list[tuple[str, float | None]]) -> Iterator[str]:
    """Yield the lines of a metric, none if nothing is known of it."""
    known = [(labels, value) for labels, value in samples if value is not None]
    if known:
        yield f"# HELP {_PREFIX}{name} {what}"
        yield f"# TYPE {_PREFIX}{name} gauge"
        for labels, value in known:
            yield f"{_PREFIX}{name}{{{labels}}} {value:.9g}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _alarms(drift: Drift) -> bool:
    return drift.alarm
