"""Continuous sparsification: gate, price, slope and update against the definition, score by score."""

import math

import pytest
import torch

from slt_compress.methods import registry
from slt_compress.methods.continuous_sparsification import ContinuousSparsification, ContinuousSparsificationSettings
from slt_compress.prng import Freeze
from tests.support.digits import lenet
from tests.support.gates import make_target, parameter_gradient

STEPS = 100
DEFAULT = ContinuousSparsificationSettings()
PAPER = ContinuousSparsificationSettings(**registry.METHODS["continuous-sparsification"].recipes["paper"].settings)


def make(
    settings: ContinuousSparsificationSettings, density: float = 0.1, freeze: Freeze = Freeze()
) -> ContinuousSparsification:
    network = lenet(density, freeze=freeze)
    method = ContinuousSparsification(network, make_target(density, STEPS), settings)
    with torch.no_grad():  # as if some steps had been taken
        noise = torch.randn(method.parameter.shape, generator=torch.Generator().manual_seed(1))
        method.parameter.add_(0.1 * noise * network.searchable)
    return method


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


@pytest.mark.parametrize("step", [0, 20, 60, 99])
@pytest.mark.parametrize("settings", [DEFAULT, PAPER], ids=["default", "paper"])
def test_gate_and_gradient_follow_the_definition(settings: ContinuousSparsificationSettings, step: int) -> None:
    method = make(settings)
    gate = method.gate(step).clone()
    gradient = parameter_gradient(method, step, torch.ones(gate.shape))
    slope = settings.slope_start * (settings.slope_end / settings.slope_start) ** (step / STEPS)
    middle = 0.0
    if settings.steered:
        share = min(1.0, step / STEPS / settings.target_until)
        target = settings.target_start * (1 - share) + 0.1 * share
        ranked = sorted(method.parameter[method._network.searchable].tolist(), reverse=True)
        middle = ranked[round(target * len(ranked)) - 1]
    for index in range(0, method._network.slots[0].size, 997):
        z = sigmoid(slope * (method.parameter[index].item() - middle))
        assert gate[index].item() == pytest.approx(z, abs=1e-5)
        assert gradient[index].item() == pytest.approx(slope * z * (1 - z), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("step", [0, 50])
def test_the_published_price_is_that_of_all_gates(step: int) -> None:
    """loss += 1e-8·Σz: it alone moves the scores here."""
    method, slope = make(PAPER), 200 ** (step / STEPS)
    method.gate(step)
    gradient = parameter_gradient(method, step, torch.zeros(method.parameter.shape))
    for index in range(0, method._network.slots[0].size, 997):
        z = sigmoid(slope * method.parameter[index].item())
        assert gradient[index].item() == pytest.approx(1e-8 * slope * z * (1 - z), rel=1e-3)
    steered = make(DEFAULT)
    steered.gate(step)
    assert not parameter_gradient(steered, step, torch.zeros(method.parameter.shape)).any()


def test_published_learning_rates_drop_twice() -> None:
    rates = [make(PAPER).learning_rate(step) for step in range(STEPS)]
    assert rates == [pytest.approx(0.1 * 0.1 ** ((step >= 66) + (step >= 84))) for step in range(STEPS)]
    assert make(DEFAULT).learning_rate(STEPS // 2) == pytest.approx(DEFAULT.learning_rate / 2)


def test_published_updates_follow_a_slow_reference() -> None:
    """SGD with momentum 0.9 and no decay, on the gradient through the sigmoid and that of the price."""
    method = make(PAPER)
    optimiser, twin = method.optimiser(), torch.Generator().manual_seed(3)
    indices = range(0, method._network.slots[0].size, 1999)
    scores = {index: method.parameter[index].item() for index in indices}
    velocity = dict.fromkeys(indices, 0.0)
    for step in range(3):
        given = torch.randn(method.parameter.shape, generator=twin)
        optimiser.param_groups[0]["lr"] = method.learning_rate(step)
        method.gate(step)
        method.parameter.grad = parameter_gradient(method, step, given)
        optimiser.step()
        slope = 200 ** (step / STEPS)
        for index in indices:
            z = sigmoid(slope * scores[index])
            gradient = (given[index].item() + 1e-8) * slope * z * (1 - z)
            velocity[index] = 0.9 * velocity[index] + gradient
            scores[index] -= 0.1 * velocity[index]
            assert method.parameter[index].item() == pytest.approx(scores[index], rel=1e-4, abs=1e-6)


def test_steering_opens_the_target_number_of_gates() -> None:
    method = make(DEFAULT)
    gate = method.gate(STEPS - 1)
    assert int((gate >= 0.5).sum()) == round(0.1 * method._network.size)
    assert method._network.sparsity(method.hard_gate()) == pytest.approx(0.9, abs=1e-4)


@pytest.mark.parametrize("settings", [DEFAULT, PAPER], ids=["default", "paper"])
def test_fixed_gates_are_never_opened_and_never_move(settings: ContinuousSparsificationSettings) -> None:
    method = make(settings, 0.4, Freeze(0.5, 0.2))
    network, optimiser = method._network, method.optimiser()
    before = method.parameter.detach().clone()
    for step in (0, 50, 99):
        optimiser.param_groups[0]["lr"] = 0.1
        gate = method.gate(step)
        assert not gate[~network.searchable].any()
        method.parameter.grad = parameter_gradient(method, step, network.weights)
        optimiser.step()
    assert torch.equal(method.parameter[~network.searchable], before[~network.searchable])
    mask = method.mask()
    assert int(mask.sum()) == round(0.4 * network.size)
    assert mask[network.locked].all()
    assert not mask[~(network.searchable | network.locked)].any()
