"""Images as a split: in memory or streamed, the same batches."""

from pathlib import Path

import pytest
import torch

from slt_compress.data import images
from slt_compress.data.images import ImageFiles, StreamedSplit, as_dataset
from slt_compress.data.splits import Dataset, TensorSplit
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


def test_a_worker_that_meets_a_damaged_image_says_so_in_one_line(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "IN_MEMORY_BYTES", 0)
    (tmp_path / "4.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"^cannot read the image .*4\.png: .*") as caught:
        list(dataset.read("train", 8).batches(3))
    assert "\n" not in str(caught.value)
