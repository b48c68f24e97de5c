"""A network whose weights are trained under gates: all gated weights in one flat tensor, all else as torch has it.

    effective = weights · gate        what the module computes with
    d weights = d effective · gate    and, where gates are optimised too, d gate = d effective · weights

It is `masking.flat_network` with weights that move, so that the methods of a search can be used as they are.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from slt_compress import prng
from slt_compress.data.batches import CPU
from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.masking.parameters import freeze_ungated, scales, set_constants, slopes

State = dict[str, torch.Tensor]


class TrainedNetwork(FlatNetwork):
    """A module whose parameters are all trained, its gated weights in one flat tensor.

    Attributes:
        trained: the gated weights, flat, which share their memory with `weights`.
        others: all other parameters, by name.
        mask: which weights are kept, flat bool, False in the padding.
    """

    def __init__(self, module: nn.Module, device: torch.device = CPU) -> None:
        """Take over a module with the values that it has."""
        start = {name: tensor.detach().clone() for name, tensor in _tensors(module).items()}
        super().__init__(module, 0, 1.0, device, "uniform")
        self._scale.fill_(1)
        self._balance = None
        gated = {slot.name for slot in self.slots}
        self.others = {name: one for name, one in module.named_parameters() if name not in gated}
        self.trained = nn.Parameter(self.weights)
        self.mask = self.searchable
        with torch.no_grad():
            for name, tensor in _tensors(module).items():
                if name not in gated:
                    tensor.copy_(start[name])
            for slot, part in zip(self.slots, self.split(self.weights), strict=True):
                part.copy_(start[slot.name].flatten())
        for parameter in self.others.values():
            parameter.requires_grad_(True)
        self.set_gate(self.mask)

    def state(self) -> State:
        """Return a copy of all that training changes, but the mask."""
        others = {name: one.detach().clone() for name, one in self.others.items()}
        buffers = {name: one.clone() for name, one in self.module.named_buffers()}
        return {"": self.weights.clone(), **others, **buffers}

    @torch.no_grad()
    def load(self, state: State) -> None:
        """Take over what `state` has returned."""
        self.weights.copy_(state[""])
        for name, tensor in (*self.others.items(), *self.module.named_buffers()):
            tensor.copy_(state[name])

    def weight_arrays(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return the kept weights of each gated tensor, float32 in its shape, zero elsewhere."""
        kept = self.weights * self.mask
        parts = zip(self.slots, self.split(kept), strict=True)
        return {slot.name: part.view(slot.shape).cpu().numpy().copy() for slot, part in parts}

    def mask_arrays(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Return which weights of each gated tensor are kept, bool in its shape."""
        parts = zip(self.slots, self.split(self.mask), strict=True)
        return {slot.name: part.view(slot.shape).cpu().numpy().copy() for slot, part in parts}


def initialise(
    module: nn.Module, seed: int, initialiser: str, factors: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Give a module on the CPU the values that training starts from, and return the scale of each gated tensor.

    They are those that a ticket of this seed with all gates open restores to: generated weights times a scale, biases
    0, norms 1, embeddings as in `masking.parameters`. Slopes of PReLUs stay. `factors` are other scales, by name.
    """
    constants = slopes(module)
    freeze_ungated(module, seed)
    set_constants(module, constants)
    usual = {name: scale.value for name, scale in scales(module, initialiser, 1.0).items()}
    found = {**usual, **(factors or {})}
    with torch.no_grad():
        for name, scale in found.items():
            parameter = module.get_parameter(name)
            values = prng.INITIALISERS[initialiser](seed, name, parameter.numel()) * np.float32(scale)
            parameter.copy_(torch.from_numpy(values).view(parameter.shape))
    return found


def _tensors(module: nn.Module) -> State:
    """Return all parameters and buffers of a module, by name."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}
