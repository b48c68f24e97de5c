"""A check notices what is wrong with a graph."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from slt_compress.data.preprocessing import Preprocessing
from slt_compress.data.splits import TensorSplit
from slt_compress.errors import VerificationError
from slt_compress.onnx_export import parity
from tests.support.reporters import RecordingReporter

PREPROCESSING = Preprocessing(2, 1, (0.5,), (0.25,))
PROBES = parity.image_probes(PREPROCESSING)
REFERENCE = parity.TorchReference(nn.Flatten(), PREPROCESSING, PREPROCESSING, PROBES)


def flat_graph(factor: float, nodes: list[onnx.NodeProto] | None = None) -> bytes:
    """A graph that flattens images of 2 px and multiplies them."""
    ends = [
        helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 1, 2, 2]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 4]),
    ]
    constants = [numpy_helper.from_array(np.full(4, factor, np.float32), "factor")]
    body = [helper.make_node("Flatten", ["images"], ["flat"]), helper.make_node("Mul", ["flat", "factor"], ["logits"])]
    graph = helper.make_graph([*(nodes or []), *body], "g", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


def unfolded_graph() -> bytes:
    """The same graph with a factor that onnxruntime cannot fold, because it is random."""
    late = [
        helper.make_node("RandomUniform", [], ["noise"], shape=[4], low=0.0, high=0.0),
        helper.make_node("Abs", ["noise"], ["never"]),
    ]
    model = onnx.load_from_string(flat_graph(1.0, late))
    model.graph.node[-1].input[1] = "never"
    content: bytes = model.SerializeToString()
    return content


def test_probes_are_the_same_every_time_and_of_several_sizes() -> None:
    once, again = parity.image_probes(PREPROCESSING), parity.image_probes(PREPROCESSING)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert len({len(images) for images in once}) > 1
    assert once[0].dtype == torch.uint8


def test_a_graph_that_computes_the_same_passes() -> None:
    parity.check_file(flat_graph(1.0))
    found = parity.run_probes(flat_graph(1.0), REFERENCE)
    assert found.unfolded == []
    assert found.equals(parity.run_probes(flat_graph(1.0), REFERENCE))
    parity.check_same(found, found)
    assert parity.difference(found, REFERENCE, tolerance=1e-6) == 0


def test_a_malformed_graph_is_noticed() -> None:
    model = onnx.load_from_string(flat_graph(1.0))
    model.graph.node[-1].input[1] = "missing"
    with pytest.raises(onnx.checker.ValidationError, match="missing"):
        parity.check_file(model.SerializeToString())


def test_another_graph_is_noticed() -> None:
    found = parity.run_probes(flat_graph(1.01), REFERENCE)
    with pytest.raises(VerificationError, match=r"differs from torch by 0\.0.*nothing was written"):
        parity.difference(found, REFERENCE)
    assert 0 < parity.difference(found, REFERENCE, tolerance=np.inf) < 0.1


def test_logits_of_another_shape_are_noticed() -> None:
    reference = parity.TorchReference(nn.Identity(), PREPROCESSING, PREPROCESSING, PROBES)
    with pytest.raises(VerificationError, match=r"differs from torch by inf"):
        parity.difference(parity.run_probes(flat_graph(1.0), REFERENCE), reference)


def test_other_logits_than_those_of_the_plain_form_are_noticed() -> None:
    found, plain = (parity.run_probes(flat_graph(factor), REFERENCE) for factor in (np.nextafter(np.float32(1), 2), 1))
    with pytest.raises(VerificationError, match=r"computes other outputs.*nothing was written; use `weights=dense`"):
        parity.check_same(found, plain)


def test_constants_that_are_not_folded_are_noticed() -> None:
    found = parity.run_probes(unfolded_graph(), REFERENCE)
    assert set(found.unfolded) == {"RandomUniform", "Abs"}
    with pytest.raises(VerificationError, match=r"leaves Abs, RandomUniform unfolded.*use `weights=dense`"):
        parity.check_same(found, found)


def test_real_images_are_counted() -> None:
    images = torch.randint(256, (800, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = images.flatten(1).argmax(1)
    reporter = RecordingReporter()
    agreement = parity.compare(flat_graph(-1.0), REFERENCE, TensorSplit(images, labels), reporter.counter)
    assert agreement.samples == agreement.predictions == 800
    assert agreement.metric_name == "accuracy"
    assert agreement.metric_torch == 1
    assert agreement.metric_onnx == agreement.equal / 800 < 0.1
    assert reporter.counted == {
        "running the test split with torch": (800, 800),
        "running the test split with onnxruntime": (800, 800),
    }
