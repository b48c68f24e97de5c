"""A traced graph has the generated tensors as inputs under their own names, and computes what torch does."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from slt_compress.data.preprocessing import as_pixels
from slt_compress.masking.parameters import embedding_names, gated_names
from slt_compress.onnx_export.trace import OPSETS, prepend_preprocessing, trace
from slt_compress.ticket.record import NetworkRecord
from tests.support.images import preprocessing_of
from tests.support.tickets import make_ticket
from tests.support.traces import traced_anew


@pytest.mark.parametrize(
    ("name", "size", "opset"),
    [
        *(("lenet-5", 28, 20), ("resnet10t", 32, 20), ("test_vit", 16, 20)),
        *(("lenet-5", 28, 25), ("test_vit", 16, 25)),
    ],
)
def test_generated_tensors_are_inputs(name: str, size: int, opset: int) -> None:
    ticket = make_ticket(name, 0.3, size=size)
    module = ticket.restore()
    preprocessing = preprocessing_of(ticket)
    traced = trace(module, NetworkRecord.of(ticket), opset)
    named = [*gated_names(module), *embedding_names(module)]
    assert [value.name for value in traced.graph.input] == ["images", *named]
    pixels = torch.randint(256, (3, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    weights = {key: module.get_parameter(key).detach().numpy() for key in named}
    found = []
    for feed in (preprocessing, as_pixels):
        if feed is as_pixels:
            prepend_preprocessing(traced, preprocessing)
        session = onnxruntime.InferenceSession(traced.SerializeToString())
        found.append(session.run(None, {"images": feed(pixels).numpy(), **weights})[0])
    with torch.no_grad():
        expected = module(preprocessing(pixels)).numpy()
    assert np.abs(found[0] - expected).max() < 1e-4 * max(1, np.abs(expected).max())
    assert np.array_equal(*found)
    onnx.checker.check_model(traced, full_check=True)


def test_a_graph_does_not_depend_on_generated_tensors() -> None:
    tickets = [make_ticket("test_vit", density, size=16, seed=seed) for seed, density in ((0, 0.3), (1, 0.7))]
    first, second = (traced_anew(one.restore(), NetworkRecord.of(one), 20) for one in tickets)
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


@pytest.mark.parametrize("opset", [OPSETS[0], 20, OPSETS[-1], 25])
def test_a_graph_has_the_opset_asked_for_and_no_notes_of_the_exporter(opset: int) -> None:
    ticket = make_ticket("conv2", 0.5, size=8)
    traced = trace(ticket.restore(), NetworkRecord.of(ticket), opset)
    assert [(entry.domain, entry.version) for entry in traced.opset_import if entry.version] == [("", opset)]
    assert not traced.graph.value_info
    assert not traced.graph.metadata_props
    assert not any(node.metadata_props or node.doc_string for node in traced.graph.node)
