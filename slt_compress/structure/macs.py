"""Multiply-accumulate operations (MACs) of a network: of convolutions, matrix products and attention."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from slt_compress.structure.trace import every_operator


@torch.no_grad()
def count_macs(module: nn.Module, examples: Sequence[torch.Tensor]) -> int:
    """Return the MACs of one example in evaluation mode, in which the module is left.

    Args:
        module: the network, on the device of the examples.
        examples: its inputs, a batch of each.
    """
    counter = FlopCounterMode(display=False)
    with every_operator(), sdpa_kernel(SDPBackend.MATH), counter:  # the other kernels hide their products
        module.eval()(*examples)
    return counter.get_total_flops() // 2 // len(examples[0])
