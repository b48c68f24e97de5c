"""What is read of an ONNX file, and the dense graph that its folding makes."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from slt_compress.benchmark.graph import input_bytes, read_graph, write_dense
from slt_compress.errors import UsageError, VerificationError
from slt_compress.ticket.ticket import Ticket
from tests.support.graphs import save_graph, save_linear


def test_an_exported_file_is_known(exports: Path) -> None:
    digest = Ticket.load(exports / "t.safetensors").digest
    for form in ("compact", "dense", "int8"):
        graph = read_graph(exports / f"{form}.onnx", form)
        assert graph.bytes == (exports / f"{form}.onnx").stat().st_size
        assert graph.ticket == digest
        assert graph.quantised == (form == "int8")
        assert graph.fixed_batch is None
        assert graph.entries("f", 3, {}) == [("images", "float32", (3, 1, 8, 8))]


@pytest.mark.parametrize("recorded", ["no JSON", "[]", '{"ticket": 5}', "[" * 100_000])
def test_what_others_have_recorded_is_no_ticket(tmp_path: Path, recorded: str) -> None:
    assert read_graph(save_linear(tmp_path / "a.onnx", slt_compress=recorded), "a").ticket is None


def test_folding_gives_the_dense_graph(exports: Path, tmp_path: Path) -> None:
    write_dense(exports / "compact.onnx", tmp_path / "folded.onnx")
    dense, folded = exports / "dense.onnx", tmp_path / "folded.onnx"
    assert read_graph(folded, "").bytes == pytest.approx(dense.stat().st_size, rel=0.02)
    images = np.random.default_rng(0).standard_normal((2, 1, 8, 8), np.float32)
    one, other = (onnxruntime.InferenceSession(path).run(None, {"images": images})[0] for path in (dense, folded))
    assert np.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_weights_beside_the_file_count(tmp_path: Path) -> None:
    model = onnx.load(save_linear(tmp_path / "a.onnx"))
    onnx.save_model(model, tmp_path / "b.onnx", save_as_external_data=True, location="b.bin", size_threshold=0)
    sizes = [(tmp_path / name).stat().st_size for name in ("b.onnx", "b.bin")]
    assert sizes[1] >= 80
    assert read_graph(tmp_path / "b.onnx", "b").bytes == sum(sizes)


def test_the_batch_is_the_first_open_dimension(tmp_path: Path) -> None:
    inputs: dict[str, tuple[int, list[int | str | None]]] = {
        "ids": (TensorProto.INT64, ["N", "length"]),
        "mask": (TensorProto.BOOL, [None, 3, "N"]),
        "scalar": (TensorProto.FLOAT16, []),
    }
    graph = read_graph(save_graph(tmp_path / "a.onnx", inputs, [helper.make_node("Cast", ["mask"], ["y"], to=1)]), "a")
    entries = graph.entries("a", 2, {"length": 7})
    assert entries == [("ids", "int64", (2, 7)), ("mask", "bool", (2, 3, 2)), ("scalar", "float16", ())]
    assert input_bytes(entries) == 8 * 14 + 12 + 2
    with pytest.raises(UsageError, match=r"a takes ids of shape \(N, length\): give the length of length with `dims`"):
        graph.entries("a", 2, {})
    with pytest.raises(UsageError, match="`dims` sets N, which is the batch of a; use `batch`"):
        read_graph(save_linear(tmp_path / "b.onnx"), "a").entries("a", 2, {"N": 7})


def test_a_length_without_a_name_cannot_be_given(tmp_path: Path) -> None:
    path = save_graph(
        tmp_path / "a.onnx", {"x": (TensorProto.FLOAT, [None, 3, None])}, [helper.make_node("Relu", ["x"], ["y"])]
    )
    with pytest.raises(UsageError, match=r"a takes x of shape \(2, 3, \?\): export it with a fixed length"):
        read_graph(path, "a").entries("a", 2, {})


def test_a_batch_may_be_fixed(tmp_path: Path) -> None:
    assert read_graph(save_linear(tmp_path / "a.onnx", 8), "a").fixed_batch == 8
    assert read_graph(save_linear(tmp_path / "a.onnx", "N"), "a").fixed_batch is None
    assert read_graph(save_linear(tmp_path / "a.onnx", None), "a").fixed_batch is None


def test_what_is_no_model_is_refused(tmp_path: Path, exports: Path) -> None:
    whole = (exports / "dense.onnx").read_bytes()
    for content in (b"", b"x", b"PK\x03\x04" * 100, whole[: len(whole) // 2]):
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(VerificationError, match="bad is no ONNX model"):
            read_graph(tmp_path / "bad.onnx", "bad")
    with pytest.raises(VerificationError, match="cannot read bad: No such file"):
        read_graph(tmp_path / "missing.onnx", "bad")


@pytest.mark.parametrize(
    ("kind", "shape", "words"),
    [
        (TensorProto.STRING, ["N"], "takes x as STRING"),
        (TensorProto.BFLOAT16, ["N"], "takes x as BFLOAT16"),
        (TensorProto.FLOAT, ["N", 0], "which has no values"),
    ],
)
def test_other_inputs_are_refused(tmp_path: Path, kind: int, shape: list[str | int], words: str) -> None:
    path = save_graph(tmp_path / "a.onnx", {"x": (kind, shape)}, [helper.make_node("Identity", ["x"], ["y"])])
    with pytest.raises(UsageError, match=words):
        read_graph(path, "a")


def test_a_file_that_cannot_be_folded_is_refused(tmp_path: Path) -> None:
    path = save_graph(tmp_path / "a.onnx", {"x": (TensorProto.FLOAT, ["N"])}, [helper.make_node("None", ["x"], ["y"])])
    with pytest.raises(VerificationError, match="onnxruntime cannot load"):
        write_dense(path, tmp_path / "b.onnx")
