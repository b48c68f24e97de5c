"""A fresh process for each file and round: it is started, its reports are read, and it ends, whatever happens.

The process also ends by itself when this one is gone, see `worker`.
"""

import json
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slt_compress.errors import LostProcessError, SltError, VerificationError

_WORKER = Path(__file__).with_name("worker.py")
_NO_MEMORY = ("Failed to allocate memory", "bad_alloc", "bad allocation")  # how onnxruntime says so
_LONGEST = 300  # characters of what onnxruntime says


@dataclass
class Sample:
    """What one process has reported.

    Attributes:
        session_seconds: time to make the session.
        base_bytes: resident memory before that, None where the system does not tell.
        session_peak_bytes: largest resident memory until the session was made, above `base_bytes`.
        run_seconds: times of the runs by batch size.
        peak_bytes: largest resident memory until the runs of a batch size were done, above `base_bytes`.
        profile: onnxruntime's profile of a run of the smallest batch, if it was asked for.
    """

    session_seconds: float = 0.0
    base_bytes: int | None = None
    session_peak_bytes: int | None = None
    run_seconds: dict[int, list[float]] = field(default_factory=dict)
    peak_bytes: dict[int, int | None] = field(default_factory=dict)
    profile: Path | None = None


def run_process(request: dict[str, Any], label: str) -> Sample:
    """Measure a file in a process of its own; `request` as in `worker`, `label` is its name in messages.

    Raises VerificationError if onnxruntime refuses the file, LostProcessError if the process was ended.
    """
    sample = Sample()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER), json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        with process:
            try:
                assert process.stdout
                for line in process.stdout:
                    _note(sample, json.loads(line), label)
                code = process.wait()
            finally:
                process.kill()
                process.wait()
        if code:
            errors.seek(0)
            raise _ended(code, errors.read().decode(errors="replace"), label, _working_on(sample, request))
    return sample


def _note(sample: Sample, report: dict[str, Any], label: str) -> None:
    """Add a report to a sample. Raises the error that it may be."""
    if "error" in report:
        raise _refused(report, label)
    if "session" in report:
        sample.session_seconds, sample.base_bytes = report["session"], report["base"]
        sample.session_peak_bytes = _above(report["peak"], sample.base_bytes)
    elif "batch" in report:
        sample.run_seconds[report["batch"]] = report["seconds"]
        sample.peak_bytes[report["batch"]] = _above(report["peak"], sample.base_bytes)
    else:
        sample.profile = Path(report["profile"])


def _above(peak: int | None, base: int | None) -> int | None:
    return None if peak is None or base is None else max(0, peak - base)


def _refused(report: dict[str, Any], label: str) -> SltError:
    text, batch = " ".join(report["error"].split()), report["batch"]
    at = f" at batch {batch}" if batch else ""
    if report["type"] == "MemoryError" or any(words in text for words in _NO_MEMORY):
        return LostProcessError(
            f"there is not enough memory for {label}{at}" + (": give a smaller `batch`" if at else "")
        )
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
    return VerificationError(f"onnxruntime cannot {'run' if batch else 'load'} {label}{at}: {shown}")


def _working_on(sample: Sample, request: dict[str, Any]) -> str:
    """Return what a process was at when it ended."""
    if not sample.session_seconds:
        return "while it was loaded"
    left = [batch for batch, _ in request["batches"] if batch not in sample.run_seconds]
    return f"at batch {left[0]}" if left else "while its operations were counted"


def _ended(code: int, errors: str, label: str, when: str) -> SltError:
    if code == -getattr(signal, "SIGKILL", 0):
        return LostProcessError(
            f"the process that ran {label} was killed {when}, most likely because memory ran out: give a smaller "
            "`batch`"
        )
    if code < 0:
        return LostProcessError(f"the process that ran {label} was ended {when} by {signal.Signals(-code).name}")
    lines = errors.strip().splitlines() or ["it says nothing"]
    return LostProcessError(f"the process that ran {label} failed {when} with exit code {code}: {lines[-1]}")
