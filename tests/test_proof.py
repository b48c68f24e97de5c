"""A proof notices what is wrong with a graph."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from slt_compress import proof
from slt_compress.errors import VerificationError
from slt_compress.pictures import Preprocessing, TensorSplit

PREPROCESSING = Preprocessing(2, 1, (0.5,), (0.25,))


def flat_graph(factor: float, nodes: list[onnx.NodeProto] | None = None) -> bytes:
    """A graph that flattens pictures of 2 px and multiplies them."""
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


def test_probes_are_the_same_every_time_and_of_several_sizes() -> None:
    once, again = proof.probes(PREPROCESSING), proof.probes(PREPROCESSING)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert len({len(images) for images in once}) > 1
    assert once[0].dtype == torch.uint8


def test_a_graph_that_computes_the_same_passes() -> None:
    found = proof.run(flat_graph(1.0), PREPROCESSING, PREPROCESSING)
    assert found.unfolded == []
    assert proof.difference(found.logits, nn.Flatten(), PREPROCESSING, tolerance=1e-6) == 0


def test_another_graph_is_noticed() -> None:
    found = proof.run(flat_graph(1.01), PREPROCESSING, PREPROCESSING)
    with pytest.raises(VerificationError, match=r"differs from torch by 0\.0.*nothing was written"):
        proof.difference(found.logits, nn.Flatten(), PREPROCESSING, tolerance=1e-3)
    assert 0 < proof.difference(found.logits, nn.Flatten(), PREPROCESSING, tolerance=np.inf) < 0.1


def test_constants_that_are_not_folded_are_noticed() -> None:
    """Random values are never folded."""
    late = [
        helper.make_node("RandomUniform", [], ["noise"], shape=[4], low=0.0, high=0.0),
        helper.make_node("Abs", ["noise"], ["never"]),
    ]
    body = flat_graph(1.0, late)
    model = onnx.load_from_string(body)
    model.graph.node[-1].input[1] = "never"
    assert set(proof.run(model.SerializeToString(), PREPROCESSING, PREPROCESSING).unfolded) == {"RandomUniform", "Abs"}


def test_pictures_are_counted() -> None:
    images = torch.randint(256, (300, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = images.flatten(1).argmax(1)
    seen: list[tuple[int, int]] = []
    agreement = proof.compare(
        flat_graph(-1.0),
        nn.Flatten(),
        TensorSplit(images, labels),
        PREPROCESSING,
        PREPROCESSING,
        lambda done, total: seen.append((done, total)),
    )
    assert agreement.pictures == 300
    assert agreement.accuracy_torch == 1
    assert agreement.accuracy_onnx == agreement.equal / 300 < 0.1
    assert seen == [(100, 300), (200, 300), (300, 300)]
