"""A network with one flat tensor of gated weights, so that gates and thresholds need no work per layer.

All gated parameters of a module become views into one flat buffer:

    flat      [ conv1 … |pad| layer1 … |pad| fc … |pad| ]     fp32, each tensor starts on a 64-byte boundary
    module    conv1.weight = flat[0:n].view(shape)

A search step writes `weights * gate` into the flat buffer, runs the module as it is, and finds the gradient with
respect to every effective weight in the same buffer. No module is replaced, so any architecture works, and gates,
penalties and thresholds are single reductions over one tensor.

One buffer serves a whole step, since at this size fresh memory costs more than arithmetic. It holds the gate, in place
its product with the weights, then, layer by layer as the backward pass is done with them, their gradient, and in place
that of the method's parameter. The weights themselves, signed constants, are signs of a byte each.
"""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from slt_compress import seeding
from slt_compress.errors import UsageError
from slt_compress.ticket import Freeze

EMBEDDING_STD = 0.5  # of frozen embeddings and tokens; at timm's 0.02 the patches drown them (ViT: 87 % -> 94 %)
EMBEDDING_SCALE = float(np.float32(3**0.5 * EMBEDDING_STD))  # of values uniform in (-1, 1)
_ALIGN = 16  # float32 values in 64 bytes; such a row of the buffer belongs to one tensor
_BLOCK = 1 << 17  # values that stay in a cache of the CPU between two operations


@dataclass(frozen=True)
class Slot:
    """Where a gated tensor lies in the flat buffer; `scale` multiplies its values."""

    name: str
    shape: tuple[int, ...]
    offset: int
    size: int
    scale: float


def gated_names(module: nn.Module) -> list[str]:
    """Return the parameters to be gated, in module order: weights of convolutions, linear layers and attention.

    Norms, biases, embedding tables, position embeddings and tokens are not gated. A tensor that two modules share
    appears once.
    """
    names, seen = [], set()
    for path, layer in module.named_modules():
        if isinstance(layer, nn.modules.conv._ConvNd | nn.Linear):
            attributes = ["weight"]
        elif isinstance(layer, nn.MultiheadAttention):
            attributes = ["in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"]
        else:
            continue
        for attribute in attributes:
            parameter = getattr(layer, attribute)
            if parameter is not None and id(parameter) not in seen:
                seen.add(id(parameter))
                names.append(f"{path}.{attribute}" if path else attribute)
    return names


def statistic_names(module: nn.Module) -> list[str]:
    """Return the persistent floating-point buffers, in module order: what training observes and no seed rebuilds.

    They come in pairs, NAME.running_mean and NAME.running_var. Raises UsageError if the module keeps any other: a
    ticket has no place for it.
    """
    persistent = module.state_dict()
    names = [name for name, buffer in module.named_buffers() if name in persistent and buffer.is_floating_point()]
    paired = [f"{name.removesuffix('.running_mean')}.running_var" for name in names[::2]]
    if names[1::2] != paired:
        raise UsageError(f"this network keeps statistics that a ticket cannot store, among {', '.join(names[:3])}")
    return names


def scales(module: nn.Module, initialiser: str, density: float) -> dict[str, float]:
    """Return what each gated tensor's values are multiplied with, by name: `seeding.scale` of its fan-in.

    Where no BatchNorm of the same width follows in the same block to undo it, a layer that keeps only `density` of its
    weights would shrink its output by √density; its scale is divided by that.
    """
    found = {}
    layers = [
        (path, layer)
        for path, layer in module.named_modules()
        if any(True for _ in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)))
    ]
    followers = {path: follower for (path, _), follower in itertools.pairwise(layers)}
    for name in gated_names(module):
        weight = module.get_parameter(name)
        path = name.rpartition(".")[0]
        next_path, follower = followers.get(path, ("", None))
        # The first norm of the next block comes after the residual sum, where the scale of this branch matters.
        beside = next_path.rpartition(".")[0] == path.rpartition(".")[0]
        norm = isinstance(follower, nn.modules.batchnorm._BatchNorm) and follower.num_features == weight.shape[0]
        normalised = beside and norm
        found[name] = seeding.scale(initialiser, weight[0].numel() * (1 if normalised else density))
    return found


def embedding_names(module: nn.Module) -> list[str]:
    """Return the parameters that are neither gated nor constant: embeddings and tokens, uniform from the seed."""
    gated = set(gated_names(module))
    return [
        name
        for name, parameter in module.named_parameters()
        if name not in gated and parameter.ndim >= 2 and not name.rpartition(".")[2].endswith("bias")
    ]


def freeze_ungated(module: nn.Module, seed: int) -> None:
    """Give every parameter that is not gated its value: biases 0, vectors (norm and layer scales) 1, and embeddings
    uniform with standard deviation `EMBEDDING_STD` from the seed. BatchNorm statistics become those of N(0, 1).
    """
    gated, embeddings = set(gated_names(module)), set(embedding_names(module))
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name in embeddings:
                values = seeding.uniform(seed, name, parameter.numel()) * np.float32(EMBEDDING_SCALE)
                parameter.copy_(torch.from_numpy(values).view(parameter.shape))
            elif name not in gated:
                parameter.fill_(0.0 if name.rpartition(".")[2].endswith("bias") else 1.0)
        for name, buffer in module.named_buffers():
            if name.endswith(("num_batches_tracked", "running_mean")):
                buffer.zero_()
            elif name.endswith("running_var"):
                buffer.fill_(1.0)


class FlatNetwork:
    """A module whose gated weights live in one flat buffer.

    Attributes:
        module: the network itself; its gated parameters are views of the buffer.
        slots: where each gated tensor lies.
        weights: the weights w that a gate z decides about, each in units of its slot's scale; of shape (length,), int8
            if they are signs, else float32. Zero in the padding and where the seed has frozen the gate, so that neither
            a gate nor a gradient can do anything there.
        effective: w·z, which the module computes with, float32 of shape (length,); until `set_gate`, room for z.
        grad: the same memory, which after `backward` holds d loss / d (w·z).
        closed: the indices where there is no gate to be searched, int64: padding and what the seed has frozen.
        locked: the gates frozen open, bool of shape (length,).
        size: number of gated weights, frozen ones included.
        free_count, locked_count: the numbers of free and of locked ones among them.
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
            self.slots.append(Slot(name, tuple(parameter.shape), offset, parameter.numel(), scale))
            offset += -(-parameter.numel() // _ALIGN) * _ALIGN
        self.size = sum(slot.size for slot in self.slots)
        weights = torch.zeros(offset, dtype=torch.int8 if initialiser == "signed-constant" else torch.float32)
        scale_of_rows = torch.zeros(offset // _ALIGN, 1)
        free, locked = (torch.zeros(offset, dtype=torch.bool) for _ in range(2))
        parts = zip(self.slots, self.split(weights), self.split(free), self.split(locked), strict=True)
        for slot, weights_view, free_view, locked_view in parts:
            weights_view.copy_(torch.from_numpy(seeding.INITIALISERS[initialiser](seed, slot.name, slot.size)))
            scale_of_rows[slot.offset // _ALIGN : -(-(slot.offset + slot.size) // _ALIGN)] = slot.scale
            free_view.fill_(True)
            if freeze.ratio:
                kept, pruned = seeding.frozen(seed, slot.name, slot.size, freeze.ratio, freeze.lock)
                locked_view.copy_(torch.from_numpy(kept))
                free_view.copy_(torch.from_numpy(~(kept | pruned)))
        self.closed = (~free).nonzero().squeeze(1).to(device)
        self.free_count, self.locked_count = int(free.sum()), int(locked.sum())
        # Without locked gates a single False, seen everywhere, stands for all.
        self.locked = (locked if self.locked_count else locked.new_zeros(1)).to(device).expand(offset)
        self._always = (weights * locked).to(device) if self.locked_count else None  # added to every w·z
        self.weights = (weights * free).to(device)
        self._scale = scale_of_rows.to(device)
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
    def free(self) -> torch.Tensor:
        """The gates to be searched, bool of shape (length,): neither padding nor frozen."""
        return torch.ones(self.locked.shape, dtype=torch.bool, device=self.locked.device).index_fill_(
            0, self.closed, False
        )

    def split(self, flat: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield the part of a flat tensor that belongs to each slot, as a view of shape (size,)."""
        for slot in self.slots:
            yield flat[slot.offset : slot.offset + slot.size]

    def set_gate(self, gate: torch.Tensor) -> None:
        """Write w·z into the module's weights; `gate` has shape (length,) and has no say about frozen gates.

        The gate may be the buffer of effective weights itself.
        """
        if gate is not self.effective:
            self.effective.copy_(gate)
        self._weigh(self._always)

    def backward(self, loss: torch.Tensor) -> None:
        """Replace the effective weights by d loss / d (w·z), zero where the loss does not depend on a tensor."""
        self._arrived.clear()
        loss.backward()  # type: ignore[no-untyped-call]
        for slot, part in zip(self.slots, self.split(self.grad), strict=True):
            if slot.name not in self._arrived:
                part.zero_()

    def gate_gradient(self) -> torch.Tensor:
        """Turn `grad` into d loss / d z, in place, and return it."""
        self._weigh()
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

    def _weigh(self, always: torch.Tensor | None = None) -> None:
        """Multiply the buffer by the weights, in place; `always`, in their units, is added."""
        for part, weights in self.blocks(self.effective, self.weights):
            part.mul_(weights)
        if always is not None:
            self.effective.add_(always)
        self.effective.view(-1, _ALIGN).mul_(self._scale)

    def blocks(self, *flats: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield the same stretch of each of these flat tensors, one after the other: on a CPU so short that what is
        computed from it needs no memory of the whole length; elsewhere the whole.
        """
        length = _BLOCK if self.weights.device.type == "cpu" else self.weights.numel()
        yield from zip(*(torch.split(flat, length) for flat in flats), strict=True)

    def sparsity(self, gate: torch.Tensor) -> float:
        """Return the share of gated weights that a 0/1 gate makes zero; bool of shape (length,)."""
        return 1 - (int((gate & self.free).sum()) + self.locked_count) / self.size


def _take_gradient(name: str, arrived: set[str], parameter: torch.Tensor) -> None:
    """Put the gradient of a tensor where the tensor lies: once it is complete, no layer needs the tensor again."""
    assert name not in arrived
    assert parameter.grad is not None
    parameter.data.copy_(parameter.grad)
    parameter.grad = None
    arrived.add(name)
