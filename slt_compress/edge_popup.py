"""`edge-popup`: every weight has a score, and the highest scores make the network (Ramanujan et al. 2020).

arXiv:1911.13299. What is taken from the paper's text and what from its published code (allenai/hidden-networks) is
said at the settings.
"""

from dataclasses import asdict, dataclass
from math import cos, pi
from typing import Any

import torch
from torch import nn

from slt_compress.network import FlatNetwork
from slt_compress.ranking import best_of_layers, best_of_network, layer_counts, searched_count, threshold


@dataclass(frozen=True)
class EdgePopupSettings:
    """The default was chosen on validation pictures, see docs/methods.md."""

    scope: str = "global"  # the highest scores of the whole "global" network, or of each "layer"
    optimiser: str = "adam"
    learning_rate: float = 3e-3  # falling to 0 along half a cosine
    momentum: float = 0.0  # of sgd
    weight_decay: float = 0.0  # of sgd, on the scores
    target_start: float = 0.5  # the share of weights chosen falls linearly from here …
    target_until: float = 0.35  # … to the asked one, at this fraction of the run; 0: it is the asked one throughout


# The published recipe: top scores of each layer, SGD with momentum 0.9, weight decay 1e-4 and learning rate 0.1 along
# a cosine. These are the numbers of the code's configurations for MNIST and CIFAR-10.
PAPER = EdgePopupSettings(
    scope="layer", optimiser="sgd", learning_rate=0.1, momentum=0.9, weight_decay=1e-4, target_until=0.0
)


class EdgePopup:
    """The top |s| of each layer, or of the whole network, have gate 1 and all others 0.

    The gradient passes straight through the choice: d loss/d |s| = d loss/d z = w·d loss/d(w·z). The magnitude is the
    code's; in the paper's text the scores themselves are ranked. Scores start uniform in ±1/√fan-in, as the code's do
    (`kaiming_uniform_` with a = √5). By default the choice begins with half of the weights: ranked over the whole
    network, such scores would leave the layers of many inputs without a weight, and the network without a gradient.
    """

    def __init__(
        self,
        network: FlatNetwork,
        density: float,
        steps: int,
        generator: torch.Generator,
        settings: EdgePopupSettings,
    ) -> None:
        self._network = network
        self._density = density
        self._steps = steps
        self._generator = generator
        self._settings = settings
        layered = settings.scope == "layer"
        self._counts = layer_counts(network, density) if layered else [searched_count(network, density)]
        self._free = [int(part.sum()) for part in self._scopes(network.free)]
        self._step = 0
        scores = torch.rand(network.weights.shape, generator=generator, device=network.weights.device).mul_(2).sub_(1)
        for slot, part in zip(network.slots, network.split(scores), strict=True):
            part /= (slot.size // slot.shape[0]) ** 0.5
        # Padding and frozen gates rank last and, without gradient, stay there.
        self.parameter: nn.Parameter = nn.Parameter(scores * network.free)

    def settings(self) -> dict[str, Any]:
        return asdict(self._settings)

    def optimiser(self) -> torch.optim.Optimizer:
        s = self._settings
        if s.optimiser == "sgd":
            return torch.optim.SGD([self.parameter], momentum=s.momentum, weight_decay=s.weight_decay, fused=True)
        return torch.optim.Adam([self.parameter], fused=True)

    def learning_rate(self, step: int) -> float:
        return self._settings.learning_rate * 0.5 * (1 + cos(pi * step / self._steps))

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

    def mask(self) -> torch.Tensor:
        best = best_of_layers if self._settings.scope == "layer" else best_of_network
        return best(self._network, self.parameter.detach().abs(), self._density, self._generator)

    def _scopes(self, flat: torch.Tensor) -> list[torch.Tensor]:
        """Return the parts of a flat tensor that are ranked on their own, as views."""
        return list(self._network.split(flat)) if self._settings.scope == "layer" else [flat]

    def _choose(self, magnitudes: torch.Tensor) -> torch.Tensor:
        """Replace the highest magnitudes and those equal to the last of them by 1, others by 0; return the tensor."""
        s = self._settings
        arrived = min(1.0, self._step / (s.target_until * self._steps)) if s.target_until else 1.0
        for part, free, count in zip(self._scopes(magnitudes), self._free, self._counts, strict=True):
            excess = max(0.0, s.target_start * free - count) * (1 - arrived)
            torch.ge(part, threshold(part, count + round(excess)), out=part)
        return magnitudes
