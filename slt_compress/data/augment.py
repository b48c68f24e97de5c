"""Random changes of training images: a whole batch at a time, on the device where it lies, before it is normalised.

What a step draws follows from the seed and the step alone. A resumed search sees the same images as one
that was never interrupted, and processes that share a batch change each of its images as a single process would.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from slt_compress import prng
from slt_compress.errors import UsageError

# The side of an image is so many times the most that it is moved: 4 px for 32, as in He et al. (2016) for CIFAR-10,
# or 2, as in Jordan (2024, arXiv:2404.00498) for runs of few epochs.
_PARTS = {"crop": 8, "crop-flip": 8, "shift-flip": 16}


@dataclass(frozen=True)
class Augmentation:
    """What is done to the images of a step: "none", "flip", "crop", "crop-flip" or "shift-flip".

    A crop moves an image by up to an eighth of its side in any direction, over a black border; a shift by up to a
    sixteenth. A flip mirrors every second one, left to right.
    """

    name: str = "none"
    seed: int = 0

    def check(self, size: int) -> None:
        """Raise UsageError if nothing would be changed of images of a size, in px."""
        if self.name == "crop" and self._border(size) == 0:
            raise UsageError(f"`augment=crop` has no meaning for images of {size} px, an eighth of which is no pixel")

    def __call__(
        self, images: torch.Tensor, step: int, batch_size: int, shard: tuple[int, int] = (0, 1)
    ) -> torch.Tensor:
        """Return the changed images, uint8 (n, channels, size, size) as given: a `shard`, as in `Split.batches`, of
        the `batch_size` images of a step.
        """
        if self.name == "none":
            return images
        _, channels, size, _ = images.shape
        border = self._border(size)
        words = prng.words(self.seed, "augmentation", f"step {step}", 3 * batch_size).reshape(3, batch_size)
        choices = np.array([2 * border + 1, 2 * border + 1, 2], np.uint32)
        first, stride = shard
        draws = torch.from_numpy((words % choices[:, None]).astype(np.int64)[:, first::stride])
        if images.is_cuda:
            draws = draws.pin_memory()  # else the host would wait for the copy
        top, left, flipped = draws.to(images.device, non_blocking=True)[:, :, None]
        along = torch.arange(size, device=images.device)
        rows, columns = top + along, left + along
        if self.name.endswith("flip"):
            columns = torch.where(flipped.bool(), columns.flip(1), columns)
        padded = F.pad(images, (border,) * 4)
        each = torch.arange(len(images), device=images.device)[:, None, None, None]
        planes = torch.arange(channels, device=images.device)[:, None, None]
        return padded[each, planes, rows[:, None, :, None], columns[:, None, None, :]]

    def _border(self, size: int) -> int:
        """Return by how many px an image is moved at most."""
        return size // _PARTS[self.name] if self.name in _PARTS else 0
