"""The published objective of continuously relaxed Bernoulli gates, element by element."""

import math

import pytest
import torch

from slt_compress.crbg_paper import PaperCrbg, PaperCrbgSettings
from slt_compress.models import build, resolve
from slt_compress.network import FlatNetwork
from slt_compress.ticket import Freeze
from tests.test_gates import passed

SETTINGS = PaperCrbgSettings()


def method(freeze: Freeze = Freeze()) -> PaperCrbg:
    spec = resolve("lenet-300-100", classes=10, channels=1, input_size=8)
    network = FlatNetwork(build(spec), 0, 0.4, torch.device("cpu"), "uniform", freeze)
    return PaperCrbg(network, 0.4, 100, torch.Generator().manual_seed(0), SETTINGS)


def test_gate_and_gradient_follow_the_definition() -> None:
    """z = clip(μ + σ·ε, 0, 1)."""
    searcher, twin = method(), torch.Generator().manual_seed(0)
    count = searcher.parameter.numel()
    torch.randn(count, generator=twin)  # the draw of the initial means
    epsilon = torch.randn(count, generator=twin).tolist()
    gate = searcher.gate(0).clone()
    gradient = passed(searcher, 0, torch.ones(count)) - passed(searcher, 0, torch.zeros(count))
    for index in range(0, count, 997):
        z = searcher.parameter[index].item() + SETTINGS.sigma * epsilon[index]
        assert gate[index].item() == pytest.approx(min(1.0, max(0.0, z)), abs=1e-5)
        assert gradient[index].item() == pytest.approx(1.0 if 0 < z < 1 else 0.0)


def test_the_price_is_the_expected_number_of_gates_above_zero() -> None:
    """λ·Σ Φ(μ/σ): its gradient is λ·φ(μ/σ)/σ."""
    searcher = method()
    with torch.no_grad():
        searcher.parameter.uniform_(-2, 2, generator=torch.Generator().manual_seed(1))
    searcher.gate(0)
    gradient = passed(searcher, 0, torch.zeros(searcher.parameter.shape))
    for index in range(0, searcher._network.slots[0].size, 997):
        density = math.exp(-((searcher.parameter[index].item() / SETTINGS.sigma) ** 2) / 2) / (2 * math.pi) ** 0.5
        assert gradient[index].item() == pytest.approx(SETTINGS.penalty * density / SETTINGS.sigma, rel=1e-3)


def test_the_learning_rate_is_constant_and_nothing_is_clamped() -> None:
    searcher = method()
    assert searcher.learning_rate(0) == searcher.learning_rate(99) == SETTINGS.learning_rate
    with torch.no_grad():
        searcher.parameter.fill_(7.0)
    searcher.gate(0)
    assert bool((searcher.parameter == 7.0).all())


def test_frozen_gates_cost_nothing_and_never_move() -> None:
    searcher = method(Freeze(0.5, 0.2))
    network, optim = searcher._network, searcher.optimiser()
    before = searcher.parameter.detach().clone()
    for step in range(3):
        optim.param_groups[0]["lr"] = 0.1
        searcher.gate(step)
        searcher.parameter.grad = passed(searcher, step, network.weights)
        optim.step()
    assert torch.equal(searcher.parameter[~network.free], before[~network.free])
    assert not torch.equal(searcher.parameter[network.free], before[network.free])
    mask = searcher.mask()
    assert int(mask.sum()) == round(0.4 * network.size)
    assert mask[network.locked].all()
    assert not mask[~(network.free | network.locked)].any()
