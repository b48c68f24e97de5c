"""What a method is: what is optimised, how it gates a weight, what it costs, and the hard mask at the end. And `crbg`.

Every method works on one flat tensor over all gated weights (see `network`). Adding one means a class with the members
of `Method` and a line in `methods`.
"""

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import nn

from slt_compress.network import FlatNetwork
from slt_compress.ranking import best_of_network, searched_count


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
        """Return z in [0, 1], flat, differentiable with respect to `parameter`."""

    def penalty(self, step: int) -> torch.Tensor | None:
        """Return what is added to the loss, a scalar, or None; called after the loss has sent its gradient down."""

    def after_step(self, step: int) -> None:
        """Bring `parameter` back into its domain after the optimiser has moved it."""

    def hard_gate(self) -> torch.Tensor:
        """Return the present 0/1 gate, flat bool, at whatever density the search has reached; any for frozen gates."""

    def mask(self) -> torch.Tensor:
        """Return the final mask, flat bool, with exactly the asked number of ones, the locked ones among them."""


@dataclass(frozen=True)
class CrbgSettings:
    """Fractions are of the whole run; values were chosen on validation pictures of MNIST, see docs/methods.md."""

    learning_rate: float = 3e-2  # of Adam, falling linearly to 0
    initial_mean: float = 0.5
    initial_spread: float = 0.01  # standard deviation of the initial means
    sigma_start: float = 0.1
    sigma_end: float = 0.02  # reached exponentially from `anneal_from` to the end
    slope_end: float = 10.0  # likewise, from 1
    anneal_from: float = 0.3
    lowest_mean: float = -0.25  # means are clamped to [lowest, highest]
    highest_mean: float = 1.0
    target_from: float = 0.1  # the target density falls linearly from 1 …
    target_until: float = 0.35  # … to the asked one
    integral: float = 280.0  # gain of the multiplier per unit of log density, divided by the number of steps
    integral_limit: float = 0.1  # errors beyond it count as this much
    proportional: float = 20.0
    gradient_scale: float = 25.0  # root mean square gradient, times the number of gates, that P, I and ϖ are made for
    gradient_memory: float = 0.95  # of its running mean
    polarisation: float = 10.0  # ϖ, weight of mean c(1-c), rising linearly from `polarise_from` to the end
    polarise_from: float = 0.5


class Crbg:
    """Continuously relaxed Bernoulli gates: z = clip(c + σ·ε, 0, 1) with c = k·(μ - ½) + ½ and ε ~ N(0, 1).

    The gate is that of Tsayag & Lindenbaum (arXiv:2603.08914), after the stochastic gates of Yamada et al. (2020), with
    a slope k. Sparsity is not bought with a fixed λ·ΣΦ(μ/σ), whose gradient vanishes for open gates, but steered: the
    density d = mean clip(c, 0, 1) follows a target t by a force on every mean,

        loss += (λ + P·e)·mean c        e = log(d / t)        λ += I·clip(e) after each step at the asked density

    a proportional-integral controller, where everything added to the loss is measured in units of the gradient that the
    loss itself sends to a gate: per gate it is thirty to four hundred times larger in a ResNet-18 than in a LeNet, and
    a force that closes gates in one is lost in the noise of the other. The error is relative, so that 2 % and 50 %
    density steer alike; the force acts on every gate, also on those that are fully open and pass no gradient, and grows
    with the slope as the gradient of the loss does. The proportional part damps: gates already integrate the force, and
    a multiplier alone, which integrates once more, swings far past the target and cannot come back. For the same reason
    λ rests while the target falls, and large errors count only so much.

    Meanwhile σ falls, the slope rises and a polarisation term drives every gate to 0 or 1, so that the soft network
    becomes the hard one before the search ends. At first a closed gate lies within reach of the noise and may reopen;
    as the slope rises it falls out of reach, and the mask settles at the target.
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
        means = noise.mul_(s.initial_spread).add_(s.initial_mean)
        means[~network.free] = s.lowest_mean  # padding and frozen gates are closed and, without gradient, stay so
        self.parameter: nn.Parameter = nn.Parameter(means)
        self._multiplier = torch.zeros((), device=device)
        self._error = torch.zeros((), device=device)
        self._unit = torch.zeros((), device=device)

    def settings(self) -> dict[str, Any]:
        return asdict(self._settings)

    def optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.Adam([self.parameter], fused=True)

    def learning_rate(self, step: int) -> float:
        return self._settings.learning_rate * (1 - step / self._steps)

    def gate(self, step: int) -> torch.Tensor:
        s = self._settings
        sigma = s.sigma_start * (s.sigma_end / s.sigma_start) ** self._annealed(step)
        noise = torch.randn(self.parameter.shape, generator=self._generator, device=self.parameter.device)
        return (self._centre(step) + noise.mul_(sigma)).clamp(0, 1)

    def penalty(self, step: int) -> torch.Tensor:
        s = self._settings
        centre = self._centre(step)
        relaxed = centre.clamp(0, 1)
        with torch.no_grad():
            gradient = self._network.grad * self._network.weights
            unit = gradient.norm() * self._network.free_count**0.5 / s.gradient_scale
            memory = s.gradient_memory if step else 0.0
            self._unit = memory * self._unit + (1 - memory) * unit
            density = (relaxed.sum() / self._network.free_count).clamp(min=1 / self._network.free_count)
            self._error = torch.log(density / self._target(step))
            force = self._multiplier + s.proportional * self._error
            if step < s.target_until * self._steps:
                force.clamp_(min=0)  # the first gates to close are chosen, not replaced by others pushed open
        polarisation = s.polarisation * ramp(step / self._steps, s.polarise_from, 1)
        undecided = (relaxed * (1 - relaxed)).sum()
        return self._unit * (force * centre.sum() + polarisation * undecided) / self._network.free_count

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        s = self._settings
        self.parameter.clamp_(s.lowest_mean, s.highest_mean)
        if step >= s.target_until * self._steps:
            self._multiplier += s.integral / self._steps * self._error.clamp(-s.integral_limit, s.integral_limit)

    def hard_gate(self) -> torch.Tensor:
        return self.parameter.detach() > 0.5

    def mask(self) -> torch.Tensor:
        """Keep the largest means. Gates at either end of the range tie in great numbers; a draw decides among them.

        A draw spreads what is still to be opened or closed evenly over the layers. Ranking ties by gradient instead
        picks weights of one layer that all do the same, and a ranking by index the first or last layer.
        """
        noise = torch.rand(self.parameter.shape, generator=self._generator, device=self.parameter.device)
        # 1e-4: far below the width of the slope, far above a rounding error.
        return best_of_network(self._network, self.parameter.detach() + 1e-4 * noise, self._asked, self._generator)

    def _annealed(self, step: int) -> float:
        return ramp(step / self._steps, self._settings.anneal_from, 1)

    def _centre(self, step: int) -> torch.Tensor:
        slope = self._settings.slope_end ** self._annealed(step)
        centre: torch.Tensor = slope * (self.parameter - 0.5) + 0.5
        return centre

    def _target(self, step: int) -> float:
        s = self._settings
        return 1 - (1 - self._density) * ramp(step / self._steps, s.target_from, s.target_until)


def ramp(progress: float, start: float, end: float) -> float:
    """Return 0 before `start`, 1 after `end`, linear between."""
    return min(1.0, max(0.0, (progress - start) / (end - start)))
