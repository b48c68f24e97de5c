"""`continuous-sparsification`: a sigmoid gate that hardens as its slope grows (Savarese et al. 2020).

arXiv:1912.04427, here with frozen weights. The published method pays for every gate and leaves the sparsity to the
price and to the initial score; ours moves the middle of the sigmoid to the score that gives the target density.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from slt_compress.masking.gates import Gates
from slt_compress.masking.topk import scopes, thresholds
from slt_compress.methods.base import GLOBAL, LAYER, LOWEST, Method, Target, ramp


@dataclass(frozen=True)
class ContinuousSparsificationSettings:
    """Fractions are of the whole run. The default was chosen on validation images, see docs/methods.md."""

    scope: str = GLOBAL  # one middle for the whole network, or one for each layer
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
    target_until: float = 0.35  # … to the final one


class ContinuousSparsification(Method):
    """z = sigmoid(β·(s - θ)), without noise; β grows exponentially, so that the gate becomes a step at θ.

    As published, θ = 0 and loss += λ·Σ z. Steered, θ is at every step the score that as many scores reach as the
    target density wants gates open, and λ = 0: no score gains by all of them growing, only by passing others.
    """

    Settings = ContinuousSparsificationSettings
    ADDED: ClassVar = {"scope": GLOBAL}

    def __init__(self, network: Gates, target: Target, settings: ContinuousSparsificationSettings) -> None:
        super().__init__(network, target, settings)
        self._scopes = scopes(network, target.density, layered=settings.scope == LAYER)
        scores = self._noise().mul_(settings.initial_spread).add_(settings.initial_score)
        # Padding and fixed gates rank last and, without gradient, stay there.
        self.parameter: nn.Parameter = nn.Parameter(scores.masked_fill_(~network.searchable, LOWEST))
        self._middle = torch.zeros((), device=network.weights.device)  # θ

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "drops": list(self._settings.drops)}

    def optimiser(self) -> torch.optim.Optimizer:
        s = self._settings
        if s.optimiser == "sgd":
            return torch.optim.SGD([self.parameter], momentum=s.momentum, fused=True)
        return super().optimiser()

    def learning_rate(self, step: int) -> float:
        s, progress = self._settings, step / self._target.steps
        if s.drops:
            return float(s.learning_rate * 0.1 ** sum(progress >= drop for drop in s.drops))
        return float(s.learning_rate * (1 - progress))

    @torch.no_grad()
    def gate(self, step: int) -> torch.Tensor:
        s = self._settings
        if s.steered:
            arrived = ramp(step / self._target.steps, 0, s.target_until)
            counts = [scope.on_the_way(s.target_start, arrived) for scope in self._scopes]
            self._middle = thresholds(self.parameter.detach(), self._scopes, counts)
        gate = torch.sub(self.parameter, self._middle, out=self._network.effective)
        return gate.mul_(self._slope(step)).sigmoid_()

    @torch.no_grad()
    def backward(self, step: int) -> None:
        slope = self._slope(step)
        middles = self._middle.expand_as(self.parameter)
        for gradient, scores, middle in self._network.blocks(self._network.gate_gradient(), self.parameter, middles):
            gate = scores.sub(middle).mul_(slope).sigmoid_()
            gradient.add_(self._settings.penalty).mul_(gate).mul_(1 - gate).mul_(slope)

    def hard_gate(self) -> torch.Tensor:
        return self.parameter.detach() >= self._middle

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {**super().state_dict(), "middle": self._middle}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        super().load_state_dict(state)
        self._middle = state["middle"].to(self._middle.device)

    def _slope(self, step: int) -> float:
        s = self._settings
        return float(s.slope_start * (s.slope_end / s.slope_start) ** (step / self._target.steps))
