"""The BatchNorm statistics of a finished network."""

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from slt_compress.data.batches import Feed, Tensors, call
from slt_compress.data.splits import Split

RECALIBRATION_EXAMPLES = 10_000


@torch.no_grad()
def recalibrate(module: nn.Module, train: Split, feed: Feed, batch_size: int, generator: torch.Generator) -> None:
    """Measure the BatchNorm statistics of the module as it is, on at most 10,000 shuffled training examples.

    The statistics gathered during a search belong to soft, noisy gates. Shuffled, because data stored by class would
    give every batch the statistics of one class. Leaves the module in evaluation mode.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    sample = train.sample(RECALIBRATION_EXAMPLES, batch_size, generator)
    if norms:
        update_bn(((feed(inputs),) for inputs, _ in sample), _Called(module))
    for layer in norms:
        if layer.num_batches_tracked is not None:
            layer.num_batches_tracked.zero_()  # a count that nobody needs would differ from the restored network's
    module.eval()


class _Called(nn.Module):
    """A module that takes a batch as it comes, for `update_bn`, which passes the first part of it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensors) -> Tensors:
        return call(self.module, inputs)
