"""What a batch may be, a tensor or a tuple of tensors, and what is done to either: counted, moved, joined, passed to a
network.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from slt_compress.tasks.record import TensorRecord

Tensors = Any  # a tensor (n, …), or a tuple of them
Feed = Callable[[Tensors], Tensors]  # inputs of a split -> what a network takes

CPU = torch.device("cpu")
_IMAGE_DIMENSIONS = 4


def blank(inputs: Sequence[TensorRecord]) -> tuple[torch.Tensor, ...]:
    """Return a batch of two examples, all zeros, of each input of a network: to trace it with."""
    return tuple(torch.zeros((2, *one.shape), dtype=getattr(torch, one.dtype)) for one in inputs)


def length(tensors: Tensors) -> int:
    """Return the number of examples in a batch."""
    return len(tree_leaves(tensors)[0])


def move(tensors: Tensors, device: torch.device) -> Tensors:
    """Return the tensors on a device; from pinned memory to a GPU, the host does not wait for the copy.

    On the way back it does: it would read what is not there yet.
    """
    return tree_map(lambda tensor: tensor.to(device, non_blocking=device.type != "cpu"), tensors)


def join(batches: Sequence[Tensors]) -> Tensors:
    """Return one batch after the other, as one."""
    return tree_map(lambda *parts: torch.cat(parts), *batches)


def as_given(inputs: Tensors) -> Tensors:
    """Return a copy of the inputs: the feed of data that a network takes as it is, and may change in place."""
    return tree_map(torch.clone, inputs)


def call(module: nn.Module, inputs: Tensors) -> Tensors:
    """Pass a batch through a network; a tuple becomes its arguments, and a list that it returns a tuple."""
    outputs = module(*inputs) if isinstance(inputs, tuple) else module(inputs)
    return tuple(outputs) if isinstance(outputs, list) else outputs


def channels_last(inputs: Tensors) -> Tensors:
    """Return the inputs with the channels of a pixel side by side where they are images, (n, channels, height, width)
    of floating-point numbers.
    """

    def change(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.ndim == _IMAGE_DIMENSIONS and tensor.is_floating_point():
            return tensor.contiguous(memory_format=torch.channels_last)
        return tensor

    return tree_map(change, inputs)
