"""Which images make up each batch of a pass over a split."""

from collections.abc import Iterator

import torch

Shard = tuple[int, int]
"""(first, stride): of each batch every `stride`-th image from the `first` on, what one of several processes sees."""

WHOLE: Shard = (0, 1)


def batch_indices(
    count: int,
    batch_size: int,
    shuffle: torch.Generator | None,
    drop_last: bool,
    skip: int = 0,
    shard: Shard = WHOLE,
    device: torch.device | None = None,
) -> Iterator[torch.Tensor]:
    """Yield the positions of each batch's images, int64, without the first `skip` batches.

    In stored order, or in the one that `shuffle` draws, which does not depend on `skip`.
    """
    order = torch.arange(count) if shuffle is None else torch.randperm(count, generator=shuffle)
    for batch in torch.split(order.to(device), batch_size)[skip:]:
        if not drop_last or len(batch) == batch_size:
            yield batch[shard[0] :: shard[1]]
