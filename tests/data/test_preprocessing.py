"""What a network expects of an image: normalised per channel, the same again after JSON."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from slt_compress.data.preprocessing import Preprocessing, as_pixels
from slt_compress.errors import DataError

PREPROCESSING = Preprocessing(1, 2, (0.5, 0.25), (0.5, 0.75))


def test_normalisation_is_per_channel() -> None:
    images = torch.tensor([[[[0]], [[255]]]], dtype=torch.uint8)
    normalised = PREPROCESSING(images)
    assert normalised.flatten().tolist() == [-1, 1]
    assert normalised.dtype == torch.float32
    assert images.flatten().tolist() == [0, 255]


def test_it_survives_json() -> None:
    stored = json.loads(json.dumps(PREPROCESSING.to_json()))
    assert Preprocessing.from_json(stored) == PREPROCESSING
    assert hash(Preprocessing.from_json(stored)) == hash(PREPROCESSING)


@pytest.mark.parametrize("change", [{"more": 1}, {"mean": None}])
def test_other_fields_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        Preprocessing.from_json({**PREPROCESSING.to_json(), **change})
    with pytest.raises(TypeError):
        Preprocessing.from_json({"size": 8})


def test_pixels_have_their_channels_last() -> None:
    images = torch.arange(24, dtype=torch.uint8).view(1, 2, 3, 4)
    pixels = as_pixels(images)
    assert pixels.shape == (1, 3, 4, 2)
    assert pixels.is_contiguous()
    assert all(pixels[0, y, x, c] == images[0, c, y, x] for c in range(2) for y in range(3) for x in range(4))


@pytest.mark.parametrize("channels", [1, 3])
def test_it_opens_image_files_as_a_split_does(tmp_path: Path, channels: int) -> None:
    ramp = np.tile(np.arange(0, 65536, 4096).astype(np.uint16), (16, 1))
    Image.fromarray(ramp).save(tmp_path / "0.png")
    prepare = Preprocessing(16, channels, (0.5,) * channels, (0.25,) * channels)
    found = prepare.open(str(tmp_path / "0.png"))
    assert found.dtype == torch.uint8
    assert np.array_equal(found.numpy(), np.broadcast_to(ramp >> 8, (1, channels, 16, 16)))
    assert prepare(found).shape == (1, channels, 16, 16)
    missing = tmp_path / "missing.png"
    with pytest.raises(DataError, match=f"^cannot read the image {re.escape(str(missing))}: "):
        prepare.open(missing)
