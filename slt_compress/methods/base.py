"""What a search method is: what is optimised, how it gates a weight, what it costs, and the hard mask at the end.

Every method works on one flat tensor over all gated weights (see `masking.flat_network`). Adding one means a module
with a subclass of `Method`, and an entry in `methods.registry`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import torch
from torch import nn

from slt_compress.masking.gates import Gates
from slt_compress.masking.ranking import Ranking

LAYER, GLOBAL = "layer", "global"  # scopes: gates are ranked in each layer, or over the whole network
LOWEST = -1e6  # a score far below all others, whose gate is 0 at any slope


@dataclass(frozen=True)
class Target:
    """What a method is made for, besides its network.

    Attributes:
        density: share of all gated weights to keep, fixed gates included.
        steps: optimiser steps of the whole search.
        seed: of the search; only methods that draw from `prng` need it.
        generator: what a method draws noise and ties from, on the network's device.
    """

    density: float
    steps: int
    seed: int
    generator: torch.Generator


class Method(ABC):
    """A search method, made for one network and one target.

    The defaults here are those of a method that ranks `parameter` over the whole network. What changes from step to
    step, besides the state of the optimiser, is in `state_dict`.

    Attributes:
        Settings: a dataclass of the method's hyper-parameters; recipes and options of the registry are its fields. With
            a field `scope`, gates are ranked as it says.
        ADDED: fields of the settings that are recorded only where they differ from these values, so that a search from
            before there were such fields still gives the same bytes.
        LEAD: how far the parameters of open gates are ahead of those of closed ones, at a start from a mask.
        parameter: flat, float32 of shape (length,): the only thing that is optimised.
    """

    Settings: ClassVar[type]
    ADDED: ClassVar[Mapping[str, Any]] = {}
    LEAD: ClassVar[float] = 0.5
    parameter: nn.Parameter

    def __init__(self, network: Gates, target: Target, settings: Any) -> None:
        self._network = network
        self._target = target
        self._settings = settings
        self._ranking = self._ranked()
        self._aimed = False

    def settings(self) -> dict[str, Any]:
        """Return the hyper-parameters, as a ticket records them."""
        found = asdict(self._settings)
        return {name: value for name, value in found.items() if not (name in self.ADDED and value == self.ADDED[name])}

    def optimiser(self) -> torch.optim.Optimizer:
        """Return what moves `parameter`; called once."""
        return torch.optim.Adam([self.parameter], fused=True)

    @torch.no_grad()
    def start_from(self, mask: torch.Tensor) -> None:
        """Begin with the gates that a mask opens, flat bool, ahead of all others; called before the first step."""
        lead = torch.where(mask, self.LEAD / 2, -self.LEAD / 2)
        self.parameter.add_(lead.masked_fill_(~self._network.searchable, 0))

    @abstractmethod
    def learning_rate(self, step: int) -> float: ...

    @abstractmethod
    def gate(self, step: int) -> torch.Tensor:
        """Return z in [0, 1], flat, without a gradient; it may be the network's buffer of effective weights."""

    @abstractmethod
    def backward(self, step: int) -> None:
        """Turn the network's gradient, d loss/d (w·z) at this gate, into that of `parameter`, in place.

        What the method itself adds to the loss is included.
        """

    @abstractmethod
    def hard_gate(self) -> torch.Tensor:
        """Return the present 0/1 gate, flat bool, at whatever density the search has reached; any for fixed gates."""

    def aim(self, density: float) -> None:
        """Go on towards another density. Raises UnreachableError if the gates that the seed fixes rule it out."""
        self._target = replace(self._target, density=density)
        self._ranking = self._ranked()
        self._aimed = True

    def mask(self) -> torch.Tensor:
        """Return the final mask, flat bool, of exactly the target density, with the gates that are fixed open."""
        return self._ranking.mask(self._scores(), self._target.generator)

    def _scores(self) -> torch.Tensor:
        """Return what gates are ranked by, flat."""
        return self.parameter.detach()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return what a checkpoint must hold, by name, on any device; the tensors are not copied."""
        aimed = {"density": torch.tensor(self._target.density, dtype=torch.float64)} if self._aimed else {}
        return {"parameter": self.parameter.detach(), **aimed}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what `state_dict` returned. Raises KeyError if something is missing."""
        self.parameter.copy_(state["parameter"])
        if "density" in state:
            self.aim(state["density"].item())

    def _ranked(self) -> Ranking:
        scope = getattr(self._settings, "scope", GLOBAL)
        return self._network.ranking(self._target.density, layered=scope == LAYER)

    def _noise(self) -> torch.Tensor:
        """Draw one standard normal number for each weight, float32 of shape (length,)."""
        weights = self._network.weights
        return torch.randn(weights.shape, generator=self._target.generator, device=weights.device)


def ramp(progress: float, start: float, end: float) -> float:
    """Return 0 before `start`, 1 after `end`, linear between."""
    return min(1.0, max(0.0, (progress - start) / (end - start)))
