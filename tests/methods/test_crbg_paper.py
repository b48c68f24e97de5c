"""The published objective of continuously relaxed Bernoulli gates, element by element."""

import math

import pytest
import torch

from slt_compress.methods.crbg_paper import PaperCrbg, PaperCrbgSettings
from slt_compress.prng import Freeze
from tests.support.digits import lenet
from tests.support.gates import make_target, parameter_gradient

SETTINGS = PaperCrbgSettings()


def make(freeze: Freeze = Freeze()) -> PaperCrbg:
    return PaperCrbg(lenet(0.4, initialiser="uniform", freeze=freeze), make_target(0.4, 100), SETTINGS)


def test_gate_and_gradient_follow_the_definition() -> None:
    """z = clip(μ + σ·ε, 0, 1)."""
    method, twin = make(), torch.Generator().manual_seed(0)
    count = method.parameter.numel()
    torch.randn(count, generator=twin)  # the draw of the initial means
    epsilon = torch.randn(count, generator=twin).tolist()
    gate = method.gate(0).clone()
    gradient = parameter_gradient(method, 0, torch.ones(count)) - parameter_gradient(method, 0, torch.zeros(count))
    for index in range(0, count, 997):
        z = method.parameter[index].item() + SETTINGS.sigma * epsilon[index]
        assert gate[index].item() == pytest.approx(min(1.0, max(0.0, z)), abs=1e-5)
        assert gradient[index].item() == pytest.approx(1.0 if 0 < z < 1 else 0.0)


def test_the_price_is_the_expected_number_of_gates_above_zero() -> None:
    """λ·Σ Φ(μ/σ): its gradient is λ·φ(μ/σ)/σ."""
    method = make()
    with torch.no_grad():
        method.parameter.uniform_(-2, 2, generator=torch.Generator().manual_seed(1))
    method.gate(0)
    gradient = parameter_gradient(method, 0, torch.zeros(method.parameter.shape))
    for index in range(0, method._network.slots[0].size, 997):
        density = math.exp(-((method.parameter[index].item() / SETTINGS.sigma) ** 2) / 2) / (2 * math.pi) ** 0.5
        assert gradient[index].item() == pytest.approx(SETTINGS.penalty * density / SETTINGS.sigma, rel=1e-3)


def test_the_learning_rate_is_constant_and_nothing_is_clamped() -> None:
    method = make()
    assert method.learning_rate(0) == method.learning_rate(99) == SETTINGS.learning_rate
    with torch.no_grad():
        method.parameter.fill_(7.0)
    method.gate(0)
    assert bool((method.parameter == 7.0).all())


def test_fixed_gates_cost_nothing_and_never_move() -> None:
    method = make(Freeze(0.5, 0.2))
    network, optimiser = method._network, method.optimiser()
    before = method.parameter.detach().clone()
    for step in range(3):
        optimiser.param_groups[0]["lr"] = 0.1
        method.gate(step)
        method.parameter.grad = parameter_gradient(method, step, network.weights)
        optimiser.step()
    assert torch.equal(method.parameter[~network.searchable], before[~network.searchable])
    assert not torch.equal(method.parameter[network.searchable], before[network.searchable])
    mask = method.mask()
    assert int(mask.sum()) == round(0.4 * network.size)
    assert mask[network.locked].all()
    assert not mask[~(network.searchable | network.locked)].any()
