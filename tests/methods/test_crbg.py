"""`crbg`: gate, force and threshold against a slow reference, and the noise."""

import math

import pytest
import torch

from slt_compress.methods.crbg import SMALL_END, Crbg, CrbgSettings, NoiseBank
from slt_compress.prng import Freeze
from tests.support.digits import lenet
from tests.support.gates import make_target, parameter_gradient

STEPS = 100


def crbg(density: float = 0.1) -> Crbg:
    return Crbg(lenet(0.5), make_target(density, STEPS), CrbgSettings())


def annealed(step: int) -> float:
    s = CrbgSettings()
    return min(1.0, max(0.0, (step / STEPS - s.anneal_from) / (s.anneal_until - s.anneal_from)))


def slope(step: int) -> float:
    s = CrbgSettings()
    hardened = max(0.0, (step / STEPS - s.harden_from) / (1 - s.harden_from))
    return float(s.slope_end ** annealed(step) * (s.hard_slope / s.slope_end) ** hardened)


@pytest.mark.parametrize("step", [0, 40, 99])
def test_gate_and_gradient_follow_the_definition(step: int) -> None:
    """z = clip(k·(μ - τ) + ½ + σ·ε, 0, 1), element by element in Python, with τ from a sort."""
    method, twin = crbg(), torch.Generator().manual_seed(0)
    count = method.parameter.numel()
    torch.randn(count, generator=twin)  # the draw of the initial means
    torch.randn(count, generator=twin)  # that of another gate before
    epsilon = torch.randn(count, generator=twin).tolist()
    method.gate(0)
    gate = method.gate(step).clone()
    method._forces = [0.0]
    gradient = parameter_gradient(method, step, torch.ones(count))

    s, searchable = CrbgSettings(), method._network.searchable
    fallen = min(1.0, max(0.0, (step / STEPS - s.target_from) / (s.target_until - s.target_from)))
    means = sorted(method.parameter[searchable].tolist(), reverse=True)
    threshold = means[round((0.9 - 0.8 * fallen) * len(means)) - 1]
    sigma = s.sigma_start * (s.sigma_end / s.sigma_start) ** annealed(step)
    for index in range(0, count, 997):
        centre = slope(step) * (method.parameter[index].item() - threshold) + 0.5 + sigma * epsilon[index]
        assert gate[index].item() == pytest.approx(min(1.0, max(0.0, centre)), abs=1e-5)
        assert gradient[index].item() == pytest.approx(slope(step) * (1 if 0 < centre < 1 else s.saturated))


@pytest.mark.parametrize("density", [0.02, 0.1, 0.7])
def test_at_every_step_exactly_the_target_number_of_gates_is_open(density: float) -> None:
    method, s = crbg(density), CrbgSettings()
    searchable, count = method._network.searchable, method._network.searchable_count
    start = max(s.target_start, density)
    for step, target in ((0, start), (20, (start + density) / 2), (35, density), (99, density)):
        method.gate(step)
        assert int(method.hard_gate()[searchable].sum()) == pytest.approx(target * count, abs=1)
        assert not method.hard_gate()[~searchable].any()


def test_noise_is_normal_new_at_every_step_and_follows_the_seed() -> None:
    like = torch.empty(3 * (1 << 20) + 5)
    noise, again = (NoiseBank(torch.Generator().manual_seed(4), like) for _ in range(2))
    first, second = noise.fill(like.clone()), noise.fill(like.clone())
    assert torch.equal(first, again.fill(like.clone()))
    assert torch.equal(second, again.fill(like.clone()))
    for values in (first, second):
        assert values.mean().item() == pytest.approx(0, abs=5e-3)
        assert values.std().item() == pytest.approx(1, abs=5e-3)
        assert (values.abs() > 3).float().mean().item() == pytest.approx(0.0027, rel=0.15)
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 5e-3
    blocks = first[: 24 << 17].view(24, -1)
    assert torch.corrcoef(blocks).fill_diagonal_(0).abs().max() < 0.05  # no stretch beside itself


def test_the_search_ends_with_the_mask_it_has_steered_for() -> None:
    method = crbg(0.1)
    method.gate(STEPS - 1)
    assert torch.equal(method.hard_gate(), method.mask())


def test_means_stay_within_reach_of_the_threshold() -> None:
    method, s = crbg(), CrbgSettings()
    with torch.no_grad():
        method.parameter[method._network.searchable] *= 500
    method.gate(50)
    reach = method.parameter[method._network.searchable].detach() - method._threshold
    assert reach.min().item() == pytest.approx(-s.below, abs=1e-5)
    assert reach.max().item() == pytest.approx(s.above, abs=1e-5)


def forced(method: Crbg, step: int) -> tuple[float, torch.Tensor]:
    """Let the network receive a gradient; return its size in the method's units, computed the slow way, and what the
    method adds to it.
    """
    network = method._network
    given = torch.randn(network.grad.shape, generator=torch.Generator().manual_seed(5)) * network.weights
    size = (sum(value**2 for value in given.tolist()) / network.size) ** 0.5 * network.size
    gate = method.gate(step)
    share = torch.where((gate > 0) & (gate < 1), 1.0, CrbgSettings().saturated)
    return size / CrbgSettings().gradient_scale, parameter_gradient(method, step, given) - given * slope(step) * share


@pytest.mark.parametrize("step", [0, 20, 60, 99])
def test_the_force_is_the_same_on_every_searchable_gate_and_in_units_of_the_gradient(step: int) -> None:
    method, s = crbg(), CrbgSettings()
    unit, gradient = forced(method, step)
    if step:  # the running mean starts at zero here, and with the first gradient in a search
        unit *= 1 - s.gradient_memory
    searchable, count = method._network.searchable, method._network.searchable_count
    force = s.force * math.log(0.5 / 0.1) * (s.force_steps / STEPS) ** 0.5
    expected = torch.full((count,), force * unit * slope(step) / count)
    torch.testing.assert_close(gradient[searchable], expected, rtol=1e-3, atol=2e-5)
    assert not gradient[~searchable].any()


@pytest.mark.parametrize("density", [0.5, 0.7, 1.0])
def test_there_is_no_force_where_at_least_half_of_the_gates_stay_open(density: float) -> None:
    _, gradient = forced(crbg(density), 50)
    assert gradient.abs().max() < 2e-5


def test_a_head_start_is_that_of_small_ends_alone_and_takes_the_force_off_them() -> None:
    """LeNet-300-100 on the digits: the first tensor has a third of all weights, the last 2 %."""
    plain, ahead = crbg(), Crbg(lenet(0.5), make_target(0.1, STEPS), CrbgSettings(head_start=0.25))
    first, *_, last = ahead._network.slots
    assert first.size > SMALL_END * ahead._network.size >= last.size
    end = slice(last.offset, last.offset + last.size)
    lead = (ahead.parameter - plain.parameter).detach()
    torch.testing.assert_close(lead[end], torch.full((last.size,), 0.25))
    lead[end] = 0
    assert not lead.any()
    for step in (0, 50):
        _, on_plain = forced(plain, step)
        _, on_ahead = forced(ahead, step)
        assert on_ahead[end].abs().max() < 2e-4 * on_plain[end].abs().max()
        torch.testing.assert_close(on_ahead[: last.offset], on_plain[: last.offset])
    assert ahead.hard_gate()[end].all()


def test_a_head_start_is_recorded_where_there_is_one() -> None:
    assert "head_start" not in crbg().settings()
    assert Crbg(lenet(0.5), make_target(0.1, STEPS), CrbgSettings(head_start=0.1)).settings()["head_start"] == 0.1


def test_fixed_gates_are_never_ranked() -> None:
    """The threshold counts what is left for searchable gates; fixed ones stay where they are, and locked ones open."""
    network = lenet(0.3, freeze=Freeze(0.5, 0.2))
    method = Crbg(network, make_target(0.3, STEPS), CrbgSettings())
    initial = method.parameter[~network.searchable].clone()
    optimiser = method.optimiser()
    for step in (0, 50, 99):
        optimiser.param_groups[0]["lr"] = 0.1
        assert not method.gate(step)[~network.searchable].any()
        open_gates = int((method.hard_gate() & network.searchable).sum())
        method.parameter.grad = parameter_gradient(method, step, network.weights)
        optimiser.step()
        assert torch.equal(method.parameter[~network.searchable], initial)
    assert open_gates + network.locked_count == round(0.3 * network.size)
    mask = method.mask()
    assert int(mask.sum()) == round(0.3 * network.size)
    assert mask[network.locked].all()
    assert not mask[~(network.searchable | network.locked)].any()
