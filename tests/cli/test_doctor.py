"""`doctor`: the report as text and as JSON, and its exit code."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from slt_compress.diagnosis import diagnose
from slt_compress.diagnosis.report import Diagnosis, Finding
from tests.support.commands import document
from tests.support.process import Run

SYSTEM = {
    "platform": "Linux",
    "gpus": [{"name": "Card", "memory_bytes": 8 * 10**9, "bf16": True}],
    "mps": False,
    "free_disk_bytes": 2 * 10**9,
    "memory_bytes": None,
    "hub_cache": "unknown (OSError: [bold]x)",
}
GOOD = Finding("export c", "ok", "9 bytes", required=False, seconds=1.25)
BAD = Finding("torch", "failed", "RuntimeError: libx.so")
ABSENT = Finding("datasets", "missing", "pip install datasets", required=False)


def given(monkeypatch: pytest.MonkeyPatch, *packages: Finding) -> Diagnosis:
    found = Diagnosis(SYSTEM, packages, (GOOD,))
    monkeypatch.setattr(diagnose, "doctor", lambda _: found)
    return found


def test_a_report(invoke: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = given(monkeypatch, ABSENT)
    done = invoke("doctor")
    assert done.returncode == 0
    assert [" ".join(line.split()) for line in done.stdout.splitlines()] == [
        "platform Linux",
        "gpus Card, 8 GB, bf16 yes",
        "mps no",
        "free disk 2 GB",
        "memory –",
        "hub cache unknown (OSError: [bold]x)",
        "datasets missing: pip install datasets",
        "export c ok: 9 bytes, 1.2 s",
    ]
    assert document(invoke("doctor", "--json")) == json.loads(json.dumps(found.to_json()))


def test_what_is_required_and_does_not_work_decides(invoke: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, BAD, ABSENT)
    done = invoke("doctor")
    assert done.returncode == 1
    assert "torch" in done.stdout
    assert "FAILED: RuntimeError: libx.so" in done.stdout
    assert done.stderr == "error: 1 of what is required does not work: torch\n"
    answer: dict[str, Any] = document(invoke("doctor", "--json"), 1)
    assert (answer["ok"], answer["exit_code"], answer["system"]) == (False, 1, SYSTEM)
    given(monkeypatch, BAD, BAD)
    assert "2 of what is required do not work: torch, torch" in invoke("doctor").stderr


def test_a_broken_torch_is_a_report_and_no_traceback(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libtorch.so: cannot open shared object file')")
    done = cli("doctor", "--json", PYTHONPATH=":".join([str(tmp_path), *sys.path]))
    answer = document(done, 1)
    found = {one["name"]: one for one in answer["packages"] + answer["features"]}
    assert found["torch"]["detail"] == "OSError: libtorch.so: cannot open shared object file"
    assert found["numpy"]["status"] == "ok"
    assert found["search"]["status"] == "failed"
    assert "Traceback" not in done.stderr
