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

import torch
from torch import nn

from slt_compress import prng
from slt_compress.errors import UsageError
from slt_compress.masking.gates import ALIGN, Gates, Slot, rows
from slt_compress.masking.parameters import Density, density_of, freeze_ungated, residual_branches, scales
from slt_compress.masking.ranking import Ranking
from slt_compress.prng import Freeze

_LEAST_SHARE = 0.05  # of the norm that a tensor should have: with next to no gate open, it is not blown up further


class FlatNetwork(Gates):
    """A module whose gated weights live in one flat buffer.

    Attributes:
        module: the network itself; its gated parameters are views of the buffer.
        weights: the weights w with searchable gates z, each in units of its slot's scale; int8 if they are signs.
        effective: w·z, which the module computes with; until `set_gate`, room for z.
        grad: the same memory, which after `backward` holds d loss / d (w·z).
        buffer: that memory, and in front of it the room that was asked for.
    """

    def __init__(
        self,
        module: nn.Module,
        seed: int,
        density: Density,
        device: torch.device,
        initialiser: str = "signed-constant",
        freeze: Freeze = Freeze(),
        room: int = 0,
    ) -> None:
        """Put gates on a module; `room` is a number of values, a multiple of 16, that the buffer has in front."""
        freeze_ungated(module, seed)
        self.module = module.to(device)
        self.slots: list[Slot] = []
        offset = 0
        for name, scale in scales(module, initialiser, density).items():
            parameter = module.get_parameter(name)
            slot = Slot(name, tuple(parameter.shape), offset, parameter.numel(), scale.value, scale.balanced)
            self.slots.append(slot)
            offset += rows(parameter.numel()) * ALIGN
        self.size = sum(slot.size for slot in self.slots)
        weights = torch.zeros(offset, dtype=torch.int8 if initialiser == "signed-constant" else torch.float32)
        scale_of_rows = torch.zeros(offset // ALIGN, 1)
        searchable, locked = (torch.zeros(offset, dtype=torch.bool) for _ in range(2))
        parts = zip(self.slots, self.split(weights), self.split(searchable), self.split(locked), strict=True)
        for slot, weights_view, searchable_view, locked_view in parts:
            weights_view.copy_(torch.from_numpy(prng.INITIALISERS[initialiser](seed, slot.name, slot.size)))
            scale_of_rows[slot.offset // ALIGN : rows(slot.offset + slot.size)] = slot.scale
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
        balanced = any(slot.balanced for slot in self.slots)
        self._balance = _Balance(self, weights, density, device) if balanced else None
        self._arrived: set[str] = set()  # the slots whose gradient is there
        self.buffer = torch.empty(room + offset, device=device)
        self.effective = self.grad = self.buffer[room:]
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
        return bool(residual_branches(self.module))

    def ranking(self, density: float, *, layered: bool) -> Ranking:
        return Ranking(self, density, layered=layered)

    def scales(self) -> dict[str, float]:
        """Return what the weights of each gated tensor are multiplied with under the present gates, by name."""
        if not self._balance:
            return {slot.name: slot.scale for slot in self.slots}
        scales = torch.tensor([slot.scale for slot in self.slots]) * self._balance.factors.cpu()
        return dict(zip((slot.name for slot in self.slots), scales.tolist(), strict=True))

    def set_gate(self, gate: torch.Tensor) -> None:
        if gate is not self.effective:
            self.effective.copy_(gate)
        self._multiply()
        if self._always is not None:
            self.effective.add_(self._always)
        if self._balance:
            self._balance.follow(self.effective)
        self._rescale()

    def backward(self, loss: torch.Tensor) -> None:
        """Replace the effective weights by d loss / d (w·z), zero where the loss does not depend on a tensor."""
        self._arrived.clear()
        loss.backward()  # type: ignore[no-untyped-call]
        for slot, part in zip(self.slots, self.split(self.grad), strict=True):
            if slot.name not in self._arrived:
                part.zero_()

    def gate_gradient(self) -> torch.Tensor:
        self._multiply()
        self._rescale()
        return self.grad

    def _multiply(self) -> None:
        """Multiply the buffer by the weights, in units of their scales, in place."""
        for part, weights in self.blocks(self.effective, self.weights):
            part.mul_(weights)

    def _rescale(self) -> None:
        """Multiply the buffer by the scales, in place."""
        scaled = self.effective.view(-1, ALIGN).mul_(self._scale)
        if self._balance:
            scaled[self._balance.span].mul_(self._balance.rows)


class _Balance:
    """Factors that keep the variance of the outputs of each balanced tensor while its gates move.

    Soft gates keep far more than a share `density` of a tensor's energy Σ w², hard ones in some tensors less. A factor
    of √(density · Σ w² / Σ (w·z)²) makes up for it. It takes part in the gradient as a constant.

    Attributes:
        factors: of each slot, float32 (slots,), 1 where it is not balanced.
        span: the rows of the buffer from the first balanced slot to the last.
        rows: the factors of these, float32 (rows, 1).
    """

    def __init__(self, network: FlatNetwork, weights: torch.Tensor, density: Density, device: torch.device) -> None:
        slots = network.slots
        places = [place for place, slot in enumerate(slots) if slot.balanced]
        self._parts = [slice(slots[place].offset, slots[place].offset + slots[place].size) for place in places]
        densities = torch.tensor([density_of(slots[place].name, density) for place in places], dtype=torch.float64)
        energies = torch.stack([weights[part].double().square().sum() for part in self._parts])
        self._wanted = (densities * energies).sqrt().float().to(device)
        self._places = torch.tensor(places, device=device)
        self.span = slice(self._parts[0].start // ALIGN, rows(self._parts[-1].stop))
        ends = torch.tensor([rows(slot.offset + slot.size) for slot in slots])
        rows_of_span = torch.arange(self.span.start, self.span.stop)
        self._slot_of_row = torch.bucketize(rows_of_span, ends, right=True).to(device)
        self.factors = torch.ones(len(slots), device=device)
        self.rows = torch.ones(len(rows_of_span), 1, device=device)

    def follow(self, effective: torch.Tensor) -> None:
        """Take the factors from w·z, in units of the scales of the slots."""
        norms = torch.stack(torch._foreach_norm([effective[part] for part in self._parts]))
        self.factors[self._places] = self._wanted / torch.maximum(norms, _LEAST_SHARE * self._wanted)
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
