"""A network with one flat tensor of gated weights, so that gates and thresholds need no work per layer.

All gated parameters of a module become views into one flat buffer:

    flat      [ conv1 … |pad| layer1 … |pad| fc … |pad| ]     fp32, each tensor starts on a 64-byte boundary
    module    conv1.weight = flat[0:n].view(shape)

A search step writes `weights * gate` into the flat buffer, runs the module as it is, and finds the gradient with
respect to every effective weight in the same buffer. No module is replaced, so any architecture works. Gates, penalties
and thresholds are single reductions over one tensor.

One buffer serves a whole step, because at this size fresh memory costs more than arithmetic. First it holds the gates,
then their product with the weights, then the gradient of each layer as soon as the backward pass no longer needs the
layer's weights, and last the gradient of the method's parameter. The weights, if they are signed constants, are stored
as signs of one byte each.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from slt_compress import prng
from slt_compress.errors import UsageError
from slt_compress.masking.parameters import freeze_ungated, scales
from slt_compress.prng import Freeze

_ALIGN = 16  # float32 values in 64 bytes; such a row of the buffer belongs to one tensor
_LEAST_SHARE = 0.05  # of the norm that a tensor should have: with next to no gate open, it is not blown up further
_BLOCK = 1 << 17  # values that stay in a cache of the CPU between two operations


@dataclass(frozen=True)
class Slot:
    """Where a gated tensor lies in the flat buffer.

    `scale` multiplies its values where as many gates are open as the target density asks for; `balanced` says whether
    the factor follows the gates.
    """

    name: str
    shape: tuple[int, ...]
    offset: int
    size: int
    scale: float
    balanced: bool = False


class FlatNetwork:
    """A module whose gated weights live in one flat buffer.

    Attributes:
        module: the network itself; its gated parameters are views of the buffer.
        slots: where each gated tensor lies.
        weights: the weights w with searchable gates z, each in units of its slot's scale; of shape (length,), int8 if
            they are signs, else float32. Zero in the padding and where the seed fixes the gate, so that neither a gate
            nor a gradient has an effect there.
        effective: w·z, which the module computes with, float32 of shape (length,); until `set_gate`, room for z.
        grad: the same memory, which after `backward` holds d loss / d (w·z).
        not_searchable: the indices of the padding and of fixed gates, int64.
        locked: the gates that the seed fixes open, bool of shape (length,).
        size: number of gated weights, with fixed gates too.
        searchable_count, locked_count: numbers of searchable gates and of gates fixed open.
    """

    def __init__(
        self,
        module: nn.Module,
        seed: int,
        density: float,
        device: torch.device,
        initialiser: str = "signed-constant",
        freeze: Freeze = Freeze(),
    ) -> None:
        freeze_ungated(module, seed)
        self.module = module.to(device)
        self.slots: list[Slot] = []
        offset = 0
        for name, scale in scales(module, initialiser, density).items():
            parameter = module.get_parameter(name)
            slot = Slot(name, tuple(parameter.shape), offset, parameter.numel(), scale.value, scale.balanced)
            self.slots.append(slot)
            offset += -(-parameter.numel() // _ALIGN) * _ALIGN
        self.size = sum(slot.size for slot in self.slots)
        weights = torch.zeros(offset, dtype=torch.int8 if initialiser == "signed-constant" else torch.float32)
        scale_of_rows = torch.zeros(offset // _ALIGN, 1)
        searchable, locked = (torch.zeros(offset, dtype=torch.bool) for _ in range(2))
        parts = zip(self.slots, self.split(weights), self.split(searchable), self.split(locked), strict=True)
        for slot, weights_view, searchable_view, locked_view in parts:
            weights_view.copy_(torch.from_numpy(prng.INITIALISERS[initialiser](seed, slot.name, slot.size)))
            scale_of_rows[slot.offset // _ALIGN : -(-(slot.offset + slot.size) // _ALIGN)] = slot.scale
            searchable_view.fill_(True)
            if freeze.ratio:
                kept, pruned = prng.fixed_gates(seed, slot.name, slot.size, freeze)
                locked_view.copy_(torch.from_numpy(kept))
                searchable_view.copy_(torch.from_numpy(~(kept | pruned)))
        self.not_searchable = (~searchable).nonzero().squeeze(1).to(device)
        self.searchable_count, self.locked_count = int(searchable.sum()), int(locked.sum())
        # Without locked gates a single False, seen everywhere, stands for all.
        self.locked = (locked if self.locked_count else locked.new_zeros(1)).to(device).expand(offset)
        self._always = (weights * locked).to(device) if self.locked_count else None  # added to every w·z
        self.weights = (weights * searchable).to(device)
        self._scale = scale_of_rows.to(device)
        self._balance = _Balance(self, weights, density, device) if self.has_branches else None
        self._fractional: torch.Tensor | None = None  # int8, which a CPU is quicker to multiply with than bool
        self._arrived: set[str] = set()  # the slots whose gradient is there
        self.effective = self.grad = torch.empty(offset, device=device)
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        for slot, data in zip(self.slots, self.split(self.effective), strict=True):
            parameter = module.get_parameter(slot.name)
            parameter.data = data.view(slot.shape)
            parameter.requires_grad_(True)
            take = functools.partial(_take_gradient, slot.name, self._arrived)  # without self: no cycle keeps all alive
            parameter.register_post_accumulate_grad_hook(take)  # type: ignore[no-untyped-call]
        self.set_gate(torch.ones(offset, device=device))

    @property
    def has_branches(self) -> bool:
        """Whether this is a network of residual branches behind LayerNorms, such as a transformer."""
        return any(slot.balanced for slot in self.slots)

    def scales(self) -> dict[str, float]:
        """Return what the weights of each gated tensor are multiplied with under the present gates, by name."""
        if not self._balance:
            return {slot.name: slot.scale for slot in self.slots}
        scales = torch.tensor([slot.scale for slot in self.slots]) * self._balance.factors.cpu()
        return dict(zip((slot.name for slot in self.slots), scales.tolist(), strict=True))

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

    def set_gate(self, gate: torch.Tensor) -> None:
        """Write w·z into the module's weights; `gate` has shape (length,) and has no effect on fixed gates.

        The gate may be the buffer of effective weights itself.
        """
        if gate is not self.effective:
            self.effective.copy_(gate)
        self._multiply()
        if self._always is not None:
            self.effective.add_(self._always)
        if self._balance:
            self._balance.follow(list(self.split(self.effective)))
        self._rescale()

    def backward(self, loss: torch.Tensor) -> None:
        """Replace the effective weights by d loss / d (w·z), zero where the loss does not depend on a tensor.

        Raises UsageError, with the tensor, if its gradient does not come as a whole.
        """
        self._arrived.clear()
        loss.backward()  # type: ignore[no-untyped-call]
        for slot, part in zip(self.slots, self.split(self.grad), strict=True):
            if slot.name not in self._arrived:
                part.zero_()

    def gate_gradient(self) -> torch.Tensor:
        """Turn `grad` into d loss / d z, in place, and return it."""
        self._multiply()
        self._rescale()
        return self.grad

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

    def _multiply(self) -> None:
        """Multiply the buffer by the weights, in units of their scales, in place."""
        for part, weights in self.blocks(self.effective, self.weights):
            part.mul_(weights)

    def _rescale(self) -> None:
        """Multiply the buffer by the scales, in place."""
        rows = self.effective.view(-1, _ALIGN).mul_(self._scale)
        if self._balance:
            rows.mul_(self._balance.rows)

    def blocks(self, *flats: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield the same stretch of each of these flat tensors, one after the other: on a CPU so short that what is
        computed from it needs no memory of the whole length; elsewhere the whole.
        """
        length = _BLOCK if self.weights.device.type == "cpu" else self.weights.numel()
        yield from zip(*(torch.split(flat, length) for flat in flats), strict=True)

    def sparsity(self, gate: torch.Tensor) -> float:
        """Return the share of gated weights that a 0/1 gate makes zero; bool of shape (length,)."""
        return 1 - (int((gate & self.searchable).sum()) + self.locked_count) / self.size


class _Balance:
    """Factors that keep the variance of the outputs of each balanced tensor while its gates move.

    Soft gates keep far more than a share `density` of a tensor's energy Σ w², hard ones in some tensors less. A factor
    of √(density · Σ w² / Σ (w·z)²) makes up for it. It takes part in the gradient as a constant.

    Attributes:
        factors: of each slot, float32 (slots,).
        rows: of each row of the buffer, float32 (length / 16, 1).
    """

    def __init__(self, network: FlatNetwork, weights: torch.Tensor, density: float, device: torch.device) -> None:
        slots = network.slots
        energies = torch.stack([part.double().square().sum() for part in network.split(weights)])
        self._wanted = (density * energies).sqrt().float().to(device)
        self._balanced = torch.tensor([slot.balanced for slot in slots], device=device)
        ends = (
            torch.tensor([slot.offset + slot.size for slot in slots]).add(_ALIGN - 1).div(_ALIGN, rounding_mode="floor")
        )
        starts = torch.arange(weights.numel() // _ALIGN)
        self._slot_of_row = torch.bucketize(starts, ends, right=True).to(device)
        self.factors = torch.ones(len(slots), device=device)
        self.rows = torch.ones(weights.numel() // _ALIGN, 1, device=device)

    def follow(self, parts: list[torch.Tensor]) -> None:
        """Take the factors from w·z of each slot, in units of its scale."""
        norms = torch.stack(torch._foreach_norm(parts))
        found = self._wanted / torch.maximum(norms, _LEAST_SHARE * self._wanted)
        self.factors = torch.where(self._balanced, found, 1.0)
        self.rows = self.factors.index_select(0, self._slot_of_row).unsqueeze(1)


def _take_gradient(name: str, arrived: set[str], parameter: torch.Tensor) -> None:
    """Put the gradient of a tensor where the tensor lies: once it is complete, no layer needs the tensor again."""
    if name in arrived:
        raise UsageError(
            f"the gradient of {name} comes in several parts, as where reentrant activation checkpointing uses a layer "
            "twice: call torch.utils.checkpoint.checkpoint with use_reentrant=False"
        )
    assert parameter.grad is not None
    parameter.data.copy_(parameter.grad)
    parameter.grad = None
    arrived.add(name)
