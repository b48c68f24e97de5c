"""`continuous-sparsification`: a sigmoid gate that hardens as its slope grows (Savarese et al. 2020).

arXiv:1912.04427, here with frozen weights. The published method pays for every gate and leaves the sparsity to the
price and to the initial score; ours moves the middle of the sigmoid to where the asked density is.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from slt_compress.gates import ramp
from slt_compress.network import FlatNetwork
from slt_compress.ranking import best_of_network, searched_count, threshold

_LOWEST = -1e6  # a score far below all others, whose gate is 0 at any slope


@dataclass(frozen=True)
class ContinuousSparsificationSettings:
    """Fractions are of the whole run. The default was chosen on validation pictures, see docs/methods.md."""

    optimiser: str = "adam"
    learning_rate: float = 3e-2
    momentum: float = 0.0  # of sgd
    drops: tuple[float, ...] = ()  # the learning rate is divided by 10 here; without drops it falls linearly to 0
    initial_score: float = 0.0
    initial_spread: float = 0.01  # standard deviation of the initial scores
    slope_start: float = 5.0
    slope_end: float = 50.0  # reached exponentially at the end
    penalty: float = 0.0  # λ, for every gate
    steered: bool = True
    target_start: float = 0.5  # the target density falls linearly from here …
    target_until: float = 0.35  # … to the asked one


# The published recipe: SGD with momentum 0.9 and learning rate 0.1 without weight decay on the scores, divided by 10
# after 56 and 71 of 85 epochs, λ = 1e-8, slope 1 to 200, all scores 0 (the paper's ResNet-18 on CIFAR-10 and its code).
# Its factor 1/sigmoid(0) on every weight is left out: the constant of the initialiser stands for it.
PAPER = ContinuousSparsificationSettings(
    optimiser="sgd",
    learning_rate=0.1,
    momentum=0.9,
    drops=(56 / 85, 71 / 85),
    initial_score=0.0,
    initial_spread=0.0,
    slope_start=1.0,
    slope_end=200.0,
    penalty=1e-8,
    steered=False,
)


class ContinuousSparsification:
    """z = sigmoid(β·(s - θ)), without noise; β grows exponentially, so that the gate becomes a step at θ.

    As published, θ = 0 and loss += λ·Σ z. Steered, θ is at every step the score that as many scores reach as the
    target density wants gates open, and λ = 0: no score gains by all of them growing, only by passing others.
    """

    def __init__(
        self,
        network: FlatNetwork,
        density: float,
        steps: int,
        generator: torch.Generator,
        settings: ContinuousSparsificationSettings,
    ) -> None:
        self._network = network
        self._asked = density
        self._density = searched_count(network, density) / network.free_count  # of the gates that are searched
        self._steps = steps
        self._generator = generator
        self._settings = settings
        noise = torch.randn(network.weights.shape, generator=generator, device=network.weights.device)
        scores = noise.mul_(settings.initial_spread).add_(settings.initial_score)
        # Padding and frozen gates rank last and, without gradient, stay there.
        self.parameter: nn.Parameter = nn.Parameter(scores.masked_fill_(~network.free, _LOWEST))
        self._middle = torch.zeros((), device=network.weights.device)  # θ

    def settings(self) -> dict[str, Any]:
        return {**asdict(self._settings), "drops": list(self._settings.drops)}

    def optimiser(self) -> torch.optim.Optimizer:
        s = self._settings
        if s.optimiser == "sgd":
            return torch.optim.SGD([self.parameter], momentum=s.momentum, fused=True)
        return torch.optim.Adam([self.parameter], fused=True)

    def learning_rate(self, step: int) -> float:
        s, progress = self._settings, step / self._steps
        if s.drops:
            return s.learning_rate * 0.1 ** sum(progress >= drop for drop in s.drops)
        return s.learning_rate * (1 - progress)

    @torch.no_grad()
    def gate(self, step: int) -> torch.Tensor:
        s = self._settings
        if s.steered:
            target = s.target_start + (self._density - s.target_start) * ramp(step / self._steps, 0, s.target_until)
            count = max(1, round(target * self._network.free_count))
            self._middle = threshold(self.parameter.detach(), count)
        gate = torch.sub(self.parameter, self._middle, out=self._network.effective)
        return gate.mul_(self._slope(step)).sigmoid_()

    @torch.no_grad()
    def backward(self, step: int) -> None:
        slope = self._slope(step)
        for gradient, scores in self._network.blocks(self._network.gate_gradient(), self.parameter):
            gate = scores.sub(self._middle).mul_(slope).sigmoid_()
            gradient.add_(self._settings.penalty).mul_(gate).mul_(1 - gate).mul_(slope)

    def hard_gate(self) -> torch.Tensor:
        return self.parameter.detach() >= self._middle

    def mask(self) -> torch.Tensor:
        return best_of_network(self._network, self.parameter.detach(), self._asked, self._generator)

    def _slope(self, step: int) -> float:
        s = self._settings
        return float(s.slope_start * (s.slope_end / s.slope_start) ** (step / self._steps))
