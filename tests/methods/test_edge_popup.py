"""edge-popup: gate, gradient and update against a slow reference written from the published definition."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.masking.topk import kept_count
from slt_compress.methods import registry
from slt_compress.methods.edge_popup import EdgePopup, EdgePopupSettings
from slt_compress.models.registry import build_model, resolve_model
from slt_compress.prng import Freeze
from tests.support.digits import CPU, LENET, lenet
from tests.support.gates import make_target, parameter_gradient

STEPS = 50
DEFAULT = EdgePopupSettings()
PAPER = EdgePopupSettings(**registry.METHODS["edge-popup"].recipes["paper"].settings)


def make(scope: str, density: float = 0.1, settings: EdgePopupSettings = PAPER, freeze: Freeze = Freeze()) -> EdgePopup:
    network = lenet(density, freeze=freeze)
    return EdgePopup(network, make_target(density, STEPS), replace(settings, scope=scope))


def slow_gate(scores: list[float], count: int) -> list[float]:
    """The definition: sort by magnitude, the last `count` are 1."""
    order = sorted(range(len(scores)), key=lambda index: abs(scores[index]))
    gate = [0.0] * len(scores)
    for index in order[len(scores) - count :]:
        gate[index] = 1.0
    return gate


@pytest.mark.parametrize("density", [0.02, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_the_gate_is_the_top_of_the_magnitudes(scope: str, density: float) -> None:
    method = make(scope, density)
    network, gate = method._network, method.gate(0)
    if scope == "layer":
        for slot, scores, part in zip(network.slots, network.split(method.parameter), network.split(gate), strict=True):
            assert part.tolist() == slow_gate(scores.tolist(), kept_count(slot.size, density))
    else:
        expected = slow_gate(method.parameter[network.searchable].tolist(), kept_count(network.size, density))
        assert gate[network.searchable].tolist() == expected
    assert torch.equal(method.hard_gate() & network.searchable, (gate > 0) & network.searchable)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_by_default_the_choice_narrows_from_half_to_the_target(scope: str) -> None:
    method = make(scope, settings=DEFAULT)
    size, until = method._network.size, DEFAULT.target_until
    for step in (0, 5, 10, 25, 49):
        chosen = int(method.gate(step).sum())
        expected = 0.1 + 0.4 * max(0.0, 1 - step / STEPS / until)
        assert chosen == pytest.approx(expected * size, abs=3)
        assert method._network.sparsity(method.hard_gate()) == pytest.approx(1 - chosen / size)


def test_by_default_no_layer_starts_empty_over_which_a_gradient_could_not_pass() -> None:
    method = make("global", 0.02, DEFAULT)
    assert all(part.float().mean() > 0.2 for part in method._network.split(method.gate(0)))


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_the_gradient_passes_straight_through_the_choice(scope: str) -> None:
    """d loss/d |s| is w·d loss/d(w·z) for every weight, chosen or not; autograd differentiates a plain network."""
    method = make(scope, settings=DEFAULT)
    network = method._network
    images = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(16) % 10
    network.module.train()
    gate = method.gate(0).clone()
    network.set_gate(gate)
    F.cross_entropy(network.module(images), labels).backward()  # type: ignore[no-untyped-call]
    method.backward(0)

    plain = build_model(LENET).train()
    effective = {
        slot.name: (weights * z).view(slot.shape).detach().requires_grad_(True)
        for slot, weights, z in zip(network.slots, network.split(network.weights), network.split(gate), strict=True)
    }
    others = {
        name: torch.zeros_like(value) if name.endswith("bias") else torch.ones_like(value)
        for name, value in plain.named_parameters()
        if name not in effective
    }
    F.cross_entropy(torch.func.functional_call(plain, {**effective, **others}, (images,)), labels).backward()  # type: ignore[no-untyped-call]
    parts = [network.split(flat) for flat in (network.weights, method.parameter.detach(), network.grad)]
    for slot, weights, scores, gradient in zip(network.slots, *parts, strict=True):
        through = effective[slot.name].grad
        assert through is not None
        expected = through.flatten() * weights * scores.sign()
        assert torch.allclose(gradient, expected, rtol=1e-4, atol=1e-6)
    assert int((network.grad != 0).sum()) > 0.8 * network.size  # more than are chosen


@pytest.mark.parametrize(("settings", "kind"), [(DEFAULT, "adam"), (PAPER, "sgd")])
def test_updates_follow_a_slow_reference(settings: EdgePopupSettings, kind: str) -> None:
    """Three steps of gradients drawn at random, one score at a time."""
    assert settings.optimiser == kind
    method = make("layer", settings=settings)
    network, optimiser, twin = method._network, method.optimiser(), torch.Generator().manual_seed(3)
    indices = range(0, network.slots[0].size, 1999)
    scores = {index: method.parameter[index].item() for index in indices}
    first, second = dict.fromkeys(indices, 0.0), dict.fromkeys(indices, 0.0)
    for step in range(3):
        given = torch.randn(network.weights.shape, generator=twin)
        optimiser.param_groups[0]["lr"] = rate = method.learning_rate(step)
        assert rate == pytest.approx((settings.learning_rate or 3e-3) * (1 + math.cos(math.pi * step / STEPS)) / 2)
        method.gate(step)
        method.parameter.grad = parameter_gradient(method, step, given)
        optimiser.step()
        for index in indices:
            gradient = given[index].item() * math.copysign(1, scores[index])
            if kind == "sgd":
                first[index] = 0.9 * first[index] + gradient + 1e-4 * scores[index]
                scores[index] -= rate * first[index]
            else:
                first[index] = 0.9 * first[index] + 0.1 * gradient
                second[index] = 0.999 * second[index] + 0.001 * gradient**2
                mean, square = first[index] / (1 - 0.9 ** (step + 1)), second[index] / (1 - 0.999 ** (step + 1))
                scores[index] -= rate * mean / (square**0.5 + 1e-8)
            assert method.parameter[index].item() == pytest.approx(scores[index], rel=1e-4, abs=1e-6)


def test_published_scores_start_uniform_within_one_over_the_root_of_the_fan_in() -> None:
    method = make("layer")
    for slot, part in zip(method._network.slots, method._network.split(method.parameter), strict=True):
        bound = slot.shape[1] ** -0.5
        assert part.abs().max().item() == pytest.approx(bound, rel=0.02)
        assert part.mean().item() == pytest.approx(0, abs=0.05 * bound)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_fixed_gates_are_never_chosen_and_never_move(scope: str) -> None:
    method = make(scope, 0.4, freeze=Freeze(0.5, 0.2))
    network, optimiser = method._network, method.optimiser()
    for step in range(3):
        optimiser.param_groups[0]["lr"] = 0.1
        gate = method.gate(step)
        assert abs(int(gate.sum()) + network.locked_count - round(0.4 * network.size)) <= len(network.slots)
        method.parameter.grad = parameter_gradient(method, step, network.weights.sign())
        optimiser.step()
        assert not method.parameter[~network.searchable].any()
    mask = method.mask()
    assert mask[network.locked].all()
    assert not mask[~(network.searchable | network.locked)].any()


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_a_locked_layer_with_nothing_left_to_keep_is_searched_without_a_gate(scope: str) -> None:
    method = make(scope, 0.2, freeze=Freeze(0.5, 0.2))
    gate = method.gate(0)
    assert abs(int((gate > 0).sum() + method._network.locked_count) - 0.2 * method._network.size) < 251


@pytest.mark.parametrize(("model", "rate"), [("lenet-300-100", 3e-3), ("test_vit", 1e-3)])
def test_transformers_have_a_smaller_learning_rate_unless_one_is_given(model: str, rate: float) -> None:
    network = FlatNetwork(build_model(resolve_model(model, classes=10, channels=1, input_size=8)), 0, 0.5, CPU)
    target = make_target(0.5, STEPS)
    assert registry.make("edge-popup", network, target).learning_rate(0) == rate
    assert registry.make("edge-popup", network, target, learning_rate=0.1).learning_rate(0) == 0.1
    assert registry.make("edge-popup", network, target, recipe="paper").learning_rate(0) == 0.1
