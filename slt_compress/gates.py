"""Methods that find the mask: what is optimised, how it gates a weight, what it costs, and the hard mask at the end.

Every method works on one flat tensor over all gated weights (see `network`). Adding one means a class with the members
of `Method` and a line in `METHODS`.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import nn

from slt_compress import seeding
from slt_compress.network import FlatNetwork


class Method(Protocol):
    """A search method, made for one network, one density (share of kept weights) and one number of steps."""

    parameter: nn.Parameter  # flat: the only thing that is optimised

    def settings(self) -> dict[str, Any]:
        """Return the hyper-parameters, for the ticket."""

    def learning_rate(self, step: int) -> float: ...

    def gate(self, step: int) -> torch.Tensor:
        """Return z in [0, 1], flat, differentiable with respect to `parameter`."""

    def penalty(self, step: int) -> torch.Tensor:
        """Return what is added to the loss, a scalar."""

    def after_step(self, step: int) -> None:
        """Bring `parameter` back into its domain after the optimiser has moved it."""

    def hard_gate(self) -> torch.Tensor:
        """Return the present 0/1 gate, flat bool, at whatever density the search has reached."""

    def mask(self, momentum: torch.Tensor) -> torch.Tensor:
        """Return the final mask, flat bool, with exactly the asked number of ones.

        `momentum` is the optimiser's running mean of the gradient, flat; it ranks gates that share a value.
        """


def kept_count(size: int, density: float) -> int:
    """Return how many of `size` weights a mask of this density keeps, at least one."""
    return min(size, max(1, round(size * density)))


@dataclass(frozen=True)
class CrbgSettings:
    """Fractions are of the whole run; values were chosen on validation data of MNIST, see docs/methods.md."""

    learning_rate: float = 3e-2  # of Adam, falling linearly to 0
    initial_mean: float = 0.5
    initial_spread: float = 0.01  # standard deviation of the initial means
    sigma_start: float = 0.1
    sigma_end: float = 0.02  # reached exponentially from `anneal_from` to the end
    slope_end: float = 10.0  # likewise, from 1
    anneal_from: float = 0.3
    target_from: float = 0.1  # the target density falls linearly from 1 …
    target_until: float = 0.35  # … to the asked one
    gain: float = 280.0  # of the multiplier λ, divided by the number of steps
    gain_until: float = 0.9  # then λ is held
    quadratic: float = 10.0  # weight of the squared excess density
    polarisation: float = 10.0  # weight of mean z(1-z), rising linearly from `polarise_from` to the end
    polarise_from: float = 0.5
    lowest_mean: float = -0.25  # means are clamped to [lowest, highest]
    highest_mean: float = 1.0


class Crbg:
    """Continuously relaxed Bernoulli gates: z = clip(k·(μ - ½) + ½ + σ·ε, 0, 1) with ε ~ N(0, 1).

    The gate is that of Tsayag & Lindenbaum (arXiv:2603.08914), after the stochastic gates of Yamada et al. (2020), with
    a slope k. Sparsity is not bought with a fixed λ·ΣΦ(μ/σ), whose gradient vanishes for open gates, but set by a
    constraint on the mean gate d ≤ t with a multiplier that follows the error:

        loss += λ·(d - t) + q·(d - t)²       λ += gain·(d - t) after each step

    While t falls to the asked density only excess counts; afterwards the constraint is an equality. Meanwhile σ falls,
    the slope rises and a polarisation term drives every gate to 0 or 1, so that the soft network becomes the hard one
    before the search ends and hardening costs next to nothing.
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
        self._settings = s = CrbgSettings(
            **({} if learning_rate is None else {"learning_rate": learning_rate})
        )
        self._density = density
        self._steps = steps
        self._generator = generator
        device = network.weights.device
        noise = torch.randn(network.weights.shape, generator=generator, device=device)
        means = noise.mul_(s.initial_spread).add_(s.initial_mean)
        means[network.weights == 0] = s.lowest_mean  # padding never opens
        self.parameter: nn.Parameter = nn.Parameter(means)
        self._multiplier = torch.zeros((), device=device)
        self._excess = torch.zeros((), device=device)

    def settings(self) -> dict[str, Any]:
        return asdict(self._settings)

    def learning_rate(self, step: int) -> float:
        return self._settings.learning_rate * (1 - step / self._steps)

    def gate(self, step: int) -> torch.Tensor:
        s = self._settings
        sigma = s.sigma_start * (s.sigma_end / s.sigma_start) ** self._annealed(step)
        noise = torch.randn(self.parameter.shape, generator=self._generator, device=self.parameter.device)
        return (self._centre(step) + noise.mul_(sigma)).clamp(0, 1)

    def penalty(self, step: int) -> torch.Tensor:
        s = self._settings
        progress = step / self._steps
        centre = self._centre(step).clamp(0, 1)
        ramp = _ramp(progress, s.target_from, s.target_until)
        excess = centre.sum() / self._network.size - (1 - (1 - self._density) * ramp)
        counted = excess if ramp == 1 else excess.clamp(min=0)
        polarise = s.polarisation * _ramp(progress, s.polarise_from, 1)
        undecided = (centre * (1 - centre)).sum() / self._network.size
        self._excess = excess.detach()
        return self._multiplier * excess + s.quadratic * counted.square() + polarise * undecided

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        s = self._settings
        self.parameter.clamp_(s.lowest_mean, s.highest_mean)
        progress = step / self._steps
        if progress < s.gain_until:
            self._multiplier += s.gain / self._steps * self._excess
            if progress < s.target_until:
                self._multiplier.clamp_(min=0)

    def hard_gate(self) -> torch.Tensor:
        return self.parameter.detach() > 0.5

    def mask(self, momentum: torch.Tensor) -> torch.Tensor:
        """Keep the largest means. Gates at the clamps tie in great numbers: among equals those are kept that the
        running gradient most wants to open."""
        score = self.parameter.detach().double()
        strongest = momentum.abs().max().clamp(min=torch.finfo(momentum.dtype).tiny)
        score -= 1e-3 * momentum.double() / strongest
        return _best(self._network, score, self._density)

    def _annealed(self, step: int) -> float:
        return _ramp(step / self._steps, self._settings.anneal_from, 1)

    def _centre(self, step: int) -> torch.Tensor:
        slope = self._settings.slope_end ** self._annealed(step)
        return slope * (self.parameter - 0.5) + 0.5


def random_mask(network: FlatNetwork, density: float, seed: int) -> torch.Tensor:
    """Return the control every claim needs: a flat bool mask from the seed, with the asked density in every tensor."""
    mask = torch.zeros(network.weights.shape, dtype=torch.bool)
    for slot, part in zip(network.slots, network.split(mask), strict=True):
        kept = kept_count(slot.size, density)
        part.copy_(torch.from_numpy(seeding.random_mask(seed, slot.name, slot.size, kept)))
    return mask.to(network.weights.device)


METHODS: dict[str, Callable[[FlatNetwork, float, int, torch.Generator, float | None], Method]] = {
    "crbg": Crbg
}
METHOD_NAMES = (*METHODS, "random")


def _best(network: FlatNetwork, score: torch.Tensor, density: float) -> torch.Tensor:
    """Return the mask of the highest scores in the whole network, with at least one weight kept in every tensor."""
    score = score.masked_fill(network.weights == 0, -torch.inf)  # padding
    for part in network.split(score):
        part[part.argmax()] = torch.inf
    mask = torch.zeros(score.shape, dtype=torch.bool, device=score.device)
    mask[score.topk(max(len(network.slots), kept_count(network.size, density))).indices] = True
    return mask


def _ramp(progress: float, start: float, end: float) -> float:
    """Return 0 before `start`, 1 after `end`, linear between."""
    return min(1.0, max(0.0, (progress - start) / (end - start)))
