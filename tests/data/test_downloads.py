"""Files of torchvision's data sets that are there, but not what they should be: one line that names the file."""

import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slt_compress.data.datasets import open_dataset
from slt_compress.errors import DataError, MissingDatasetError

HTML = b"<!DOCTYPE html><html><body>Sign in to the network</body></html>"
PROXY = "http://127.0.0.1:9"  # refuses every connection, as a machine without internet does


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, PROXY)
    monkeypatch.setenv("no_proxy", "")


def idx(values: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    return struct.pack(f">I{values.ndim}I", 0x0800 + values.ndim, *values.shape) + values.tobytes()


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A small MNIST, unpacked."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, count in (("train", 12), ("t10k", 10)):
        images = np.random.default_rng(0).integers(0, 256, (count, 28, 28), np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx((np.arange(count) % 10).astype(np.uint8)))
    return folder


def message(folder: Path, name: str, part: str = "train") -> str:
    """Return why a part cannot be read."""
    with pytest.raises(DataError) as caught:
        open_dataset(name, folder).read("train" if part == "train" else "test", 28)
    assert not isinstance(caught.value, MissingDatasetError)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert "downloaded" not in text
    return text


CHANGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "found an empty file"),
    "header only": (lambda content: content[:6], "begins with"),
    "truncated": (lambda content: content[:-1], "bytes, found"),
    "too long": (lambda content: content + b"\0", "bytes, found"),
    "html": (lambda _: HTML, "found 3c 21 44 4f"),
    "packed": (lambda _: b"\x1f\x8b\x08\0" + bytes(60), "found 1f 8b 08 00"),
    "other numbers": (lambda content: content[:2] + b"\x0d" + content[3:], "begins with 00 00 08"),
    "huge": (lambda content: content[:4] + b"\xff" * 4 + content[8:], "bytes, found"),
}


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("file", ["images-idx3", "labels-idx1"])
@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("alone", [True, False])
def test_a_damaged_mnist_file_is_named(tmp_path: Path, raw: Path, kind: str, file: str, part: str, alone: bool) -> None:
    path = raw / f"{'train' if part == 'train' else 't10k'}-{file}-ubyte"
    for other in raw.iterdir() if alone else ():
        if other != path:
            other.unlink()
    change, words = CHANGES[kind]
    path.write_bytes(change(path.read_bytes()))
    text = message(tmp_path, "mnist", part)
    assert text.startswith(f"{path} is damaged or another file: expected ")
    assert words in text


def test_swapped_and_mislabelled_mnist_files_are_named(tmp_path: Path, raw: Path) -> None:
    images, labels = raw / "train-images-idx3-ubyte", raw / "train-labels-idx1-ubyte"
    whole = images.read_bytes(), labels.read_bytes()
    images.write_bytes(whole[1])
    labels.write_bytes(whole[0])
    assert "begins with 00 00 08 03, found 00 00 08 01" in message(tmp_path, "mnist")
    images.write_bytes((raw / "t10k-images-idx3-ubyte").read_bytes())
    labels.write_bytes(whole[1])
    assert "a label for each of the 10 images beside it, found 12 labels" in message(tmp_path, "mnist")
    images.write_bytes(whole[0])
    labels.write_bytes(whole[1][:-1] + b"\x0b")
    assert "labels from 0 to 9, found a label 11" in message(tmp_path, "mnist")
    images.write_bytes(idx(np.zeros((12, 8, 8), np.uint8)))
    assert "images of 28×28 px, found 8×8" in message(tmp_path, "mnist")


def test_a_damaged_archive_is_named(tmp_path: Path, raw: Path) -> None:
    for path in raw.iterdir():
        path.unlink()
    (raw / "train-images-idx3-ubyte.gz").write_bytes(HTML)
    assert message(tmp_path, "mnist").startswith(f"{raw / 'train-images-idx3-ubyte.gz'} is damaged or another file")


@pytest.mark.parametrize("content", [b"", HTML, pickle.dumps({"data": [1]})])
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cifar10", "cifar-10-batches-py/data_batch_3"),
        ("cifar10", "cifar-10-batches-py/batches.meta"),
        ("cifar100", "cifar-100-python/train"),
        ("svhn", "svhn/train_32x32.mat"),
    ],
)
def test_a_file_of_another_sum_is_named(tmp_path: Path, name: str, file: str, content: bytes) -> None:
    path = tmp_path / file
    path.parent.mkdir()
    path.write_bytes(content)
    text = message(tmp_path, name)
    assert text.startswith(f"{path} is damaged or another file: expected the MD5 ")
    assert f"({len(content)} bytes)" in text


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "cifar100", "svhn"])
def test_what_is_absent_would_have_to_be_downloaded(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingDatasetError, match=r"is not in .* and cannot be downloaded"):
        open_dataset(name, tmp_path).read("train", 28)


@pytest.mark.parametrize(
    ("name", "file"), [("mnist", "MNIST/raw/train-labels-idx1-ubyte"), ("svhn", "svhn/train_32x32.mat")]
)
@pytest.mark.usefixtures("raw")
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, file: str) -> None:
    path = tmp_path / file
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)  # nobody can read a folder as a file, root included
    assert message(tmp_path, name).startswith(f"cannot read {path}: ")
