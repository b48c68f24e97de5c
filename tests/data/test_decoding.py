"""Images of PIL as pixels: size, mode, and one clear error for a damaged one."""

import numpy as np
import pytest
import torch
from PIL import Image

from slt_compress.data.decoding import is_grey, pixels, readable
from slt_compress.errors import DataError


def test_the_shorter_side_is_resized_and_the_centre_cropped() -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = (10, 20, 30)
    image = Image.fromarray(wide)
    assert torch.equal(pixels(image, 8, 3), torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1).expand(3, 8, 8))


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_images_are_known(mode: str) -> None:
    assert is_grey(Image.new(mode, (2, 2)))
    assert not is_grey(Image.new("RGB", (2, 2)))


def test_a_damaged_image_is_named() -> None:
    with pytest.raises(DataError, match=r"^cannot read the image here\.png: broken$"), readable("here.png"):
        raise OSError("broken")
