"""`crbg`: continuously relaxed Bernoulli gates around a threshold that moves to the target density.

docs/methods.md tells what was tried before. The published form, with a fixed price for every gate, is `crbg_paper`.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from slt_compress.masking.gates import Gates
from slt_compress.masking.topk import count_to_open, scopes, thresholds
from slt_compress.methods.base import GLOBAL, LAYER, LOWEST, Method, Target, ramp


@dataclass(frozen=True)
class CrbgSettings:
    """Fractions are of the whole run; values were chosen on held-out training images, see docs/methods.md."""

    scope: str = GLOBAL  # one threshold for the whole network, or one for each layer
    learning_rate: float = 3e-2  # of Adam, falling linearly to 0
    initial_spread: float = 0.01  # standard deviation of the initial means
    sigma_start: float = 0.1
    sigma_end: float = 0.02  # reached exponentially from `anneal_from` to `anneal_until`
    slope_end: float = 20.0  # likewise, from 1
    anneal_from: float = 0.1
    anneal_until: float = 0.6
    hard_slope: float = 100.0  # reached exponentially from `harden_from` to the end
    harden_from: float = 0.9
    target_start: float = (
        0.9  # the target density falls linearly from here (or from the final one, if that is higher) …
    )
    target_from: float = 0.05
    target_until: float = 0.35  # … to the final one
    below: float = 0.75  # means are clamped to [τ - below, τ + above]
    above: float = 0.5
    saturated: float = 0.5  # share of the gradient that a gate of 0 or 1 gets
    force: float = 0.15  # the price of a gate, in units of the network's gradient, for each e-fold below half density
    force_steps: float = 2_000  # the number of steps that the force is made for; it falls as the root of more
    gradient_scale: float = 25.0  # root mean square gradient, times the number of gates, that the force is made for
    gradient_memory: float = 0.95  # of its running mean


class Crbg(Method):
    """z = clip(c + σ·ε, 0, 1) with c = k·(μ - τ) + ½ and ε ~ N(0, 1): every weight has a mean μ, and its gate is noisy.

    The gate is that of Tsayag & Lindenbaum (arXiv:2603.08914), after the stochastic gates of Yamada et al. (2020). Our
    additions are a slope k and a moving threshold τ.

    The threshold sets the density. A fixed price λ·ΣΦ(μ/σ) has no gradient for open gates, so it cannot. Here τ is set
    before every step, at the value that exactly the target number of means, over the whole network, reach or exceed.
    The target falls from 0.9 to the density of the result.

    A small force on all means decides which layers keep their weights: loss += F·u·mean(c). It does not change the
    density, because τ follows it. But Adam moves every mean by about the same amount, however small its gradient. With
    the force, a mean falls unless the loss pulls it up more strongly than it pulls others. Layers with strong
    gradients, above all small ones at either end of a network, then keep the most weights. The unit u is the size of
    the gradient that the loss sends to a gate: per gate, that is 30 to 400 times larger in a ResNet-18 than in a LeNet.
    At half density the force would leave those layers no choice, so F = f·log(½ / density), and 0 above half. Over n
    steps a constant force moves a mean by n, and noisy gradients by √n; so f falls as 1/√n.

    The gates harden on the way. σ falls and the slope rises, until only gates close to τ are neither 0 nor 1; in the
    last tenth of the search the slope rises once more. So the soft network becomes the hard one, and little is lost at
    the end. Means are clamped near τ, and a gate at 0 or 1, where the clip has no gradient, still gets half of the
    gradient: gates can change until the end.
    """

    Settings = CrbgSettings
    ADDED: ClassVar = {"scope": GLOBAL}

    def __init__(self, network: Gates, target: Target, settings: CrbgSettings) -> None:
        super().__init__(network, target, settings)
        s, count = settings, max(1, count_to_open(network, target.density))
        self._density = count / network.searchable_count  # of the searchable gates
        self._scopes = scopes(network, target.density, layered=s.scope == LAYER)
        device = network.weights.device
        self.parameter: nn.Parameter = nn.Parameter(self._noise().mul_(s.initial_spread))
        self._rank_unsearchable_last()
        self._bank = NoiseBank(target.generator, network.weights)
        self._threshold = thresholds(
            self.parameter.detach(), self._scopes, [scope.count for scope in self._scopes]
        )  # τ
        self._unit = torch.zeros((), device=device)  # u
        below_half = max(0.0, math.log(0.5 / self._density))
        self._force = s.force * math.sqrt(s.force_steps / target.steps) * below_half  # F

    def learning_rate(self, step: int) -> float:
        return float(self._settings.learning_rate * (1 - step / self._target.steps))

    @torch.no_grad()
    def gate(self, step: int) -> torch.Tensor:
        s = self._settings
        self._settle(step)
        slope = self._slope(step)
        sigma = s.sigma_start * (s.sigma_end / s.sigma_start) ** self._annealed(step)
        gate = self._bank.fill(self._network.effective).mul_(sigma)
        gate.add_(0.5 - slope * self._threshold).add_(self.parameter, alpha=slope).clamp_(0, 1)
        self._network.remember_saturated(gate)
        return gate

    @torch.no_grad()
    def backward(self, step: int) -> None:
        s, count = self._settings, self._network.searchable_count
        gradient = self._network.gate_gradient()
        memory = s.gradient_memory if step else 0.0
        self._unit = memory * self._unit + (1 - memory) * gradient.norm() * count**0.5 / s.gradient_scale
        self._network.damp_saturated(s.saturated)
        gradient.add_(self._force * self._unit / count).mul_(self._slope(step))
        gradient.index_fill_(0, self._network.not_searchable, 0)

    def hard_gate(self) -> torch.Tensor:
        return self.parameter.detach() >= self._threshold

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {**super().state_dict(), "threshold": self._threshold, "unit": self._unit}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        super().load_state_dict(state)
        device = self._threshold.device
        self._threshold, self._unit = state["threshold"].to(device), state["unit"].to(device)

    def _settle(self, step: int) -> None:
        """Set τ to the mean that exactly the target number of means reach, and bring all means within reach of it."""
        s = self._settings
        arrived = ramp(step / self._target.steps, s.target_from, s.target_until)
        counts = [scope.on_the_way(max(s.target_start, scope.density), arrived) for scope in self._scopes]
        self._threshold = thresholds(self.parameter.detach(), self._scopes, counts)
        means = self.parameter.detach()
        torch.maximum(means, self._threshold - s.below, out=means)  # a clamp between tensors takes four times as long
        torch.minimum(means, self._threshold + s.above, out=means)
        self._rank_unsearchable_last()

    def _rank_unsearchable_last(self) -> None:
        """Rank fixed gates, and the padding, last."""
        self.parameter.detach().index_fill_(0, self._network.not_searchable, LOWEST)

    def _slope(self, step: int) -> float:
        s = self._settings
        hardened = (s.hard_slope / s.slope_end) ** ramp(step / self._target.steps, s.harden_from, 1)
        return float(s.slope_end ** self._annealed(step) * hardened)

    def _annealed(self, step: int) -> float:
        return ramp(step / self._target.steps, self._settings.anneal_from, self._settings.anneal_until)


class NoiseBank:
    """Fresh normal noise at every step; on a CPU, for more than a million gates, at the price of a copy.

    There, a million normals are drawn once, and each block of a step's noise is a stretch of them from a random place:
    2.4 ms for the 11 M gates of a ResNet-18 instead of the 29 ms that drawing takes. With a bank forced on it,
    LeNet-300-100 on MNIST has the accuracy that it has without (docs/methods.md).
    """

    _BANK, _BLOCK, _STRIDE = 1 << 20, 1 << 17, 16  # values; the last keeps copies aligned

    def __init__(self, generator: torch.Generator, like: torch.Tensor) -> None:
        self._generator = generator
        own = torch.Generator().manual_seed(generator.initial_seed())  # leaves the other as it is, for a resumed search
        pays = like.device.type == "cpu" and like.numel() > self._BANK
        self._bank = torch.randn(self._BANK, generator=own) if pays else None

    def fill(self, out: torch.Tensor) -> torch.Tensor:
        """Replace a flat float32 tensor by standard normal noise, and return it."""
        if self._bank is None:
            return out.normal_(generator=self._generator)
        blocks = torch.split(out, self._BLOCK)
        places = (self._BANK - self._BLOCK) // self._STRIDE
        starts = torch.randint(places, (len(blocks),), generator=self._generator).mul_(self._STRIDE)
        for block, start in zip(blocks, starts.tolist(), strict=True):
            block.copy_(self._bank[start : start + len(block)])
        return out
