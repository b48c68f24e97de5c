"""A traced graph keeps its seeded tensors as inputs under their own names, and computes what torch does."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from slt_compress.network import embedding_names, gated_names
from slt_compress.pictures import Preprocessing, as_pixels
from slt_compress.trace import prepend_preprocessing, trace
from tests.conftest import make_ticket


@pytest.mark.parametrize(("name", "size"), [("lenet-5", 28), ("resnet10t", 32), ("vit_tiny_patch16_224", 32)])
def test_seeded_tensors_are_inputs(name: str, size: int) -> None:
    ticket = make_ticket(name, 0.3, size=size)
    module = ticket.restore()
    preprocessing = Preprocessing(**ticket.provenance.preprocessing)
    traced = trace(module, preprocessing, 20)
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
