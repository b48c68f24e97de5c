"""Data sets by name: splits that do not depend on seeds, local copies, and clear words when something is missing."""

import gzip
import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from slt_compress.data.datasets import DATASET_NAMES, check_dataset_name, open_dataset
from slt_compress.data.splits import Part, Reading, Wanted
from slt_compress.errors import DataError, UsageError
from tests.support.pictures import write_listing


def test_digits_are_split_the_same_every_time() -> None:
    digits = open_dataset("digits", None)
    train, test = digits.read("train", 8), digits.read("test", 8)
    assert (len(train), len(test)) == (1437, 360)
    assert digits.classes == tuple("0123456789")
    (images, labels) = next(test.batches(1000))
    assert images.shape == (360, 1, 8, 8)
    assert images.dtype == torch.uint8
    assert labels.bincount().tolist() == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]
    again = next(open_dataset("digits", None).read("test", 8).batches(1000))[0]
    assert torch.equal(images, again)


def test_published_statistics_normalise_digits() -> None:
    digits = open_dataset("digits", None)
    train = digits.read("train", 8)
    normalised = digits.preprocessing(8, train)(next(train.batches(len(train)))[0])
    assert normalised.mean().item() == pytest.approx(0, abs=0.02)
    assert normalised.std().item() == pytest.approx(1, abs=0.02)


def test_images_are_resized_on_request() -> None:
    images = next(open_dataset("digits", None).read("test", 28).batches(10))[0]
    assert images.shape == (10, 1, 28, 28)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_dataset("mnist", tmp_path / "nowhere")
    with pytest.raises(DataError, match="needs `data_dir`"):
        open_dataset("imagefolder", None)
    with pytest.raises(DataError, match="csv needs `data_dir`, a CSV file"):
        open_dataset("csv", None)


def test_every_name_is_known() -> None:
    for name in DATASET_NAMES:
        check_dataset_name(name)
    for name in ("hf", "hf:", "hf:x#a=b"):
        with pytest.raises(UsageError, match="hf:NAME"):
            check_dataset_name(name)


def test_a_listing_is_opened_by_its_file_or_its_folder(tmp_path: Path) -> None:
    file = write_listing(tmp_path, ["red", "blue"] * 5)
    for place in (file, tmp_path):
        dataset = open_dataset("csv", place)
        assert (dataset.name, len(dataset.read("test", 8))) == ("csv", 2)


@pytest.mark.parametrize(
    ("name", "close"), [("minst", "mnist"), ("cifar-10", "cifar10"), ("zzz", "known: digits"), ("cvs", "csv")]
)
def test_unknown_names_are_answered_with_close_ones(name: str, close: str) -> None:
    with pytest.raises(UsageError, match=close):
        open_dataset(name, None)


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
    dataset = open_dataset(name, tmp_path)
    images, labels = next(dataset.read("train", 28).batches(10))
    assert images.shape == (6, 1, 28, 28)
    assert labels.tolist() == list(range(6))
    assert len(dataset.classes) == 10


def test_a_home_folder_is_looked_up_when_it_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without one, as in a container run by a user that the system does not know, and with one that cannot be made."""

    def unknown(user: int) -> object:
        raise KeyError(user)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert len(open_dataset("digits", None).classes) == 10
    with pytest.raises(DataError, match="no home folder: give `data_dir`"):
        open_dataset("mnist", None).read("train", 28)
    for name in ("hf:~/set", "hf:~/set#train,test"):
        with pytest.raises(UsageError, match="begins with ~ and there is no home folder"):
            open_dataset(name, None)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot make the folder .*\(Not a directory\): give `data_dir`"):
        open_dataset("cifar10", None).read("train", 28)


def test_of_what_is_wanted_torchvision_needs_one_part(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 28, 28), np.uint8)
    write_idx(tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte", pixels)
    write_idx(tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte", np.arange(4, dtype=np.uint8))
    wanted = Wanted("test", tuple("0123456789"), several=False, channels=1)
    images, labels = next(open_dataset("mnist", tmp_path, wanted=wanted).read("test", 28).batches(9))
    assert np.array_equal(images[:, 0].numpy(), pixels)
    assert labels.tolist() == [0, 1, 2, 3]


def test_what_is_read_as_a_whole_has_no_images_to_leave_out() -> None:
    with pytest.raises(UsageError, match="`skip_unreadable` is for images in files or tables; digits is read as a wh"):
        open_dataset("digits", None, Reading(skip_unreadable=True))


@pytest.mark.parametrize("name", ["imagefolder", "csv", "mnist", "hf"])
def test_a_path_that_no_file_can_have_is_said_to_be_absent(name: str) -> None:
    place = "x" * 5000
    with pytest.raises(DataError, match=r"does not exist"):
        open_dataset(f"hf:/{place}", None) if name == "hf" else open_dataset(name, Path(place))


@pytest.mark.parametrize("part", ["train", "test"])
def test_cifar_asks_for_the_files_of_one_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: Part) -> None:
    """With files of our own, and so with checksums of our own."""
    from torchvision import datasets

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()

    def write(name: str, content: object) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    batch = write("batch", {"data": np.arange(2 * 3072).reshape(2, 3072).astype(np.uint8), "labels": [1, 0]})
    meta = write("batches.meta", {"label_names": ["plane", "car"]})
    absent = ["absent", "0" * 32]
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [batch if part == "train" else absent])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [batch if part == "test" else absent])
    monkeypatch.setattr(datasets.CIFAR10, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]})
    wanted = Wanted(part, ("plane", "car"), several=False, channels=3)
    dataset = open_dataset("cifar10", tmp_path, wanted=wanted)
    assert dataset.classes == ("plane", "car")
    assert next(dataset.read(part, 32).batches(9))[1].tolist() == [1, 0]


@pytest.mark.parametrize("name", ["mnist", "imagefolder"])
def test_a_file_where_a_folder_belongs_is_told_from_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=rf"file is no folder: `data_dir` names the folder that {name} is read from$"):
        open_dataset(name, tmp_path / "file")
    with pytest.raises(
        DataError, match="the data folder .*none does not exist" + ("$" if name == "imagefolder" else "")
    ):
        open_dataset(name, tmp_path / "none")
