"""Data sets: splits that do not depend on seeds, folders of pictures, and clear words when something is missing."""

import gzip
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from slt_compress import data
from slt_compress.errors import DataError, UsageError


def write_picture(path: Path, size: tuple[int, int], value: int, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part, count in (("train", 6), ("test", 3)):
        for label, name in enumerate(("cat", "dog")):
            for index in range(count):
                write_picture(tmp_path / part / name / f"{index}.png", (10, 10), 100 * label + index)
    return tmp_path


def test_digits_are_split_the_same_every_time() -> None:
    digits = data.open_dataset("digits", None)
    train, test = digits.read("train", 8), digits.read("test", 8)
    assert (len(train), len(test)) == (1437, 360)
    assert digits.classes == tuple("0123456789")
    (images, labels) = next(test.batches(1000))
    assert images.shape == (360, 1, 8, 8)
    assert images.dtype == torch.uint8
    assert labels.bincount().tolist() == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]
    again = next(data.open_dataset("digits", None).read("test", 8).batches(1000))[0]
    assert torch.equal(images, again)


def test_published_statistics_normalise_digits() -> None:
    digits = data.open_dataset("digits", None)
    train = digits.read("train", 8)
    normalised = digits.preprocessing(8, train)(next(train.batches(len(train)))[0])
    assert normalised.mean().item() == pytest.approx(0, abs=0.02)
    assert normalised.std().item() == pytest.approx(1, abs=0.02)


def test_pictures_are_resized_on_request() -> None:
    images = next(data.open_dataset("digits", None).read("test", 28).batches(10))[0]
    assert images.shape == (10, 1, 28, 28)


def test_held_out_pictures_are_a_tenth_and_not_in_the_rest() -> None:
    images = torch.arange(1000, dtype=torch.int64)
    split = data.TensorSplit(torch.zeros(1000, 1, 1, 1, dtype=torch.uint8), images)
    rest, held_out = data.hold_out(split)
    assert (len(rest), len(held_out)) == (900, 100)
    found = torch.cat([next(part.batches(1000))[1] for part in (rest, held_out)])
    assert torch.equal(found.sort().values, images)
    assert torch.equal(next(data.hold_out(split)[1].batches(100))[1], next(held_out.batches(100))[1])


def test_batches_cover_every_picture_once_in_the_drawn_order() -> None:
    split = data.TensorSplit(torch.zeros(10, 1, 1, 1, dtype=torch.uint8), torch.arange(10))
    shuffled = [labels for _, labels in split.batches(4, shuffle=torch.Generator().manual_seed(1))]
    assert [len(labels) for labels in shuffled] == [4, 4, 2]
    assert sorted(torch.cat(shuffled).tolist()) == list(range(10))
    assert torch.cat(shuffled).tolist() != list(range(10))
    assert [len(labels) for _, labels in split.batches(4, drop_last=True)] == [4, 4]
    assert torch.cat([labels for _, labels in split.batches(4)]).tolist() == list(range(10))


def test_a_folder_is_read_with_its_own_size_and_statistics(folder: Path) -> None:
    pictures = data.open_dataset("imagefolder", folder)
    assert (pictures.classes, pictures.channels, pictures.size) == (("cat", "dog"), 3, 10)
    train = pictures.read("train", 10)
    images, labels = next(train.batches(100))
    assert labels.tolist() == [0] * 6 + [1] * 6
    with Image.open(folder / "train" / "dog" / "2.png") as picture:
        assert np.array_equal(images[8].permute(1, 2, 0).numpy(), np.asarray(picture))
    preprocessing = pictures.preprocessing(10, train)
    pixels = images.double() / 255
    assert preprocessing.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-4)
    assert preprocessing.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=1e-4)


def test_a_large_folder_is_streamed_with_the_same_pictures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = data.open_dataset("imagefolder", folder)
    in_memory = pictures.read("train", 8)
    monkeypatch.setattr(data, "IN_MEMORY_BYTES", 0)
    streamed = pictures.read("train", 8)
    assert isinstance(streamed, data.FolderSplit)
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


def test_mixed_or_large_pictures_have_no_common_size(folder: Path) -> None:
    write_picture(folder / "train" / "dog" / "wide.jpg", (12, 10), 7)
    pictures = data.open_dataset("imagefolder", folder)
    assert pictures.size is None
    assert next(pictures.read("train", 16).batches(20))[0].shape == (13, 3, 16, 16)


def test_grey_pictures_have_one_channel_and_val_stands_in_for_test(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for name in ("a", "b"):
            write_picture(tmp_path / part / name / "0.png", (8, 8), 1, "L")
    pictures = data.open_dataset("imagefolder", tmp_path)
    assert pictures.channels == 1
    assert len(pictures.read("test", 8)) == 2


def test_an_empty_class_is_named(folder: Path) -> None:
    for path in (folder / "test" / "dog").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=re.escape(f"{folder / 'test' / 'dog'} holds no pictures")):
        data.open_dataset("imagefolder", folder)


def test_a_class_only_in_test_is_named(folder: Path) -> None:
    write_picture(folder / "test" / "bird" / "0.png", (10, 10), 1)
    with pytest.raises(DataError, match="bird"):
        data.open_dataset("imagefolder", folder)


def test_a_damaged_picture_is_named(folder: Path) -> None:
    broken = folder / "train" / "cat" / "3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    pictures = data.open_dataset("imagefolder", folder)
    with pytest.raises(DataError, match=re.escape(str(broken))):
        pictures.read("train", 10)


@pytest.mark.parametrize(("parts", "words"), [((), "train/"), (("train",), "test/ or val/")])
def test_missing_parts_are_named(tmp_path: Path, parts: tuple[str, ...], words: str) -> None:
    for part in parts:
        for name in ("a", "b"):
            write_picture(tmp_path / part / name / "0.png", (8, 8), 1)
    with pytest.raises(DataError, match=words):
        data.open_dataset("imagefolder", tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        data.open_dataset("mnist", tmp_path / "nowhere")
    with pytest.raises(DataError, match="needs --data-dir"):
        data.open_dataset("imagefolder", None)


@pytest.mark.parametrize(("name", "close"), [("minst", "mnist"), ("cifar-10", "cifar10"), ("zzz", "known: digits")])
def test_unknown_names_are_answered_with_close_ones(name: str, close: str) -> None:
    with pytest.raises(UsageError, match=close):
        data.open_dataset(name, None)


def write_idx(path: Path, values: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">I", 0x0800 + values.ndim) + b"".join(struct.pack(">I", size) for size in values.shape)
    path.write_bytes(header + values.tobytes())
    with gzip.open(f"{path}.gz", "wb") as file:
        file.write(path.read_bytes())


@pytest.mark.parametrize(("name", "folder_name"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_a_local_copy_is_used_as_it_lies(tmp_path: Path, name: str, folder_name: str) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 6), ("t10k", 4)):
        raw = tmp_path / folder_name / "raw"
        write_idx(raw / f"{part}-images-idx3-ubyte", rng.integers(0, 256, (count, 28, 28), np.uint8))
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8))
    pictures = data.open_dataset(name, tmp_path)
    images, labels = next(pictures.read("train", 28).batches(10))
    assert images.shape == (6, 1, 28, 28)
    assert labels.tolist() == list(range(6))
    assert len(pictures.classes) == 10
