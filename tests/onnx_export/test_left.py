"""What is left of a network computes the same, and where little would go, nothing does."""

import pytest
import torch

from slt_compress.onnx_export.left import left_of, whole
from slt_compress.onnx_export.trace import generated_names
from tests.support.neuron_tickets import make_neuron_ticket
from tests.support.tickets import make_ticket


@pytest.mark.parametrize(("multiple", "channels"), [(1, 16), (24, 24)])
def test_dead_neurons_are_left_out(multiple: int, channels: int) -> None:
    ticket = make_neuron_ticket("conv2", 0.25, size=8)
    module = ticket.restore()
    left = left_of(module, ticket, multiple)
    name = generated_names(module)[0]
    assert left.generated == generated_names(module)
    assert left.module.get_parameter(name).shape[0] == channels == len(left.kept[name][0])
    assert left.parameters < left.whole_parameters == whole(module, ticket).parameters
    assert left.macs < left.whole_macs == whole(module, ticket).macs
    assert left.neurons
    assert left.removed_neurons
    inputs = torch.randn(3, 3, 8, 8)
    assert torch.allclose(left.module(inputs), module(inputs), atol=1e-5)


@pytest.mark.parametrize("density", [0.97, 1.0])
def test_where_little_would_go_all_is_left(density: float) -> None:
    ticket = make_neuron_ticket("lenet-300-100", density, size=8)
    module = ticket.restore()
    assert left_of(module, ticket) == whole(module, ticket)
    assert whole(module, ticket).removed_neurons is None


def test_a_network_that_cannot_be_traced_is_left_whole() -> None:
    ticket = make_ticket("lenet-300-100", 0.01, size=8)
    module = ticket.restore()
    assert left_of(module, ticket).removed_neurons
    module.forward = lambda x: x if x.sum() > 0 else -x
    assert left_of(module, ticket) == whole(module, ticket)
