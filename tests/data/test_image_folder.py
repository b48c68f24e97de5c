"""Folders of images: layout, sizes, statistics, streaming, and clear words when something is wrong."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from slt_compress.data import images
from slt_compress.data.image_folder import open_image_folder
from slt_compress.data.images import StreamedSplit
from slt_compress.errors import DataError


def write_image(path: Path, size: tuple[int, int], value: int, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part, count in (("train", 6), ("test", 3)):
        for label, name in enumerate(("cat", "dog")):
            for index in range(count):
                write_image(tmp_path / part / name / f"{index}.png", (10, 10), 100 * label + index)
    return tmp_path


def test_a_folder_is_read_with_its_own_size_and_statistics(folder: Path) -> None:
    dataset = open_image_folder(folder)
    assert (dataset.classes, dataset.channels, dataset.size) == (("cat", "dog"), 3, 10)
    train = dataset.read("train", 10)
    images, labels = next(train.batches(100))
    assert labels.tolist() == [0] * 6 + [1] * 6
    with Image.open(folder / "train" / "dog" / "2.png") as image:
        assert np.array_equal(images[8].permute(1, 2, 0).numpy(), np.asarray(image))
    preprocessing = dataset.preprocessing(10, train)
    pixels = images.double() / 255
    assert preprocessing.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-4)
    assert preprocessing.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=1e-4)


def test_a_large_folder_is_streamed_with_the_same_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_image_folder(folder)
    in_memory = dataset.read("train", 8)
    monkeypatch.setattr(images, "IN_MEMORY_BYTES", 0)
    streamed = dataset.read("train", 8)
    assert isinstance(streamed, StreamedSplit)
    for seed in (None, 3):
        kept, read = (
            list(split.batches(5, shuffle=None if seed is None else torch.Generator().manual_seed(seed)))
            for split in (in_memory, streamed)
        )
        assert all(
            torch.equal(a, b) for one, two in zip(kept, read, strict=True) for a, b in zip(one, two, strict=True)
        )
    part = streamed.take(torch.tensor([3, 11])).to(torch.device("cpu"))
    assert torch.equal(next(part.batches(2))[0], next(in_memory.take(torch.tensor([3, 11])).batches(2))[0])


def test_mixed_or_large_images_have_no_common_size(folder: Path) -> None:
    write_image(folder / "train" / "dog" / "wide.jpg", (12, 10), 7)
    dataset = open_image_folder(folder)
    assert dataset.size is None
    assert next(dataset.read("train", 16).batches(20))[0].shape == (13, 3, 16, 16)


def test_grey_images_have_one_channel_and_val_stands_in_for_test(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for name in ("a", "b"):
            write_image(tmp_path / part / name / "0.png", (8, 8), 1, "L")
    dataset = open_image_folder(tmp_path)
    assert dataset.channels == 1
    assert len(dataset.read("test", 8)) == 2


def test_an_empty_class_is_named(folder: Path) -> None:
    for path in (folder / "test" / "dog").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=re.escape(f"{folder / 'test' / 'dog'} holds no images")):
        open_image_folder(folder)


def test_a_class_only_in_test_is_named(folder: Path) -> None:
    write_image(folder / "test" / "bird" / "0.png", (10, 10), 1)
    with pytest.raises(DataError, match="bird"):
        open_image_folder(folder)


def test_a_damaged_image_is_named(folder: Path) -> None:
    broken = folder / "train" / "cat" / "3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    dataset = open_image_folder(folder)
    with pytest.raises(DataError, match=re.escape(str(broken))):
        dataset.read("train", 10)


@pytest.mark.parametrize(("parts", "words"), [((), "train/"), (("train",), "test/ or val/")])
def test_missing_parts_are_named(tmp_path: Path, parts: tuple[str, ...], words: str) -> None:
    for part in parts:
        for name in ("a", "b"):
            write_image(tmp_path / part / name / "0.png", (8, 8), 1)
    with pytest.raises(DataError, match=words):
        open_image_folder(tmp_path)
