"""The BatchNorm statistics of a finished network."""

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from slt_compress.data.preprocessing import Preprocessing
from slt_compress.data.splits import Split

RECALIBRATION_IMAGES = 10_000


@torch.no_grad()
def recalibrate(
    module: nn.Module, train: Split, preprocessing: Preprocessing, batch_size: int, generator: torch.Generator
) -> None:
    """Measure the BatchNorm statistics of the module as it is, on at most 10,000 shuffled training images.

    The statistics gathered during a search belong to soft, noisy gates. Shuffled, because data stored by class would
    give every batch the statistics of one class. Leaves the module in evaluation mode.
    """
    chosen = torch.randperm(len(train), generator=generator)[:RECALIBRATION_IMAGES]
    batches = train.take(chosen).batches(min(batch_size, len(chosen)), drop_last=True)
    update_bn((preprocessing(images) for images, _ in batches), module)
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.num_batches_tracked is not None:
            layer.num_batches_tracked.zero_()  # a count that nobody needs would differ from the restored network's
    module.eval()
