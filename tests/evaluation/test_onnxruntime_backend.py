"""Exported networks under onnxruntime: what they record, what they compute, and ONNX files that are not ours."""

import json
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from slt_compress.errors import VerificationError
from slt_compress.evaluation.onnxruntime_backend import METADATA_KEY, OnnxClassifier, open_session
from slt_compress.ticket.record import NORMALISED, PIXELS, NetworkRecord
from tests.support.documents import small_ticket


def doubling(path: Path, metadata: str | None, kind: int = TensorProto.FLOAT) -> None:
    """Write a model that adds its input to itself."""
    values = [helper.make_tensor_value_info(name, kind, ["n", None, None, None]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    if metadata is not None:
        model.metadata_props.add(key=METADATA_KEY, value=metadata)
    onnx.save(model, path)


@pytest.mark.parametrize(("input_kind", "kind"), [(NORMALISED, TensorProto.FLOAT), (PIXELS, TensorProto.UINT8)])
def test_a_file_is_fed_what_its_record_says(tmp_path: Path, input_kind: str, kind: int) -> None:
    record = NetworkRecord.of(small_ticket(), input_kind)
    doubling(tmp_path / "t.onnx", json.dumps(record.to_json()), kind)
    classifier = OnnxClassifier(tmp_path / "t.onnx")
    assert classifier.record == record
    images = torch.arange(24, dtype=torch.uint8).view(2, 1, 3, 4)
    fed = classifier.feed(images)
    expected = images.permute(0, 2, 3, 1) if input_kind == PIXELS else (images.float() / 255 - 0.5) / 0.5
    assert torch.equal(fed, expected)
    assert torch.equal(classifier(fed), 2 * expected)


def test_a_session_has_as_many_threads_as_torch(tmp_path: Path) -> None:
    doubling(tmp_path / "t.onnx", None)
    for model in (str(tmp_path / "t.onnx"), (tmp_path / "t.onnx").read_bytes()):
        session = open_session(model)
        assert session.get_session_options().intra_op_num_threads == torch.get_num_threads()
        assert session.get_providers() == ["CPUExecutionProvider"]


def test_a_file_that_is_not_onnx_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(VerificationError, match=r"onnxruntime cannot load .*broken\.onnx"):
        OnnxClassifier(path)


@pytest.mark.parametrize("metadata", [None, "no JSON", "[]", "{}", '{"dataset": "digits"}', '{"preprocessing": {}}'])
def test_a_foreign_model_is_named(tmp_path: Path, metadata: str | None) -> None:
    doubling(tmp_path / "foreign.onnx", metadata)
    with pytest.raises(VerificationError, match=r"foreign\.onnx was not exported by slt-compress"):
        OnnxClassifier(tmp_path / "foreign.onnx")
