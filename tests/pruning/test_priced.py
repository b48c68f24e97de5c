"""The price of gates in continuous sparsification: its gradient, and that it can be taken up again."""

import torch

from slt_compress.methods.base import Target
from slt_compress.pruning.priced import PricedContinuousSparsification, PricedSettings
from tests.support.pruned import generator, lenet_job, trained_network


def test_the_gradient_is_that_of_the_equation() -> None:
    network = trained_network(lenet_job())
    method = PricedContinuousSparsification(network, Target(0.5, 10, 0, generator()), PricedSettings(price=0.2))
    gate = method.gate(0).clone()
    network.set_gate(gate)
    network.grad.copy_(torch.randn(len(gate), generator=generator()) * network.searchable)
    of_gates = (network.grad * network.weights).clone()
    method.backward(0)
    size = of_gates.square().sum().div(network.size).sqrt()
    expected = (of_gates + 0.2 * size) * gate * (1 - gate) * 5.0  # the slope at step 0
    assert torch.allclose(network.grad, expected, atol=1e-9)


def test_it_can_be_taken_up_again() -> None:
    network = trained_network(lenet_job())
    target = Target(0.5, 10, 0, generator())
    method, other = (PricedContinuousSparsification(network, target, PricedSettings()) for _ in range(2))
    network.set_gate(method.gate(0).clone())
    network.grad.fill_(0.1)
    method.backward(0)
    other.load_state_dict(method.state_dict())
    assert torch.equal(other._squares, method._squares)
    assert torch.equal(other.parameter, method.parameter)
    assert method.settings()["price"] == PricedSettings.price
