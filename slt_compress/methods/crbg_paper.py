"""The recipe "paper" of `crbg`: continuously relaxed Bernoulli gates with a fixed price, as published.

Tsayag & Lindenbaum (arXiv:2603.08914) after the stochastic gates of Yamada et al. (2020). Our own form is
`crbg.Crbg`; this one is here so that the two can be compared.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from slt_compress.masking.gates import Gates
from slt_compress.methods.base import GLOBAL, Method, Target


@dataclass(frozen=True)
class PaperCrbgSettings:
    """Objective and gate are the paper's; where its own numbers were not at hand, that is said."""

    scope: str = GLOBAL  # of the final ranking
    sigma: float = 0.5  # fixed: Yamada et al. 2020, who chose it so that a gate at ½ is never out of reach
    initial_mean: float = 0.5  # Yamada et al. 2020
    initial_spread: float = 0.01  # ours: a start from equals
    learning_rate: float = 3e-2  # of Adam, constant; ours, see docs/methods.md
    penalty: float = 1e-5  # λ, for every gate; ours, and it decides what sparsity the gates reach by themselves


class PaperCrbg(Method):
    """z = clip(μ + σ·ε, 0, 1) with ε ~ N(0, 1), and loss += λ·Σ Φ(μ/σ), the expected number of gates above 0.

    Nothing steers it: λ decides how many means end above ½. The final ranking then sets the target sparsity.
    """

    Settings = PaperCrbgSettings
    ADDED: ClassVar = {"scope": GLOBAL}

    def __init__(self, network: Gates, target: Target, settings: PaperCrbgSettings) -> None:
        super().__init__(network, target, settings)
        self.parameter: nn.Parameter = nn.Parameter(
            self._noise().mul_(settings.initial_spread).add_(settings.initial_mean)
        )

    def learning_rate(self, step: int) -> float:  # noqa: ARG002
        return float(self._settings.learning_rate)

    @torch.no_grad()
    def gate(self, step: int) -> torch.Tensor:  # noqa: ARG002
        noise = self._network.effective.normal_(generator=self._target.generator).mul_(self._settings.sigma)
        gate = noise.add_(self.parameter).clamp_(0, 1)
        self._network.remember_saturated(gate)
        return gate

    @torch.no_grad()
    def backward(self, step: int) -> None:  # noqa: ARG002
        s, network = self._settings, self._network
        network.gate_gradient()
        network.damp_saturated(0)
        price = s.penalty / (s.sigma * (2 * math.pi) ** 0.5)  # λ·φ(μ/σ)/σ at μ = 0
        for gradient, means in network.blocks(network.grad, self.parameter):
            gradient.add_((means / s.sigma).square_().mul_(-0.5).exp_(), alpha=price)
        network.grad.index_fill_(0, network.not_searchable, 0)

    def hard_gate(self) -> torch.Tensor:
        return self.parameter.detach() > 0.5
