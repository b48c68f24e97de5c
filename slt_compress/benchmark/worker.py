"""The process that measures one file: it makes a session, runs batches of random inputs, and reports what that took.

    python worker.py REQUEST

REQUEST is a JSON document: `path`, `threads`, `provider`, `runs`, `profile`, and `batches`, a list of (batch size,
[[name, dtype, shape], …]). Each report is a line of JSON on stdout:

    {"session": seconds, "base": bytes, "peak": bytes}
    {"batch": size, "seconds": [of each run], "peak": bytes}        one line for each batch size
    {"profile": file}                                               if asked for
    {"error": text, "type": name, "batch": size or null}            and then no more

`base` is the resident memory before the session is made, `peak` the largest since then; null where the system does not
tell. It imports nothing of the package, so that `base` is that of Python, numpy and onnxruntime.

The profile is one of onnxruntime's, of a run of the smallest batch. Its session is made after everything is measured.
It folds constants but fuses no operators and packs no weights: only then the profile has the shapes of all operands.
"""

import contextlib
import gc
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

WARM_UP = 2  # runs: the first allocates memory
LEAST, MOST, SECONDS = 3, 50, 1.0  # timed runs if none are asked for, and the time that they should take

Entries = Sequence[tuple[str, str, Sequence[int]]]  # (name, dtype, shape) of each input


def measure(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the reports."""
    batch = None
    try:
        _reset_peak()
        base = _peak()
        start = time.perf_counter()
        session = _session(request, onnxruntime.SessionOptions())
        yield {"session": time.perf_counter() - start, "base": base, "peak": _peak()}
        for batch, entries in request["batches"]:
            seconds = _timed(session, random_inputs(entries), request["runs"])
            yield {"batch": batch, "seconds": seconds, "peak": _peak()}
        if request["profile"]:
            batch, entries = request["batches"][0]
            yield {"profile": _profile(request, random_inputs(entries))}
    except Exception as error:  # onnxruntime's errors share no base class
        yield {"error": str(error), "type": type(error).__name__, "batch": batch}


def random_inputs(entries: Entries) -> dict[str, Any]:
    """Return an array for each input: normal numbers, all values of 8 bits, or 0 and 1 of wider whole numbers, which
    every table of embeddings has.
    """
    generator = np.random.default_rng(0)
    arrays = {}
    for name, dtype, shape in entries:
        kind = np.dtype(dtype)
        if kind.kind == "f":
            arrays[name] = generator.standard_normal(shape, np.float32).astype(kind, copy=False)
        elif kind in (np.uint8, np.int8):
            limits = np.iinfo(kind)
            arrays[name] = generator.integers(limits.min, limits.max, shape, kind, endpoint=True)
        else:
            arrays[name] = generator.integers(0, 2, shape, np.uint8).astype(kind)
    return arrays


def _session(request: dict[str, Any], options: onnxruntime.SessionOptions) -> Any:
    provider = request["provider"]
    options.log_severity_level = 4
    options.intra_op_num_threads = request["threads"]
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(request["path"], options, providers=[provider], enable_fallback=0)
    if provider not in session.get_providers():
        raise RuntimeError(f"it does not get {provider} to work on this machine")
    return session


def _timed(session: Any, inputs: dict[str, Any], runs: int | None) -> list[float]:
    for _ in range(WARM_UP):
        session.run(None, inputs)
    seconds: list[float] = []
    while len(seconds) < runs if runs else len(seconds) < LEAST or (len(seconds) < MOST and sum(seconds) < SECONDS):
        start = time.perf_counter()
        session.run(None, inputs)
        seconds.append(time.perf_counter() - start)
    return seconds


def _profile(request: dict[str, Any], inputs: dict[str, Any]) -> str:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.enable_profiling = True
    options.profile_file_prefix = request["profile"]
    session = _session(request, options)
    session.run(None, inputs)
    return str(session.end_profiling())


def _reset_peak() -> None:
    """Let the peak begin anew, with what is resident now; only Linux can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int | None:
    """Return the largest resident memory in bytes."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return 1024 * int(found[1]) if found else None
    try:
        import resource
    except ImportError:  # Windows
        return None
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else 1024 * largest


def _end_with_parent() -> None:
    """End this process when the other end of stdin is closed, however the one that started it has ended."""
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library may print is no report
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(OSError):  # if memory runs out, the system is to end this process, and no other
        Path("/proc/self/oom_score_adj").write_text("1000")
    gc.disable()
    for report in measure(json.loads(sys.argv[1])):
        reports.write(json.dumps(report) + "\n")
        reports.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
