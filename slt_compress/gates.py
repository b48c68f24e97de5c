"""What a method is: what is optimised, how it gates a weight, what it costs, and the hard mask at the end. And `crbg`.

Every method works on one flat tensor over all gated weights (see `network`). Adding one means a class with the members
of `Method` and a line in `methods`.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import nn

from slt_compress.network import FlatNetwork
from slt_compress.ranking import best_of_network, searched_count, threshold

_LOWEST = -1e6  # a mean far below all others, whose gate is 0 at any slope


class Method(Protocol):
    """A search method, made for one network, one density (share of kept weights) and one number of steps.

    What changes from step to step is in attributes that are tensors or numbers; checkpoints store those.
    """

    parameter: nn.Parameter  # flat: the only thing that is optimised

    def settings(self) -> dict[str, Any]:
        """Return the hyper-parameters, for the ticket."""

    def optimiser(self) -> torch.optim.Optimizer:
        """Return what moves `parameter`; called once."""

    def learning_rate(self, step: int) -> float: ...

    def gate(self, step: int) -> torch.Tensor:
        """Return z in [0, 1], flat, without a gradient; it may be the network's buffer of effective weights."""

    def backward(self, step: int) -> None:
        """Turn the network's gradient, d loss/d (w·z) at this gate, into that of `parameter`, in place.

        What the method itself adds to the loss is included.
        """

    def hard_gate(self) -> torch.Tensor:
        """Return the present 0/1 gate, flat bool, at whatever density the search has reached; any for frozen gates."""

    def mask(self) -> torch.Tensor:
        """Return the final mask, flat bool, with exactly the asked number of ones, the locked ones among them."""


@dataclass(frozen=True)
class CrbgSettings:
    """Fractions are of the whole run; values were chosen on held-out training pictures, see docs/methods.md."""

    learning_rate: float = 3e-2  # of Adam, falling linearly to 0
    initial_spread: float = 0.01  # standard deviation of the initial means
    sigma_start: float = 0.1
    sigma_end: float = 0.02  # reached exponentially from `anneal_from` to `anneal_until`
    slope_end: float = 20.0  # likewise, from 1
    anneal_from: float = 0.1
    anneal_until: float = 0.6
    hard_slope: float = 100.0  # reached exponentially from `harden_from` to the end
    harden_from: float = 0.9
    target_start: float = 0.9  # the target density falls linearly from here (or from the asked one, if higher) …
    target_from: float = 0.05
    target_until: float = 0.35  # … to the asked one
    below: float = 0.75  # means are clamped to [τ - below, τ + above]
    above: float = 0.5
    saturated: float = 0.5  # share of the gradient that a gate of 0 or 1 gets
    force: float = 0.15  # the price of a gate, in units of the network's gradient, for each e-fold below half density
    force_steps: float = 2_000  # the number of steps that the force is made for; it falls as the root of more
    gradient_scale: float = 25.0  # root mean square gradient, times the number of gates, that the force is made for
    gradient_memory: float = 0.95  # of its running mean


class Crbg:
    """Continuously relaxed Bernoulli gates: z = clip(c + σ·ε, 0, 1) with c = k·(μ - τ) + ½ and ε ~ N(0, 1).

    The gate is that of Tsayag & Lindenbaum (arXiv:2603.08914), after the stochastic gates of Yamada et al. (2020), with
    a slope k and a threshold τ that moves. Sparsity is not bought with a fixed λ·ΣΦ(μ/σ), whose gradient vanishes for
    open gates: before every step τ is set where exactly the target number of means of the whole network lies at or
    above it. The target falls from nine gates in ten to the asked density, and the last ranking has nothing left to
    settle.

    The same small force acts on every mean, loss += F·u·mean c, where u follows the size of the gradient that the loss
    itself sends to a gate: per gate it is thirty to four hundred times larger in a ResNet-18 than in a LeNet. As τ
    follows, the force does not set the density. It sets who competes: Adam moves every mean alike, however little the
    loss cares for it, and the force lets those fall whose gradient is weak beside that of others. The layers with the
    strongest gradients, small ones at either end of a network most of all, then keep the most weights. With half of the
    weights kept that would leave these layers nothing to choose, so F = f·log(½ / density), and 0 above half. What a
    force moves grows with the number of steps, what noisy gradients move with its root, so f falls as 1/√steps.

    Meanwhile σ falls and the slope rises, until only gates next to τ are neither 0 nor 1: for the last part of the
    search the soft network is nearly the hard one, and at its very end, when the slope rises once more, quite. Means
    are held within reach of τ, and a gate of 0 or 1, where the clip has no gradient, still gets half of what it would
    get between: gates go on changing places to the end, and what the loss has opened or closed can come back.
    """

    def __init__(
        self,
        network: FlatNetwork,
        density: float,
        steps: int,
        generator: torch.Generator,
        learning_rate: float | None = None,
    ) -> None:
        self._network = network
        self._settings = s = CrbgSettings(**({} if learning_rate is None else {"learning_rate": learning_rate}))
        self._asked = density
        self._density = max(1, searched_count(network, density)) / network.free_count  # of the searched gates
        self._steps = steps
        self._generator = generator
        device = network.weights.device
        noise = torch.randn(network.weights.shape, generator=generator, device=device)
        self.parameter: nn.Parameter = nn.Parameter(noise.mul_(s.initial_spread))
        self._hold_closed()
        self._noise = Noise(generator, network.weights)
        self._threshold = torch.zeros((), device=device)  # τ
        self._unit = torch.zeros((), device=device)  # u
        self._force = s.force * math.sqrt(s.force_steps / steps) * max(0.0, math.log(0.5 / self._density))  # F

    def settings(self) -> dict[str, Any]:
        return asdict(self._settings)

    def optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.Adam([self.parameter], fused=True)

    def learning_rate(self, step: int) -> float:
        return self._settings.learning_rate * (1 - step / self._steps)

    @torch.no_grad()
    def gate(self, step: int) -> torch.Tensor:
        s = self._settings
        self._settle(step)
        slope = self._slope(step)
        sigma = s.sigma_start * (s.sigma_end / s.sigma_start) ** self._annealed(step)
        gate = self._noise.fill(self._network.effective).mul_(sigma)
        gate.add_(0.5 - slope * self._threshold).add_(self.parameter, alpha=slope).clamp_(0, 1)
        self._network.remember_saturated(gate)
        return gate

    @torch.no_grad()
    def backward(self, step: int) -> None:
        s, count = self._settings, self._network.free_count
        gradient = self._network.gate_gradient()
        memory = s.gradient_memory if step else 0.0
        self._unit = memory * self._unit + (1 - memory) * gradient.norm() * count**0.5 / s.gradient_scale
        self._network.damp_saturated(s.saturated)
        gradient.add_(self._force * self._unit / count).mul_(self._slope(step))
        gradient.index_fill_(0, self._network.closed, 0)

    def hard_gate(self) -> torch.Tensor:
        return self.parameter.detach() >= self._threshold

    def mask(self) -> torch.Tensor:
        return best_of_network(self._network, self.parameter.detach(), self._asked, self._generator)

    def _settle(self, step: int) -> None:
        """Set τ to the mean that exactly the target number of means reach, and bring all means within reach of it."""
        s = self._settings
        start = max(s.target_start, self._density)
        target = start + (self._density - start) * ramp(step / self._steps, s.target_from, s.target_until)
        self._threshold = threshold(self.parameter.detach(), max(1, round(target * self._network.free_count)))
        means = self.parameter.detach()
        torch.maximum(means, self._threshold - s.below, out=means)  # a clamp between tensors takes four times as long
        torch.minimum(means, self._threshold + s.above, out=means)
        self._hold_closed()

    def _hold_closed(self) -> None:
        """Rank what the seed has frozen, and the padding, last."""
        self.parameter.detach().index_fill_(0, self._network.closed, _LOWEST)

    def _slope(self, step: int) -> float:
        s = self._settings
        hardened = (s.hard_slope / s.slope_end) ** ramp(step / self._steps, s.harden_from, 1)
        return float(s.slope_end ** self._annealed(step) * hardened)

    def _annealed(self, step: int) -> float:
        return ramp(step / self._steps, self._settings.anneal_from, self._settings.anneal_until)


class Noise:
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


def ramp(progress: float, start: float, end: float) -> float:
    """Return 0 before `start`, 1 after `end`, linear between."""
    return min(1.0, max(0.0, (progress - start) / (end - start)))
