"""Continuous sparsification: gate, price, slope and update against the definition, score by score."""

import math

import pytest
import torch

from slt_compress.continuous_sparsification import (
    PAPER,
    ContinuousSparsification,
    ContinuousSparsificationSettings,
)
from slt_compress.models import build, resolve
from slt_compress.network import FlatNetwork
from slt_compress.ticket import Freeze
from tests.test_gates import passed

STEPS = 100
DEFAULT = ContinuousSparsificationSettings()


def method(
    settings: ContinuousSparsificationSettings, density: float = 0.1, freeze: Freeze = Freeze()
) -> ContinuousSparsification:
    spec = resolve("lenet-300-100", classes=10, channels=1, input_size=8)
    network = FlatNetwork(build(spec), 0, density, torch.device("cpu"), freeze=freeze)
    searcher = ContinuousSparsification(network, density, STEPS, torch.Generator().manual_seed(0), settings)
    with torch.no_grad():  # as if some steps had been taken
        noise = torch.randn(searcher.parameter.shape, generator=torch.Generator().manual_seed(1))
        searcher.parameter.add_(0.1 * noise * network.free)
    return searcher


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


@pytest.mark.parametrize("step", [0, 20, 60, 99])
@pytest.mark.parametrize("settings", [DEFAULT, PAPER], ids=["default", "paper"])
def test_gate_and_gradient_follow_the_definition(settings: ContinuousSparsificationSettings, step: int) -> None:
    searcher = method(settings)
    gate = searcher.gate(step).clone()
    gradient = passed(searcher, step, torch.ones(gate.shape))
    slope = settings.slope_start * (settings.slope_end / settings.slope_start) ** (step / STEPS)
    middle = 0.0
    if settings.steered:
        share = min(1.0, step / STEPS / settings.target_until)
        target = settings.target_start * (1 - share) + 0.1 * share
        ranked = sorted(searcher.parameter[searcher._network.free].tolist(), reverse=True)
        middle = ranked[round(target * len(ranked)) - 1]
    for index in range(0, searcher._network.slots[0].size, 997):
        z = sigmoid(slope * (searcher.parameter[index].item() - middle))
        assert gate[index].item() == pytest.approx(z, abs=1e-5)
        assert gradient[index].item() == pytest.approx(slope * z * (1 - z), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("step", [0, 50])
def test_the_published_price_is_that_of_all_gates(step: int) -> None:
    """loss += 1e-8·Σz: it alone moves the scores here."""
    searcher, slope = method(PAPER), 200 ** (step / STEPS)
    searcher.gate(step)
    gradient = passed(searcher, step, torch.zeros(searcher.parameter.shape))
    for index in range(0, searcher._network.slots[0].size, 997):
        z = sigmoid(slope * searcher.parameter[index].item())
        assert gradient[index].item() == pytest.approx(1e-8 * slope * z * (1 - z), rel=1e-3)
    steered = method(DEFAULT)
    steered.gate(step)
    assert not passed(steered, step, torch.zeros(searcher.parameter.shape)).any()


def test_published_learning_rates_drop_twice() -> None:
    rates = [method(PAPER).learning_rate(step) for step in range(STEPS)]
    assert rates == [pytest.approx(0.1 * 0.1 ** ((step >= 66) + (step >= 84))) for step in range(STEPS)]
    assert method(DEFAULT).learning_rate(STEPS // 2) == pytest.approx(DEFAULT.learning_rate / 2)


def test_published_updates_follow_a_slow_reference() -> None:
    """SGD with momentum 0.9 and no decay, on the gradient through the sigmoid and that of the price."""
    searcher = method(PAPER)
    optim, twin = searcher.optimiser(), torch.Generator().manual_seed(3)
    watched = range(0, searcher._network.slots[0].size, 1999)
    scores = {index: searcher.parameter[index].item() for index in watched}
    velocity = dict.fromkeys(watched, 0.0)
    for step in range(3):
        given = torch.randn(searcher.parameter.shape, generator=twin)
        optim.param_groups[0]["lr"] = searcher.learning_rate(step)
        searcher.gate(step)
        searcher.parameter.grad = passed(searcher, step, given)
        optim.step()
        slope = 200 ** (step / STEPS)
        for index in watched:
            z = sigmoid(slope * scores[index])
            gradient = (given[index].item() + 1e-8) * slope * z * (1 - z)
            velocity[index] = 0.9 * velocity[index] + gradient
            scores[index] -= 0.1 * velocity[index]
            assert searcher.parameter[index].item() == pytest.approx(scores[index], rel=1e-4, abs=1e-6)


def test_steering_opens_as_many_gates_as_were_asked_for() -> None:
    searcher = method(DEFAULT)
    gate = searcher.gate(STEPS - 1)
    assert int((gate >= 0.5).sum()) == round(0.1 * searcher._network.size)
    assert searcher._network.sparsity(searcher.hard_gate()) == pytest.approx(0.9, abs=1e-4)


@pytest.mark.parametrize("settings", [DEFAULT, PAPER], ids=["default", "paper"])
def test_frozen_gates_are_never_opened_and_never_move(settings: ContinuousSparsificationSettings) -> None:
    searcher = method(settings, 0.4, Freeze(0.5, 0.2))
    network, optim = searcher._network, searcher.optimiser()
    before = searcher.parameter.detach().clone()
    for step in (0, 50, 99):
        optim.param_groups[0]["lr"] = 0.1
        gate = searcher.gate(step)
        assert not gate[~network.free].any()
        searcher.parameter.grad = passed(searcher, step, network.weights)
        optim.step()
    assert torch.equal(searcher.parameter[~network.free], before[~network.free])
    mask = searcher.mask()
    assert int(mask.sum()) == round(0.4 * network.size)
    assert mask[network.locked].all()
    assert not mask[~(network.free | network.locked)].any()
