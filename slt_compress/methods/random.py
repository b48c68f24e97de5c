"""`random`: the seed draws the mask, with the target density in every tensor. The control that every claim needs."""

from dataclasses import dataclass
from typing import NoReturn

import torch

from slt_compress.methods.base import Method


@dataclass(frozen=True)
class RandomSettings:
    """There is nothing to set."""


class Random(Method):
    """A mask without a search: nothing is optimised, so it has no parameter and makes no step."""

    Settings = RandomSettings

    def learning_rate(self, step: int) -> NoReturn:
        raise AssertionError(step)

    def gate(self, step: int) -> NoReturn:
        raise AssertionError(step)

    def backward(self, step: int) -> NoReturn:
        raise AssertionError(step)

    def hard_gate(self) -> torch.Tensor:
        return self.mask()

    def mask(self) -> torch.Tensor:
        return self._ranking.random_mask(self._target.seed)
