"""Exported graphs compute what torch does, for any batch size, or are not written."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from slt_compress import data
from slt_compress.errors import OutputError, UsageError, VerificationError
from slt_compress.evaluate import OnnxClassifier, evaluate, torch_classifier
from slt_compress.export import export_dense
from slt_compress.models import build, resolve
from slt_compress.network import FlatNetwork
from slt_compress.pictures import Preprocessing
from slt_compress.ticket import Ticket


def test_predictions_are_identical_on_every_test_picture(ticket: Ticket, tmp_path: Path) -> None:
    module = ticket.restore()
    exported = export_dense(
        module, (1, 8, 8), tmp_path / "t.onnx", {"note": "ä", "preprocessing": ticket.provenance.preprocessing}
    )
    assert exported.bytes == (tmp_path / "t.onnx").stat().st_size
    classifier = OnnxClassifier(tmp_path / "t.onnx")
    assert classifier.metadata["note"] == "ä"
    pictures = data.open_dataset("digits", None).read("test", 8)
    preprocessing = Preprocessing(**ticket.provenance.preprocessing)
    found = evaluate(classifier, pictures, preprocessing)
    expected = evaluate(torch_classifier(module, torch.device("cpu")), pictures, preprocessing)
    assert torch.equal(found.predictions, expected.predictions)


@pytest.mark.parametrize("opset", [18, 20, 23])
def test_names_opset_and_dynamic_batch(tmp_path: Path, opset: int) -> None:
    spec = resolve("conv2", classes=5, channels=3, input_size=8)
    flat = FlatNetwork(build(spec), 0, 0.5, torch.device("cpu"))
    export_dense(flat.module.requires_grad_(False), (3, 8, 8), tmp_path / "m.onnx", {}, opset)
    model = onnx.load(tmp_path / "m.onnx")
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [opset]
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    assert [value.name for value in (*session.get_inputs(), *session.get_outputs())] == ["images", "logits"]
    for batch in (1, 7):
        assert session.run(None, {"images": np.zeros((batch, 3, 8, 8), np.float32)})[0].shape == (batch, 5)


def test_an_unsupported_opset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--opset must be from 18 to 23, got 11"):
        export_dense(nn.Flatten(), (1, 2, 2), tmp_path / "m.onnx", {}, 11)


def test_a_missing_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        export_dense(nn.Flatten(), (1, 2, 2), tmp_path / "no" / "m.onnx", {})


def test_a_graph_that_disagrees_is_not_written(tmp_path: Path) -> None:
    class Fickle(nn.Module):
        """Another function each time it is called."""

        calls = 0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return images.flatten(1) * self.calls

    with pytest.raises(VerificationError, match="nothing was written"):
        export_dense(Fickle(), (1, 2, 2), tmp_path / "m.onnx", {})
    assert list(tmp_path.iterdir()) == []
