"""What a network expects of an image, and how uint8 images become that. Needs torch only once it is given images."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slt_compress.errors import UsageError

if TYPE_CHECKING:
    import torch


# How an image that is no square of the right size becomes one: the only rule so far, which docs/ticket-format.md spells
# out.
GEOMETRY = "scale-shorter-side-crop-centre"


@dataclass(frozen=True)
class Preprocessing:
    """Square images of `size` px with `channels` planes; per plane (x/255 - mean)/std."""

    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: "torch.Tensor") -> "torch.Tensor":
        """Turn uint8 (n, channels, size, size) into normalised float32 of the same shape and device.

        Raises UsageError for anything but whole pixels from 0 to 255.
        """
        if images.is_floating_point():
            raise UsageError("this network takes images as uint8 pixels from 0 to 255, got floating-point numbers")
        mean, std = (_per_channel(values, images.device) for values in (self.mean, self.std))
        return images.float().div_(255).sub_(mean).div_(std)

    def open(self, file: str | Path) -> "torch.Tensor":
        """Return the image in a file as uint8 (1, channels, size, size), decoded as those of the training were.

        Raises DataError, naming the file, if it cannot be read.
        """
        from slt_compress.data.decoding import opened, pixels

        with opened(file, str(file)) as image:
            return pixels(image, self.size, self.channels).unsqueeze(0)

    def to_json(self) -> dict[str, Any]:
        return {"size": self.size, "channels": self.channels, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Preprocessing":
        """Read what `to_json` wrote. Raises TypeError for other fields."""
        found = cls(**fields)
        return cls(found.size, found.channels, tuple(found.mean), tuple(found.std))


@cache
def _per_channel(values: tuple[float, ...], device: "torch.device") -> "torch.Tensor":
    import torch

    return torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)


def as_pixels(images: "torch.Tensor") -> "torch.Tensor":
    """Turn uint8 (n, channels, size, size) into (n, size, size, channels), as cameras and image libraries have it."""
    return images.permute(0, 2, 3, 1).contiguous()
