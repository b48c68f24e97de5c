"""`bench`: a table for people, a document for programs, and refusals in a line."""

import json
import re
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from tests.support.commands import Searched, document, refused
from tests.support.graphs import save_graph, save_linear
from tests.support.process import Run

QUICK = ("--rounds", 1, "--runs", 2)


def test_a_ticket_is_measured_beside_its_dense_export(searched: Searched, invoke: Run) -> None:
    found = document(invoke("bench", searched[0], "--batch", "4", *QUICK, "--json"))
    assert {"machine", "versions", "threads", "provider", "rounds", "runs", "batch", "rows"} <= set(found)
    compact, dense = found["rows"]
    assert (compact["measured"], dense["measured"]) == ("compact export", "dense export")
    assert compact["compared_with"] == dense["compared_with"] == f"{searched[0]} (dense export)"
    assert compact["bytes"] < dense["bytes"]
    assert compact["macs"] == dense["macs"] == 64 * 300 + 300 * 100 + 100 * 10
    assert compact["ratio"]["bytes"] == compact["bytes"] / dense["bytes"]
    assert set(dense["ratio"].values()) == {1.0}


def test_a_person_gets_a_table(invoke: Run, tmp_path: Path) -> None:
    save_linear(tmp_path / "a.onnx")
    save_linear(tmp_path / "fixed.onnx", 8)
    done = invoke("bench", "a.onnx", "fixed.onnx", "--batch", "1", *QUICK)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["file", "batch", "latency"]
    assert [line.split()[:2] for line in lines[1:4]] == [["a.onnx", "1"], ["a.onnx", "8"], ["fixed.onnx", "8"]]
    assert re.search(r"a.onnx +8 +[\d.]+ ms +1.00× .* 20 +1.00×$", lines[2])
    assert "ratios    of fixed.onnx to a.onnx" in done.stdout
    assert "note      fixed.onnx takes batches of 8 alone" in done.stdout
    assert "next:" not in done.stdout
    assert done.stderr == "measuring, files: 2, rounds: 1\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("missing.onnx",), 2, "missing.onnx does not exist"),
        ((".",), 2, ". is a folder"),
        (("bad.onnx",), 3, "bad.onnx is no ONNX model"),
        (("bad",), 3, "bad"),
        (("a.onnx", "--batch", "1,x"), 2, "--batch takes whole numbers, such as 1,32, got '1,x'"),
        (("a.onnx", "--batch", "99999999"), 2, "--batch takes whole numbers from 1 to 65,536"),
        (("a.onnx", "--threads", 0), 2, "--threads must be a whole number from 1 to 256, got 0"),
        (("a.onnx", "--provider", "GPU"), 2, "--provider must be one that onnxruntime lists here"),
        (("a.onnx", "--source", "net.py:build"), 2, "--source has no meaning"),
        (("ids.onnx",), 2, "ids.onnx takes x of shape (N, sequence): give the length of sequence with --dim"),
        (("ids.onnx", "--dim", "sequence"), 2, "--dim takes NAME=LENGTH, such as sequence=128, got 'sequence'"),
        (("ids.onnx", "--dim", "n=1", "--dim", "n=2"), 2, "--dim has n twice: 1 and 2"),
        (("text.onnx",), 2, "text.onnx takes x as STRING"),
    ],
)
def test_bad_requests(invoke: Run, tmp_path: Path, arguments: tuple[object, ...], code: int, words: str) -> None:
    (tmp_path / "work").mkdir()
    for name in ("bad", "bad.onnx"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "net.py").write_text("build = object\n")
    save_linear(tmp_path / "a.onnx")
    same = [helper.make_node("Identity", ["x"], ["y"])]
    save_graph(tmp_path / "ids.onnx", {"x": (TensorProto.INT64, ["N", "sequence"])}, same)
    save_graph(tmp_path / "text.onnx", {"x": (TensorProto.STRING, ["N"])}, same)
    refused(invoke("bench", *arguments, "--json"), code, words, tmp_path / "work")


def test_open_dimensions_can_be_given(invoke: Run, tmp_path: Path) -> None:
    save_graph(
        tmp_path / "ids.onnx",
        {"x": (TensorProto.INT64, ["N", "sequence"])},
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)],
    )
    done = invoke("bench", "ids.onnx", "--dim", "sequence=7", "--batch", "2", *QUICK, "--json")
    assert json.loads(done.stdout)["rows"][0]["macs"] == 0
