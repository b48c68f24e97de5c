"""`crbg`: continuously relaxed Bernoulli gates around a threshold that moves to the target density.

docs/methods.md tells what was tried before. The published form, with a fixed price for every gate, is `crbg_paper`.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from slt_compress.masking.gates import Gates, Kind
from slt_compress.masking.topk import Scope
from slt_compress.methods.base import GLOBAL, LOWEST, Method, Target, ramp

SMALL_END = 0.02  # of all gates of weights: as many as a small tensor has at most


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
    few_slope: float = 25.0  # times the slope, for gates of neurons alone
    few_start: float = 0.5  # instead of `target_start`, where neurons have gates
    early_slope: float = 2.5  # times the slope, for gates of neurons where weights have gates too …
    early_spread: float = 3.0  # … instead of `initial_spread` …
    early_until: float = 0.2  # … and by when they are chosen
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
    head_start: float = 0.0  # how far the means of small end tensors are ahead at the beginning


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

    The gates of neurons are few, and each counts: a gate that is half open at the end would be a neuron too many or too
    few. So their slope is far steeper from the beginning, next to a step, and fewer of them are open at first. Where
    weights have gates too, a neuron that closes takes its weights out of the search, and one that comes back finds
    weights that have learnt nothing. So neurons are chosen early there: their gates have no noise, their means begin
    far apart, and after a fifth of the run they stay.

    The gates harden on the way. σ falls and the slope rises, until only gates close to τ are neither 0 nor 1; in the
    last tenth of the search the slope rises once more. So the soft network becomes the hard one, and little is lost at
    the end. Means are clamped near τ, and a gate at 0 or 1, where the clip has no gradient, still gets half of the
    gradient: gates can change until the end.

    With a head start, the first and the last tensor of weights, where they are small, keep nearly all of theirs: their
    means begin ahead of the others, and no force is on them. They cost few bytes, and all that the network sees or says
    passes through them.
    """

    Settings = CrbgSettings
    ADDED: ClassVar = {
        "scope": GLOBAL,
        "few_slope": CrbgSettings.few_slope,
        "few_start": CrbgSettings.few_start,
        "early_slope": CrbgSettings.early_slope,
        "early_spread": CrbgSettings.early_spread,
        "early_until": CrbgSettings.early_until,
        "head_start": CrbgSettings.head_start,
    }

    def __init__(self, network: Gates, target: Target, settings: CrbgSettings) -> None:
        super().__init__(network, target, settings)
        s = settings
        device = network.weights.device
        self.parameter: nn.Parameter = nn.Parameter(self._noise().mul_(s.initial_spread))
        kinds = network.kinds()
        self._early = [kind for kind in kinds if kind.few and len(kinds) > 1]  # neurons, beside gates of weights
        for kind in self._early:
            self.parameter.detach()[kind.start : kind.end] *= s.early_spread / s.initial_spread
        self._ends = self._small_ends() if s.head_start else []
        for end in self._ends:
            self.parameter.detach()[end] += s.head_start
        self._rank_unsearchable_last()
        self._bank = NoiseBank(target.generator, network.weights)
        self._threshold = self._ranking.thresholds(self.parameter.detach(), lambda scope: scope.count)  # τ
        self._unit = torch.zeros(len(network.kinds()), device=device)  # u
        self._forces = self._forces_now()  # F

    def learning_rate(self, step: int) -> float:
        return float(self._settings.learning_rate * (1 - step / self._target.steps))

    @torch.no_grad()
    def gate(self, step: int) -> torch.Tensor:
        s = self._settings
        self._settle(step)
        sigma = s.sigma_start * (s.sigma_end / s.sigma_start) ** self._annealed(step)
        gate = self._bank.fill(self._network.effective).mul_(sigma)
        thresholds = self._threshold.expand(gate.shape)
        for kind in self._network.kinds():
            slope, part = self._slope(step, kind), slice(kind.start, kind.end)
            if kind in self._early:
                gate[part] = 0
            gate[part].add_(0.5 - slope * thresholds[part]).add_(self.parameter[part], alpha=slope).clamp_(0, 1)
        self._network.remember_saturated(gate)
        return gate

    @torch.no_grad()
    def backward(self, step: int) -> None:
        s = self._settings
        gradient = self._network.gate_gradient()
        memory = s.gradient_memory if step else 0.0
        kinds = self._network.kinds()
        sizes = [gradient[kind.start : kind.end].norm() * kind.searchable**0.5 for kind in kinds]
        self._unit = memory * self._unit + (1 - memory) * torch.stack(sizes) / s.gradient_scale
        self._network.damp_saturated(s.saturated)
        for kind, unit, force in zip(kinds, self._unit, self._forces, strict=True):
            part, price = gradient[kind.start : kind.end], force * unit / kind.searchable
            part.add_(price)
            for end in self._ends if not kind.few else []:
                gradient[end] -= price
            part.mul_(self._slope(step, kind))
        gradient.index_fill_(0, self._network.not_searchable, 0)

    def hard_gate(self) -> torch.Tensor:
        return self.parameter.detach() >= self._threshold

    def aim(self, density: float) -> None:
        super().aim(density)
        self._forces = self._forces_now()

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {**super().state_dict(), "threshold": self._threshold, "unit": self._unit}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        super().load_state_dict(state)
        device = self._threshold.device
        self._threshold, self._unit = state["threshold"].to(device), state["unit"].to(device)

    def _forces_now(self) -> list[float]:
        force = self._settings.force * math.sqrt(self._settings.force_steps / self._target.steps)
        return [force * max(0.0, math.log(0.5 / density)) for density in self._ranking.densities()]

    def _small_ends(self) -> list[slice]:
        """Return where the first and the last tensor of weights lie, if they are small."""
        few = [range(kind.start, kind.end) for kind in self._network.kinds() if kind.few]
        slots = [slot for slot in self._network.slots if not any(slot.offset in neurons for neurons in few)]
        ends = {slot.offset: slot for slot in (slots[0], slots[-1])} if slots else {}
        most = SMALL_END * sum(slot.size for slot in slots)
        return [slice(slot.offset, slot.offset + slot.size) for slot in ends.values() if slot.size <= most]

    def _settle(self, step: int) -> None:
        """Set τ to the mean that exactly the target number of means reach, and bring all means within reach of it."""
        s = self._settings
        kinds = self._network.kinds()
        beginning = s.few_start if any(kind.few for kind in kinds) else s.target_start

        def wanted(scope: Scope) -> int:
            early = any(kind.start <= scope.start < kind.end for kind in self._early)
            arrived = ramp(step / self._target.steps, s.target_from, s.early_until if early else s.target_until)
            return scope.on_the_way(max(beginning, scope.density), arrived)

        means = self.parameter.detach()
        self._threshold = self._ranking.thresholds(means, wanted)
        thresholds = self._threshold.expand(means.shape)
        for kind in kinds:
            some, middle = means[kind.start : kind.end], thresholds[kind.start : kind.end]
            if kind not in self._early:
                torch.maximum(some, middle - s.below, out=some)  # a clamp between tensors takes four times as long
                torch.minimum(some, middle + s.above, out=some)
            elif step >= s.early_until * self._target.steps:  # too far from τ for a step to move them across
                some.copy_(torch.where(some >= middle, s.early_spread, -s.early_spread))
                middle.zero_()
        self._rank_unsearchable_last()

    def _rank_unsearchable_last(self) -> None:
        """Rank fixed gates, and the padding, last."""
        self.parameter.detach().index_fill_(0, self._network.not_searchable, LOWEST)

    def _slope(self, step: int, kind: Kind) -> float:
        s = self._settings
        hardened = (s.hard_slope / s.slope_end) ** ramp(step / self._target.steps, s.harden_from, 1)
        times = s.early_slope if kind in self._early else s.few_slope if kind.few else 1.0
        return float(s.slope_end ** self._annealed(step) * hardened * times)

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
