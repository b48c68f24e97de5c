"""Eight-bit graphs: ternary weights become -64, 0 and 64 exactly, and BatchNorm goes into scales and biases."""

from collections.abc import Iterator

import numpy as np
import onnx.parser
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from slt_compress.masking.parameters import gated_names
from slt_compress.onnx_export import quantise
from slt_compress.onnx_export.forms import Source
from slt_compress.onnx_export.trace import trace
from slt_compress.onnx_export.weight_functions import INT8_MAGNITUDE
from slt_compress.ticket.record import NetworkRecord
from slt_compress.ticket.ticket import Ticket
from tests.support.images import preprocessing_of
from tests.support.tickets import make_ticket


def dense_graph(ticket: Ticket, module: torch.nn.Module) -> onnx.ModelProto:
    return Source(ticket, module, trace(module, NetworkRecord.of(ticket), 20), preprocessing_of(ticket)).dense


def batches(ticket: Ticket) -> Iterator[torch.Tensor]:
    expected = preprocessing_of(ticket)
    rng = np.random.default_rng(0)
    for _ in range(3):
        shape = (8, expected.channels, expected.size, expected.size)
        yield torch.from_numpy(rng.standard_normal(shape, np.float32))


@pytest.mark.parametrize(
    ("name", "size", "static", "left"),
    [
        ("lenet-300-100", 28, True, set()),
        ("lenet-5", 28, True, set()),
        ("resnet10t", 32, True, set()),
        ("test_vit", 16, False, {"patch_embed.proj.weight"}),
    ],
)
def test_ternary_weights_are_exact(name: str, size: int, static: bool, left: set[str]) -> None:
    ticket = make_ticket(name, 0.3, size=size)
    module = ticket.restore()
    dense = dense_graph(ticket, module)
    assert quantise.is_static(dense) == static
    found, places = quantise.quantised(dense, gated_names(module), batches(ticket))
    assert set(gated_names(module)) - set(places) == left
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in found.graph.initializer}
    for layer, (target, transposed) in places.items():
        weights = np.sign(module.get_parameter(layer).detach().numpy()).astype(np.int8) * np.int8(INT8_MAGNITUDE)
        assert np.array_equal(constants[target].T if transposed else constants[target], weights), layer
    assert "BatchNormalization" not in {node.op_type for node in found.graph.node}
    session = onnxruntime.InferenceSession(found.SerializeToString())
    images = next(batches(ticket))
    with torch.no_grad():
        expected = module(images).numpy()
    (logits,) = session.run(None, {"images": images.numpy()})
    assert np.abs(logits - expected).mean() < 0.05 * np.abs(expected).mean() + 0.02


@pytest.mark.parametrize("most", [127, 7])
def test_whole_numbers_times_scales_stay_what_they_are(most: int) -> None:
    """Also behind a BatchNorm of either sign, whose factor their scales take; and in rows of nothing."""
    draw = np.random.default_rng(0)
    numbers = {
        "filters": draw.integers(-most, most + 1, (6, 3, 3, 3)).astype(np.int8),
        "matrix": draw.integers(-most // 3, most // 3, (5, 216)).astype(np.int8),  # whose largest is not the largest
    }
    numbers["filters"][2] = 0
    scales = {name: draw.uniform(1e-3, 1, len(one)).astype(np.float32) for name, one in numbers.items()}
    scales["filters"][2] = 1e-20  # with which no bias fits into 32 bits
    norm = {
        "gamma": draw.standard_normal(6),
        "beta": draw.standard_normal(6),
        "mean": np.zeros(6),
        "variance": np.ones(6),
    }
    weights = {name: scales[name].reshape(-1, *[1] * (one.ndim - 1)) * one for name, one in numbers.items()}
    constants = {**weights, **{name: one.astype(np.float32) for name, one in norm.items()}}
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["" : 20]>
        network (float[N, 3, 8, 8] images) => (float[N, 5] logits) {
            filtered = Conv (images, filters)
            normal = BatchNormalization <epsilon = 0.0> (filtered, gamma, beta, mean, variance)
            flat = Flatten (normal)
            logits = Gemm <transB = 1> (flat, matrix)
        }""")
    model.graph.initializer.extend(numpy_helper.from_array(one, name) for name, one in constants.items())
    images = [torch.from_numpy(draw.standard_normal((8, 3, 8, 8), np.float32)) for _ in range(2)]
    quantised, places = quantise.quantised(model, numbers, images, scales)
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer}
    signs = np.sign(norm["gamma"]).astype(np.int8).reshape(-1, 1, 1, 1)
    assert np.array_equal(found[places["filters"][0]], numbers["filters"] * signs)
    assert np.array_equal(found[places["matrix"][0]], numbers["matrix"])
    assert np.array_equal(found["matrix_scale"], scales["matrix"])
    usual = np.arange(6) != 2
    assert np.array_equal(found["filters_scale"][usual], (scales["filters"] * abs(constants["gamma"]))[usual])
    expected, computed = (
        onnxruntime.InferenceSession(one.SerializeToString()).run(None, {"images": images[0].numpy()})[0]
        for one in (model, quantised)
    )
    assert np.abs(computed - expected).mean() < 0.08 * np.abs(expected).mean()  # of activations


def test_a_dead_channel_stays_dead() -> None:
    ticket = make_ticket("lenet-5", 0.3, size=28)
    module = ticket.restore()
    with torch.no_grad():
        module.get_parameter("0.weight")[2] = 0
    found, places = quantise.quantised(dense_graph(ticket, module), gated_names(module), batches(ticket))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in found.graph.initializer}
    assert not constants[places["0.weight"][0]][2].any()
    assert all(np.isfinite(values).all() for values in constants.values() if values.dtype == np.float32)
