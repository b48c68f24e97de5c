"""The process that measures: what it reports, what it makes up as inputs, and that it outlives nobody."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from slt_compress.benchmark import worker
from tests.support.graphs import save_graph, save_linear


def request(path: Path, **changed: Any) -> dict[str, Any]:
    return {
        "path": str(path),
        "threads": 1,
        "provider": "CPUExecutionProvider",
        "runs": 4,
        "profile": None,
        "batches": [(1, [("x", "float32", (1, 4))]), (8, [("x", "float32", (8, 4))])],
        **changed,
    }


def test_it_reports_a_session_and_each_batch(tmp_path: Path) -> None:
    session, *batches = worker.measure(request(save_linear(tmp_path / "a.onnx")))
    assert set(session) == {"session", "base", "peak"}
    assert session["session"] > 0
    assert [(one["batch"], len(one["seconds"])) for one in batches] == [(1, 4), (8, 4)]
    assert all(second > 0 for one in batches for second in one["seconds"])
    if sys.platform == "linux":
        assert 10**6 < session["base"] <= session["peak"] <= batches[0]["peak"] <= batches[1]["peak"]


def test_without_a_number_runs_fill_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_linear(tmp_path / "a.onnx")
    for seconds, expected in ((0.0, worker.LEAST), (1e9, worker.MOST)):
        monkeypatch.setattr(worker, "SECONDS", seconds)
        reports = list(worker.measure(request(path, runs=None)))
        assert len(reports[1]["seconds"]) == expected


def test_inputs_are_of_their_types() -> None:
    kinds = ("float16", "float32", "float64", "bool", "int8", "uint8", "int16", "uint32", "int64", "uint64")
    found = worker.random_inputs([(kind, kind, (50, 40)) for kind in kinds] + [("scalar", "float32", ())])
    assert {name: (str(array.dtype), array.shape) for name, array in found.items()} == {
        **{kind: (kind, (50, 40)) for kind in kinds},
        "scalar": ("float32", ()),
    }
    assert {int(found[kind].max()) - int(found[kind].min()) for kind in ("int8", "uint8")} == {255}
    assert {tuple(np.unique(found[kind])) for kind in ("bool", "int16", "uint32", "int64")} == {(0, 1)}
    assert 0.9 < found["float16"].std() < 1.1


def test_a_failure_is_a_report(tmp_path: Path) -> None:
    unknown = save_graph(
        tmp_path / "b.onnx", {"x": (TensorProto.FLOAT, ["N", 4])}, [helper.make_node("None", ["x"], ["y"])]
    )
    (report,) = worker.measure(request(unknown))
    assert (report["batch"], "None" in report["error"]) == (None, True)
    path = save_linear(tmp_path / "a.onnx")
    *_, report = worker.measure(request(path, batches=[(3, [("x", "float32", (3, 5))])]))
    assert report["batch"] == 3
    *_, report = worker.measure(request(path, batches=[(3, [("x", "float32", (10**12, 10**6))])]))
    assert (report["batch"], report["type"]) == (3, "MemoryError")
    (report,) = worker.measure(request(path, provider="AbsentExecutionProvider"))
    assert "AbsentExecutionProvider" in report["error"]


def test_it_ends_with_whoever_started_it(tmp_path: Path) -> None:
    endless = request(save_linear(tmp_path / "a.onnx"), runs=10**9)
    process = subprocess.Popen(
        [sys.executable, "-P", worker.__file__, json.dumps(endless)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout
        assert process.stdin
        assert "session" in json.loads(process.stdout.readline())
        process.stdin.close()
        assert process.wait(timeout=60) == 1
