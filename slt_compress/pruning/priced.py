"""`continuous-sparsification` with trained weights at an asked sparsity: a threshold sets the density, a price layers.

As in a search, every score is compared with the score θ that as many reach as the target density wants gates open. With
trained weights that alone empties layers: Adam moves all scores by about the same amount, however small their
gradients, and those of the last layer, which are pulled up and down by turns, fall behind. A price for every gate, the
λ of the paper (Savarese et al., arXiv:1912.04427), lets a score fall unless the loss pulls it up more strongly:

    d/ds = (d loss/d z + λ) · z(1 - z)β        λ = share · root mean square of d loss/d z over all gates

Since θ follows, the price does not change the density.
"""

from dataclasses import dataclass

import torch

from slt_compress.masking.gates import Gates
from slt_compress.methods.base import Target
from slt_compress.methods.continuous_sparsification import (
    ContinuousSparsification,
    ContinuousSparsificationSettings,
)

MEMORY = 0.95  # of the running mean of squared gradients


@dataclass(frozen=True)
class PricedSettings(ContinuousSparsificationSettings):
    """As in a search, with a price; chosen on validation images, see docs/pruning.md."""

    learning_rate: float = 2e-2
    price: float = 0.05  # share of the size of the gradients


class PricedContinuousSparsification(ContinuousSparsification):
    """Scores that fall unless the loss pulls them up."""

    Settings = PricedSettings

    def __init__(self, network: Gates, target: Target, settings: PricedSettings) -> None:
        super().__init__(network, target, settings)
        self._price = settings.price
        self._squares = torch.zeros((), device=network.weights.device)

    @torch.no_grad()
    def backward(self, step: int) -> None:
        network, slope = self._network, self._slope(step)
        gradient = network.gate_gradient()
        memory = MEMORY if step else 0.0
        self._squares = memory * self._squares + (1 - memory) * gradient.square().sum() / network.searchable_count
        middles = self._middle.expand_as(self.parameter)
        for part, scores, middle in network.blocks(gradient, self.parameter, middles):
            gate = scores.sub(middle).mul_(slope).sigmoid_()
            part.add_(self._price * self._squares.sqrt()).mul_(gate).mul_(1 - gate).mul_(slope)

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {**super().state_dict(), "squares": self._squares}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        super().load_state_dict(state)
        self._squares = state["squares"].to(self._squares.device)
