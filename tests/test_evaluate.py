"""Measuring a classifier: known answers, and ONNX files that are not ours."""

from pathlib import Path

import onnx
import pytest
import torch

from slt_compress.errors import VerificationError
from slt_compress.evaluate import OnnxClassifier, evaluate
from slt_compress.pictures import Preprocessing, TensorSplit

PREPROCESSING = Preprocessing(1, 1, (0.0,), (1.0,))


def test_a_known_classifier_gets_its_known_score() -> None:
    """The value of the only pixel is the predicted class; 3 of 4 pictures are labelled so."""
    images = torch.tensor([0, 1, 2, 1], dtype=torch.uint8).view(4, 1, 1, 1)
    split = TensorSplit(images, torch.tensor([0, 1, 2, 2]))

    def classify(normalised: torch.Tensor) -> torch.Tensor:
        pixel = (normalised.view(-1) * 255).round().long()
        return torch.nn.functional.one_hot(pixel, 3) * 100.0

    done: list[tuple[int, int]] = []
    result = evaluate(classify, split, PREPROCESSING, lambda *counts: done.append(counts))
    assert result.accuracy == 0.75
    assert result.loss == pytest.approx(25, abs=1e-3)
    assert result.samples == 4
    assert result.predictions.tolist() == [0, 1, 2, 1]
    assert done == [(4, 4)]


def test_a_file_that_is_not_onnx_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(VerificationError, match=r"onnxruntime cannot load .*broken\.onnx"):
        OnnxClassifier(path)


def test_a_foreign_model_is_named(tmp_path: Path) -> None:
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", value[:1], value[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(VerificationError, match="was not exported by slt-compress"):
        OnnxClassifier(tmp_path / "foreign.onnx")
