"""Methods: the gate and its gradient against a slow reference, exact counts, masks that do not depend on ties."""

import math

import pytest
import torch

from slt_compress.gates import Crbg, CrbgSettings
from slt_compress.models import build, resolve
from slt_compress.network import FlatNetwork
from slt_compress.ranking import kept_count
from slt_compress.ticket import Freeze

STEPS = 100


def network(seed: int = 0) -> FlatNetwork:
    spec = resolve("lenet-300-100", classes=10, channels=1, input_size=8)
    return FlatNetwork(build(spec), seed, 0.5, torch.device("cpu"))


def crbg(density: float = 0.1, seed: int = 0) -> Crbg:
    return Crbg(network(), density, STEPS, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("step", [0, 40, 99])
def test_gate_and_gradient_follow_the_definition(step: int) -> None:
    """z = clip(k·(μ - ½) + ½ + σ·ε, 0, 1), element by element in Python."""
    method, twin = crbg(), torch.Generator().manual_seed(0)
    count = method.parameter.numel()
    torch.randn(count, generator=twin)  # the draw of the initial means
    epsilon = torch.randn(count, generator=twin).tolist()
    gate = method.gate(step)
    (gradient,) = torch.autograd.grad(gate.sum(), method.parameter)

    s = CrbgSettings()
    annealed = max(0.0, (step / STEPS - s.anneal_from) / (1 - s.anneal_from))
    sigma = s.sigma_start * (s.sigma_end / s.sigma_start) ** annealed
    slope = s.slope_end**annealed
    for index in range(0, count, 997):
        centre = slope * (method.parameter[index].item() - 0.5) + 0.5 + sigma * epsilon[index]
        assert gate[index].item() == pytest.approx(min(1.0, max(0.0, centre)), abs=1e-5)
        assert gradient[index].item() == pytest.approx(slope if 0 < centre < 1 else 0.0)


def give_gradient(method: Crbg) -> float:
    """Let the network have received a gradient, and return its size in the method's units, computed the slow way."""
    network = method._network
    network.grad.normal_(generator=torch.Generator().manual_seed(5))
    squares = [(g * w) ** 2 for g, w in zip(network.grad.tolist(), network.weights.tolist(), strict=True)]
    return float((sum(squares) / network.size) ** 0.5 * network.size / CrbgSettings().gradient_scale)


@pytest.mark.parametrize("step", [0, 20, 60, 99])
def test_penalty_follows_the_definition(step: int) -> None:
    method = crbg()
    method._multiplier.fill_(0.7)
    scale = give_gradient(method)
    s, size = CrbgSettings(), method._network.size
    progress = step / STEPS
    slope = s.slope_end ** max(0.0, (progress - s.anneal_from) / (1 - s.anneal_from))
    centres = [slope * (mean - 0.5) + 0.5 for mean in method.parameter.tolist()]
    relaxed = [min(1.0, max(0.0, centre)) for centre in centres]
    ramp = min(1.0, max(0.0, (progress - s.target_from) / (s.target_until - s.target_from)))
    force = 0.7 + s.proportional * math.log(sum(relaxed) / size / (1 - 0.9 * ramp))
    if ramp < 1:
        force = max(0.0, force)
    polarisation = s.polarisation * max(0.0, (progress - s.polarise_from) / (1 - s.polarise_from))
    expected = (force * sum(centres) + polarisation * sum(z * (1 - z) for z in relaxed)) / size
    if step:  # the running mean starts at zero here, and with the first gradient in a search
        scale *= 1 - s.gradient_memory
    assert method.penalty(step).item() == pytest.approx(scale * expected, rel=1e-3)


def test_an_excess_pushes_every_gate_down_also_open_ones() -> None:
    method = crbg()
    give_gradient(method)
    with torch.no_grad():
        method.parameter[:1000] = 1.0
    (gradient,) = torch.autograd.grad(method.penalty(STEPS // 2), method.parameter)
    assert bool((gradient > 0).all())


def test_after_a_step_means_are_in_range_and_the_multiplier_follows_the_error() -> None:
    method, s = crbg(), CrbgSettings()
    with torch.no_grad():
        method.parameter.uniform_(-5, 5, generator=torch.Generator().manual_seed(0))
    method.penalty(0)
    method.after_step(0)
    assert method._multiplier.item() == 0  # the target is still falling
    method.penalty(STEPS - 1)
    method.after_step(STEPS - 1)
    assert (method.parameter.min().item(), method.parameter.max().item()) == (s.lowest_mean, s.highest_mean)
    assert method._error.item() > s.integral_limit
    assert method._multiplier.item() == pytest.approx(s.integral / STEPS * s.integral_limit, rel=1e-5)


@pytest.mark.parametrize("density", [0.0005, 0.02, 0.1, 0.5, 0.999, 1.0])
def test_the_mask_has_exactly_the_asked_number_even_when_all_gates_tie(density: float) -> None:
    method = crbg(density)
    with torch.no_grad():
        method.parameter.fill_(1.0)
    mask = method.mask()
    padding = ~method._network.free
    assert int(mask.sum()) == kept_count(method._network.size, density)
    assert not mask[padding].any()
    layers = [part.float().mean().item() for part in method._network.split(mask)]
    assert all(part > 0 for part in layers)
    if density == 0.5:
        assert layers == pytest.approx([0.5] * 3, abs=0.06)  # ties are broken evenly, not by position


def test_the_mask_keeps_the_largest_means() -> None:
    method = crbg(0.3)
    with torch.no_grad():
        method.parameter.uniform_(0, 1, generator=torch.Generator().manual_seed(1))
    mask = method.mask()
    real = method._network.free
    kept, dropped = method.parameter[mask & real], method.parameter[~mask & real]
    assert kept.min() > dropped.max() - 1e-4


def test_frozen_gates_are_steered_around() -> None:
    """The controller aims at what is left for the free gates; frozen ones stay closed in it, and locked ones open."""
    spec = resolve("lenet-300-100", classes=10, channels=1, input_size=8)
    flat = FlatNetwork(build(spec), 0, 0.3, torch.device("cpu"), freeze=Freeze(0.5, 0.2))
    method = Crbg(flat, 0.3, STEPS, torch.Generator().manual_seed(0))
    assert method._target(STEPS) * flat.free_count + flat.locked_count == pytest.approx(0.3 * flat.size)
    give_gradient(method)
    optimiser = method.optimiser()
    for step in (0, 50, 99):
        optimiser.param_groups[0]["lr"] = 0.1
        penalty = method.penalty(step)
        torch.autograd.backward([method.gate(step), penalty], [flat.weights, None])
        optimiser.step()
        method.after_step(step)
        assert bool((method.parameter[~flat.free] == CrbgSettings().lowest_mean).all())
    mask = method.mask()
    assert int(mask.sum()) == round(0.3 * flat.size)
    assert mask[flat.locked].all()
    assert not mask[~(flat.free | flat.locked)].any()
