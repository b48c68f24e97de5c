"""What is searched: gates in one flat tensor, each 0 or 1 in the end.

The gates may be of single weights, see `flat_network`, or of neurons, see `structure.neuron_network`. A search method
knows neither; it sees this.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from slt_compress.masking.ranking import Ranking

ALIGN = 16  # float32 values in 64 bytes; such a row of a flat tensor belongs to one slot
_BLOCK = 1 << 17  # values that stay in a cache of the CPU between two operations


@dataclass(frozen=True)
class Slot:
    """Where the gates of a tensor, or of a group of neurons, lie in a flat tensor.

    `scale` multiplies its values where as many gates are open as the target density asks for; `balanced` says whether
    the factor follows the gates.
    """

    name: str
    shape: tuple[int, ...]
    offset: int
    size: int
    scale: float = 1.0
    balanced: bool = False


@dataclass(frozen=True)
class Kind:
    """Gates of weights, or of neurons.

    Attributes:
        start, end: where they lie in a flat tensor.
        searchable: how many of them can be searched.
        few: whether they are so few that each counts: those of neurons.
    """

    start: int
    end: int
    searchable: int
    few: bool = False


class Gates(ABC):
    """Gates of a network in a flat tensor.

    Attributes:
        module: the network itself.
        slots: where the gates lie.
        weights: what a gate multiplies, in units of its slot's scale; of shape (length,), int8 or float32. Zero in the
            padding and where the seed fixes the gate, so that neither a gate nor a gradient has an effect there.
        effective: float32 of shape (length,); room for z until `set_gate`.
        grad: float32 of shape (length,), what `backward` finds, before `gate_gradient`.
        not_searchable: the indices of the padding and of fixed gates, int64.
        locked: the gates that the seed fixes open, bool of shape (length,).
        size: number of gates, with fixed ones too.
        searchable_count, locked_count: numbers of searchable gates and of gates fixed open.
    """

    module: nn.Module
    slots: list[Slot]
    weights: torch.Tensor
    effective: torch.Tensor
    grad: torch.Tensor
    not_searchable: torch.Tensor
    locked: torch.Tensor
    size: int
    searchable_count: int
    locked_count: int
    _fractional: torch.Tensor | None = None  # int8, which a CPU is quicker to multiply with than bool

    @property
    @abstractmethod
    def has_branches(self) -> bool:
        """Whether this is a network of residual branches behind LayerNorms, such as a transformer."""

    @abstractmethod
    def ranking(self, density: float, *, layered: bool) -> "Ranking":
        """Return what ranks the gates: over the whole network, or in each slot by itself.

        Raises UnreachableError if no mask has this density.
        """

    def kinds(self) -> list["Kind"]:
        """Return the parts of a flat tensor whose gates are of one kind, so that their gradients are of one size."""
        return [Kind(0, self.weights.numel(), self.searchable_count)]

    @abstractmethod
    def set_gate(self, gate: torch.Tensor) -> None:
        """Write w·z into the module's weights; `gate` has shape (length,) and has no effect on fixed gates.

        The gate may be the buffer `effective` itself.
        """

    @abstractmethod
    def backward(self, loss: torch.Tensor) -> None:
        """Find the gradient of the loss, from which `gate_gradient` makes that of the gates. A sum of such gradients
        over processes is that of the sum of their losses.

        Raises UsageError, with the tensor, if its gradient does not come as a whole.
        """

    @abstractmethod
    def gate_gradient(self) -> torch.Tensor:
        """Turn `grad` into d loss / d z, in place, and return it."""

    @property
    def searchable(self) -> torch.Tensor:
        """The gates to be searched, bool of shape (length,): neither padding nor fixed by the seed."""
        return torch.ones(self.locked.shape, dtype=torch.bool, device=self.locked.device).index_fill_(
            0, self.not_searchable, False
        )

    def split(self, flat: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield the part of a flat tensor that belongs to each slot, as a view of shape (size,)."""
        for slot in self.slots:
            yield flat[slot.offset : slot.offset + slot.size]

    def named(self, flat: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the parts of a flat tensor by the names of their slots, in the shapes of these, on the CPU."""
        parts = zip(self.slots, self.split(flat), strict=True)
        return {slot.name: part.view(slot.shape).cpu() for slot, part in parts}

    def remember_saturated(self, gate: torch.Tensor) -> None:
        """Note where a gate in [0, 1], flat, is 0 or 1, for `damp_saturated`."""
        if self._fractional is None:
            self._fractional = torch.empty(gate.shape, dtype=torch.int8, device=gate.device)
        for fractional, part in self.blocks(self._fractional, gate):
            fractional.view(torch.bool).copy_(part.frac())

    def damp_saturated(self, share: float) -> None:
        """Leave a share of `grad` where the remembered gate was 0 or 1: a clip itself would leave nothing."""
        assert self._fractional is not None
        for grad, fractional in self.blocks(self.grad, self._fractional):
            grad.mul_(fractional.mul(1 - share).add_(share))

    def blocks(self, *flats: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield the same stretch of each of these flat tensors, one after the other: on a CPU so short that what is
        computed from it needs no memory of the whole length; elsewhere the whole.
        """
        length = _BLOCK if self.weights.device.type == "cpu" else self.weights.numel()
        yield from zip(*(torch.split(flat, length) for flat in flats), strict=True)

    def sparsity(self, gate: torch.Tensor) -> float:
        """Return the share of gates that a 0/1 gate closes; bool of shape (length,)."""
        return 1 - (int((gate & self.searchable).sum()) + self.locked_count) / self.size


def rows(size: int) -> int:
    """Return the number of rows that a slot of so many gates takes."""
    return -(-size // ALIGN)
