"""What an image of PIL is as pixels of a network."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from slt_compress.errors import DataError


@contextlib.contextmanager
def readable(name: str) -> Iterator[None]:
    """Raise DataError, naming the image, for what PIL raises of one that is damaged."""
    from PIL import Image

    try:
        yield
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read the image {name}: {error}") from error


def shown_size(image: Any) -> tuple[int, int]:
    """Return the width and height of an image, in px, as a viewer shows it."""
    width, height = image.size
    return width, height


def is_grey(image: Any) -> bool:
    """Return whether an image has no colours."""
    return image.mode in ("1", "L", "I;16")


def pixels(image: Any, size: int, channels: int) -> torch.Tensor:
    """Return an image as uint8 (channels, size, size): shorter side resized to `size`, centre cropped."""
    from PIL import Image, ImageOps

    converted = image.convert("L" if channels == 1 else "RGB")
    if converted.size != (size, size):
        converted = ImageOps.fit(converted, (size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(converted, np.uint8).reshape(size, size, channels).transpose(2, 0, 1).copy())
