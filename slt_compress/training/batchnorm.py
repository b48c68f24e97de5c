"""The statistics of the norms of a finished network."""

from collections.abc import Iterable

import torch
from torch import nn

from slt_compress.data.batches import Feed, Tensors, call
from slt_compress.data.splits import Split

RECALIBRATION_EXAMPLES = 10_000


@torch.no_grad()
def recalibrate(module: nn.Module, train: Split, feed: Feed, batch_size: int, generator: torch.Generator) -> None:
    """Measure the running statistics of the module as it is, on at most 10,000 shuffled training examples.

    The statistics gathered during a search belong to soft, noisy gates. Shuffled, because data stored by class would
    give every batch the statistics of one class. Leaves the module in evaluation mode. Whatever keeps it from that is
    raised, and the buffers are as they were.
    """
    norms = [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.modules.batchnorm._NormBase) and layer.running_mean is not None
    ]
    sample = train.sample(RECALIBRATION_EXAMPLES, batch_size, generator)
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    try:
        if norms:
            _measure(module, norms, (feed(inputs) for inputs, _ in sample))
    except BaseException:
        for name, values in before.items():
            module.get_buffer(name).copy_(values)
        raise
    finally:
        module.eval()


def _measure(module: nn.Module, norms: list[nn.modules.batchnorm._NormBase], batches: Iterable[Tensors]) -> None:
    """Let the norms average the statistics of all batches, each batch counting the same."""
    momenta = [norm.momentum for norm in norms]
    of_instances = [norm for norm in norms if not isinstance(norm, nn.modules.batchnorm._BatchNorm)]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        module.train()
        for index, batch in enumerate(batches):
            for norm in of_instances:  # these do not average by themselves
                norm.momentum = 1 / (index + 1)
            call(module, batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    for norm in norms:
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.zero_()  # a count that nobody needs would differ from the restored network's
