"""From a traced graph to steps: what is folded, what becomes one step, and what is refused by name."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from slt_compress.c_export.graph import read
from slt_compress.c_export.network import Affine, Layer, Network, Place, Pool, Sum
from slt_compress.errors import UnreachableError
from slt_compress.onnx_export.trace import trace
from slt_compress.ticket.record import NetworkRecord
from tests.support.c_code import Everything, ticket_of
from tests.support.tickets import make_ticket


def traced(module: nn.Module, shape: tuple[int, ...]) -> tuple[onnx.ModelProto, dict[str, float]]:
    ticket = ticket_of(module, shape)
    graph = trace(ticket.apply_to(module), NetworkRecord.of(ticket), 20)
    return graph, {layer.name: layer.scale for layer in ticket.layers}


def steps_of(name: str) -> Network:
    ticket = make_ticket(name, 0.1)
    graph = trace(ticket.restore(), NetworkRecord.of(ticket), 20)
    return read(graph, {layer.name: layer.scale for layer in ticket.layers})


def test_a_chain_of_layers_is_one_step_for_each() -> None:
    found = steps_of("lenet-5")
    assert [type(step) for step in found.steps] == [Layer] * 5
    first = found.layers[0]
    assert first.pooling is not None
    assert first.pooling.kind == "max"
    assert first.activation.low == 0.0
    assert first.result == (6, 16, 16)
    assert (found.shape, found.outputs) == ((3, 32, 32), 10)
    assert found.layers[2].linear


def test_a_batchnorm_behind_a_layer_is_in_its_factor_and_offset() -> None:
    ticket = make_ticket("lenet-300-100", 0.1, size=8, channels=1)
    module = ticket.restore()
    graph = trace(module, NetworkRecord.of(ticket), 20)
    first = read(graph, {layer.name: layer.scale for layer in ticket.layers}).layers[0]
    mean, variance = ticket.statistics["2.running_mean"], ticket.statistics["2.running_var"]
    factor = 1 / np.sqrt(variance + 1e-5)
    assert np.allclose(first.factor, ticket.layers[0].scale * factor, rtol=1e-6)
    assert np.allclose(first.offset, -mean * factor, rtol=1e-6)


def test_residual_networks_sum_within_their_layers() -> None:
    found = steps_of("resnet20")
    assert sum(isinstance(step, Layer) for step in found.steps) == 20
    assert not any(isinstance(step, Sum | Affine | Pool) for step in found.steps)
    places = [step for step in found.steps if isinstance(step, Place)]
    assert [step.every for step in places] == [(1, 2, 2), (1, 2, 2)]
    assert found.layers[-2].pooling is not None


def test_a_batchnorm_ahead_of_a_layer_is_a_step_of_its_own() -> None:
    found = steps_of("wide_resnet16_4")
    affine = [step for step in found.steps if isinstance(step, Affine)]
    assert len(affine) == 6
    assert all(step.activation.low == 0.0 for step in affine)


class Uses(nn.Module):
    """A layer, and one operator of choice behind it."""

    def __init__(self, operator: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.operator = operator

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.operator(self.layer(x))
        return y


@pytest.mark.parametrize(
    ("operator", "words"),
    [
        (torch.sigmoid, "C code has no Sigmoid"),
        (lambda x: x * 2, "has no Mul"),
        (lambda x: x + 1, "has no Add of a constant"),
        (lambda x: x.mean(1, keepdim=True), "has no ReduceMean but over the planes of an image"),
        (lambda x: torch.cat([x, x], 1), "has no Concat"),
    ],
)
def test_an_operator_without_a_form_is_named(operator: Any, words: str) -> None:
    graph, scales = traced(Uses(operator), (6,))
    with pytest.raises(UnreachableError, match=words):
        read(graph, scales)


def test_several_outputs_and_foreign_weights_are_refused() -> None:
    graph, scales = traced(nn.Linear(6, 3), (6,))
    with pytest.raises(UnreachableError, match="without gated weights from the seed"):
        read(graph, {})
    graph.graph.output.append(graph.graph.output[0])
    with pytest.raises(UnreachableError, match="networks with one output, this one has 2"):
        read(graph, scales)


def test_networks_of_attention_are_refused() -> None:
    ticket = make_ticket("test_vit", 0.1, size=16)
    graph = trace(ticket.restore(), NetworkRecord.of(ticket), 20)
    with pytest.raises(UnreachableError, match="use `format=onnx`"):
        read(graph, {layer.name: layer.scale for layer in ticket.layers})


def test_every_kind_of_layer_is_read() -> None:
    graph, scales = traced(Everything(), Everything.shape)
    found = read(graph, scales)
    assert [layer.groups for layer in found.layers] == [1, 8, 4, 1, 1, 1, 1]
    assert {layer.activation.slope for layer in found.layers} >= {1.0, np.float32(0.1), 0.25}
