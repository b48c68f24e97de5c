"""`edge-popup`: every weight has a score, and the highest scores make the network (Ramanujan et al. 2020).

arXiv:1911.13299. What is taken from the paper's text and what from its published code (allenai/hidden-networks) is
said at the settings.
"""

from dataclasses import dataclass, replace
from math import cos, pi

import torch
from torch import nn

from slt_compress.masking.gates import Gates
from slt_compress.masking.topk import Scope
from slt_compress.methods.base import GLOBAL, Method, Target


@dataclass(frozen=True)
class EdgePopupSettings:
    """Fractions are of the whole run. The default was chosen on held-out images, see docs/methods.md."""

    scope: str = GLOBAL  # the highest scores of the whole "global" network, or of each "layer"
    optimiser: str = "adam"
    learning_rate: float | None = None  # falling to 0 along half a cosine; None: 3e-3, and 1e-3 for transformers
    momentum: float = 0.0  # of sgd
    weight_decay: float = 0.0  # of sgd, on the scores
    target_start: float = 0.5  # the share of weights chosen falls linearly from here …
    target_until: float = 0.35  # … to the final one, at this fraction of the run; 0: it is the final one throughout


class EdgePopup(Method):
    """The top |s| of each layer, or of the whole network, have gate 1 and all others 0.

    The gradient passes straight through the choice: d loss/d |s| = d loss/d z = w·d loss/d(w·z). The magnitude is the
    code's; in the paper's text the scores themselves are ranked. Scores start uniform in ±1/√fan-in, as the code's do
    (`kaiming_uniform_` with a = √5). By default the choice begins with half of the weights: ranked over the whole
    network, such scores would leave the layers of many inputs without a weight, and the network without a gradient.
    """

    Settings = EdgePopupSettings
    LEAD = 0.1  # a magnitude, and more than any score has at first, but in the smallest layers

    def __init__(self, network: Gates, target: Target, settings: EdgePopupSettings) -> None:
        if settings.learning_rate is None:
            settings = replace(settings, learning_rate=1e-3 if network.has_branches else 3e-3)
        super().__init__(network, target, settings)
        self._step = 0
        uniform = torch.rand(network.weights.shape, generator=target.generator, device=network.weights.device)
        scores = uniform.mul_(2).sub_(1)
        for slot, part in zip(network.slots, network.split(scores), strict=True):
            part /= (slot.size // slot.shape[0]) ** 0.5
        # Padding and fixed gates rank last and, without gradient, stay there.
        self.parameter: nn.Parameter = nn.Parameter(scores * network.searchable)

    @torch.no_grad()
    def start_from(self, mask: torch.Tensor) -> None:
        self.parameter.add_(self.parameter.sign().mul_(self.LEAD).masked_fill_(~(mask & self._network.searchable), 0))

    def optimiser(self) -> torch.optim.Optimizer:
        s = self._settings
        if s.optimiser == "sgd":
            return torch.optim.SGD([self.parameter], momentum=s.momentum, weight_decay=s.weight_decay, fused=True)
        return super().optimiser()

    def learning_rate(self, step: int) -> float:
        return float(self._settings.learning_rate * 0.5 * (1 + cos(pi * step / self._target.steps)))

    @torch.no_grad()
    def gate(self, step: int) -> torch.Tensor:
        self._step = step
        return self._choose(torch.abs(self.parameter, out=self._network.effective))

    @torch.no_grad()
    def backward(self, step: int) -> None:  # noqa: ARG002
        for gradient, scores in self._network.blocks(self._network.gate_gradient(), self.parameter):
            gradient.mul_(scores.sign())

    def hard_gate(self) -> torch.Tensor:
        return self._choose(self.parameter.detach().abs()) > 0

    def _scores(self) -> torch.Tensor:
        return self.parameter.detach().abs()

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {**super().state_dict(), "step": torch.tensor(self._step)}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        super().load_state_dict(state)
        self._step = int(state["step"])

    def _choose(self, magnitudes: torch.Tensor) -> torch.Tensor:
        """Replace the highest magnitudes and those equal to the last of them by 1, others by 0; return the tensor."""
        s = self._settings
        arrived = min(1.0, self._step / (s.target_until * self._target.steps)) if s.target_until else 1.0

        def wanted(scope: Scope) -> int:
            excess: float = max(0.0, s.target_start * scope.searchable - scope.count) * (1 - arrived)
            return scope.count + round(excess)

        torch.ge(magnitudes, self._ranking.thresholds(magnitudes, wanted), out=magnitudes)
        return magnitudes
