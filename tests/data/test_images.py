"""Images as a split: in memory or streamed, the same batches."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from slt_compress.data import images
from slt_compress.data.images import DamagedImagesError, ImageFiles, StreamedSplit, as_dataset
from slt_compress.data.splits import Dataset, Reading, TensorSplit
from slt_compress.errors import DataError
from tests.support.pictures import save_picture

LABELS = torch.eye(7)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Seven images of 8 px, with as many labels each."""
    files = [tmp_path / f"{index}.png" for index in range(7)]
    for index, file in enumerate(files):
        save_picture(file, "red", index)
    part = (ImageFiles(files), LABELS)
    return as_dataset("some", list("abcdefg"), {"train": part, "test": part})


def test_few_images_are_decoded_once_and_counted(dataset: Dataset) -> None:
    told: list[tuple[int, int]] = []
    split = dataset.read("train", 8, lambda done, total: told.append((done, total)))
    assert isinstance(split, TensorSplit)
    assert told == [(count, 7) for count in range(1, 8)]
    assert (dataset.size, dataset.channels, dataset.classes) == (8, 3, tuple("abcdefg"))


def test_streamed_batches_are_those_in_memory(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = dataset.read("train", 6)
    monkeypatch.setattr(images, "IN_MEMORY_BYTES", 7 * 3 * 6 * 6 - 1)
    streamed = dataset.read("train", 6)
    assert isinstance(streamed, StreamedSplit)
    state = torch.get_rng_state()
    for chosen in (torch.arange(7), torch.tensor([5, 2, 3, 6])):
        for seed in (None, 1):
            one, two = (
                list(
                    split.take(chosen).batches(
                        3,
                        shuffle=None if seed is None else torch.Generator().manual_seed(seed),
                        drop_last=True,
                        shard=(1, 2),
                    )
                )
                for split in (kept, streamed)
            )
            assert len(one) == len(two) == len(chosen) // 3
            for batch, other in zip(one, two, strict=True):
                assert all(torch.equal(a, b) for a, b in zip(batch, other, strict=True))
    again = streamed.take(torch.tensor([5, 2, 3])).take(torch.tensor([2]))
    assert torch.equal(next(again.batches(1))[1], LABELS[[3]])
    assert torch.equal(torch.get_rng_state(), state)  # the user's own generator


def damage(folder: Path, *, headers: Sequence[int] = (), bodies: Sequence[int] = ()) -> None:
    """Cut files short: in their headers, or only behind them."""
    for index in (*headers, *bodies):
        file = folder / f"{index}.png"
        file.write_bytes(file.read_bytes()[: 20 if index in headers else 60])


@pytest.mark.parametrize("limit", [0, 2**31])
def test_all_damaged_images_are_named_at_once(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(images, "IN_MEMORY_BYTES", limit)
    damage(tmp_path, headers=(1, 4, 6))
    with pytest.raises(DamagedImagesError) as caught:
        dataset.read("train", 8)
    text = str(caught.value)
    assert text.startswith(f"cannot read 3 images: {tmp_path / '1.png'}: ")
    assert [f"{tmp_path / name}.png: " in text for name in "01234567"] == [name in "146" for name in "01234567"]
    assert text.endswith("; `skip_unreadable` leaves them out")
    assert "\n" not in text


def test_ten_are_named_and_the_others_counted() -> None:
    error = DamagedImagesError([f"cannot read the image {index}.png: no" for index in range(1012)])
    assert str(error).startswith("cannot read 1,012 images: 0.png: no; 1.png: no; ")
    assert str(error).endswith("; 9.png: no; and 1,002 more; `skip_unreadable` leaves them out")
    one = DamagedImagesError(["cannot read the image a.png: no"])
    assert str(one) == "cannot read the image a.png: no; `skip_unreadable` leaves it out"


def test_a_fine_header_hides_damage_from_a_stream_until_it_is_decoded(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "IN_MEMORY_BYTES", 0)
    damage(tmp_path, bodies=(4,))
    split = dataset.read("train", 8)
    with pytest.raises(
        DataError, match=r"^cannot read the image .*4\.png: .*; `skip_unreadable` leaves it out$"
    ) as caught:
        list(split.batches(3))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("limit", [0, 2**31])
@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_are_left_out_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, workers: int
) -> None:
    """A header, a body, a missing file and a pipe, which must not be opened."""
    monkeypatch.setattr(images, "IN_MEMORY_BYTES", limit)
    files = [tmp_path / f"{index}.png" for index in range(8)]
    for index, file in enumerate(files[:6]):
        save_picture(file, "red", index)
    os.mkfifo(files[6])
    damage(tmp_path, headers=(0,), bodies=(3,))
    told: list[str] = []
    part = (ImageFiles(files), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]))
    reading = Reading(workers, skip_unreadable=True, warn=told.append)
    split = as_dataset("some", "ab", {"train": part}, reading=reading).read("train", 8)
    found, labels = next(split.batches(9))
    assert labels.tolist() == [0, 0, 1, 1]
    expected = as_dataset("some", "ab", {"train": (ImageFiles([files[i] for i in (1, 2, 4, 5)]), labels)})
    assert torch.equal(found, next(expected.read("train", 8).batches(9))[0])
    idle = bool(limit and workers)
    assert told[:-1] == ["`workers=2` has no effect: the images fit into memory, and are decoded once"] * idle
    assert told[-1].startswith(
        f"left out of the train images: 4 that cannot be read, such as: cannot read the image {files[0]}: "
    )


@pytest.mark.parametrize(("labels", "words"), [([0, 0, 1], "of the class b$"), ([0, 1, 1], "none of the 3 train")])
def test_a_class_without_readable_images_is_an_error(tmp_path: Path, labels: list[int], words: str) -> None:
    files = [tmp_path / f"{index}.png" for index in range(3)]
    if labels[1] == 0:
        save_picture(files[0], "red", 0)
        save_picture(files[1], "red", 1)
    part = (ImageFiles(files), torch.tensor(labels))
    dataset = as_dataset("some", "ab", {"train": part}, reading=Reading(skip_unreadable=True))
    with pytest.raises(DataError, match=words):
        dataset.read("train", 8)
