"""Processes that end otherwise than they should, each with one line that says so."""

from pathlib import Path
from typing import Any

import pytest

from slt_compress.benchmark import processes
from slt_compress.errors import LostProcessError, VerificationError

REQUEST: dict[str, Any] = {"batches": [(1, []), (32, [])]}
LOADED = 'print(\'{"session": 0.5, "base": 100, "peak": 130}\', flush=True)\n'
RAN = 'print(\'{"batch": 1, "seconds": [0.25], "peak": 90}\', flush=True)\n'


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a program in the place of the worker."""

    def run(program: str) -> processes.Sample:
        (tmp_path / "program.py").write_text("import os, signal, sys\n" + program)
        monkeypatch.setattr(processes, "_WORKER", tmp_path / "program.py")
        return processes.run_process(REQUEST, "a.onnx")

    return run


def test_reports_become_a_sample(run: Any) -> None:
    sample = run(LOADED + RAN + 'print(\'{"profile": "p.json"}\')\n')
    assert (sample.session_seconds, sample.base_bytes, sample.session_peak_bytes) == (0.5, 100, 30)
    assert (sample.run_seconds, sample.peak_bytes, sample.profile) == ({1: [0.25]}, {1: 0}, Path("p.json"))


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            "ran a.onnx was killed while it was loaded, most likely because memory",
        ),
        (LOADED + "os.kill(os.getpid(), signal.SIGKILL)", "was killed at batch 1,"),
        (LOADED + RAN + "os.kill(os.getpid(), signal.SIGKILL)", "was killed at batch 32,"),
        (LOADED + "os.kill(os.getpid(), signal.SIGSEGV)", "was ended at batch 1 by SIGSEGV"),
        ("raise ImportError('no onnxruntime')", "with exit code 1: ImportError: no onnxruntime"),
        ("sys.exit(7)", "with exit code 7: it says nothing"),
    ],
)
def test_a_lost_process_is_told_in_a_line(run: Any, program: str, words: str) -> None:
    with pytest.raises(LostProcessError) as failure:
        run(program)
    assert words in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("text", "kind", "batch", "error", "words"),
    [
        ("Unable to allocate", "MemoryError", 32, LostProcessError, "not enough memory for a.onnx at batch 32: give a"),
        ("arena: Failed to allocate memory for", "RuntimeException", None, LostProcessError, "memory for a.onnx"),
        ("[ONNX]\\n  bad", "Fail", None, VerificationError, "onnxruntime cannot load a.onnx: [ONNX] bad"),
        ("no" * 999, "Fail", 1, VerificationError, "onnxruntime cannot run a.onnx at batch 1: nono"),
    ],
)
def test_what_onnxruntime_refuses(
    run: Any, text: str, kind: str, batch: int | None, error: type[Exception], words: str
) -> None:
    number = "null" if batch is None else batch
    with pytest.raises(error) as failure:
        run(f'print(r\'{{"error": "{text}", "type": "{kind}", "batch": {number}}}\')')
    assert words in str(failure.value)
    assert len(str(failure.value)) < 400
