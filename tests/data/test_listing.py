"""CSV files of images: one label or several, splits named or drawn, and a line number for whatever is wrong."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from slt_compress.data.listing import open_listing
from slt_compress.data.splits import IndexedSplit, Reading, Wanted
from slt_compress.errors import DataError
from slt_compress.tasks.record import TaskRecord
from tests.support.pictures import save_picture, write_listing

TWO = ["red", "blue"]


def whole(split: IndexedSplit) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images and the labels of a split."""
    return next(split.batches(1000))


def refused(file: Path, text: str | bytes, words: str) -> None:
    """Opening a file with this content fails with this message, after the file's name."""
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match="^" + re.escape(str(file)) + words) as caught:
        open_listing(file)
    assert "\n" not in str(caught.value)


def test_rows_go_to_the_parts_that_they_name(tmp_path: Path) -> None:
    file = write_listing(tmp_path, TWO * 4, [*["train"] * 5, "test", "Train", " TEST "])
    dataset = open_listing(file)
    assert (dataset.name, dataset.classes, dataset.channels, dataset.size) == ("csv", ("blue", "red"), 3, 8)
    assert dataset.task.record.name == "classification"
    images, labels = whole(dataset.read("train", 8))
    assert labels.tolist() == [1, 0, 1, 0, 1, 1]
    assert labels.dtype == torch.int64
    with Image.open(tmp_path / "images" / "3.png") as image:
        assert np.array_equal(images[3].permute(1, 2, 0).numpy(), np.asarray(image))
    assert whole(dataset.read("test", 8))[1].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("splits", "train", "test"),
    [
        (["train", "train", "val", "val"], 2, 2),
        (["train", "train", "validation", "valid"], 2, 2),
        (["train", "train", "test", "val"], 2, 1),
    ],
)
def test_validation_rows_stand_in_for_test_rows_or_are_left_out(
    tmp_path: Path, splits: list[str], train: int, test: int
) -> None:
    dataset = open_listing(write_listing(tmp_path, TWO * 2, splits))
    assert (len(dataset.read("train", 8)), len(dataset.read("test", 8))) == (train, test)


def test_without_a_split_a_fifth_is_drawn_the_same_every_time(tmp_path: Path) -> None:
    file = write_listing(tmp_path, [*TWO * 12, "red+blue"])
    first, second = open_listing(file), open_listing(file)
    parts = [[whole(dataset.read(part, 8)) for part in ("train", "test")] for dataset in (first, second)]
    assert [len(labels) for _, labels in parts[0]] == [20, 5]
    assert first.classes == ("blue", "red", "red+blue")
    assert set(parts[0][0][1].tolist()) == {0, 1, 2}
    for one, two in zip(*parts, strict=True):
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1], two[1])


def test_several_labels_make_zeros_and_ones(tmp_path: Path) -> None:
    cells = ["red", "blue;red", "", "blue", "red;blue"]
    file = write_listing(tmp_path, cells, [*["train"] * 4, "test"])
    file.write_text(file.read_text().replace("blue;red", " blue ; red ;blue"))
    dataset = open_listing(file)
    assert dataset.task.record == TaskRecord("multi-label", "binary-cross-entropy", "f1")
    labels = whole(dataset.read("train", 8))[1]
    assert dataset.classes == ("blue", "red")
    assert (labels.tolist(), labels.dtype) == ([[0, 1], [1, 1], [0, 0], [1, 0]], torch.float32)
    assert whole(dataset.read("test", 8))[1].tolist() == [[1, 1]]


def test_present_or_not_is_a_task_of_one_label(tmp_path: Path) -> None:
    dataset = open_listing(write_listing(tmp_path, ["red", "", "", "red", "", "red"]))
    assert dataset.classes == ("red",)
    assert whole(dataset.read("train", 8))[1].shape == (5, 1)


def test_columns_have_any_order_and_company_and_paths_may_be_absolute(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "with, comma.png"
    save_picture(elsewhere, "red", 0)
    save_picture(tmp_path / "b.png", "blue", 1)
    save_picture(tmp_path / "c.png", "blue", 1)
    rows = [
        "\ufeff Split ,note,LABEL,Path",
        f'train,1,red,"{elsewhere}"',
        "",
        'train,"two\nlines",blue,b.png',
        "test,,blue,c.png",
    ]
    (tmp_path / "some.CSV").write_text("\r\n".join(rows), newline="")
    dataset = open_listing(tmp_path)
    assert whole(dataset.read("train", 8))[1].tolist() == [1, 0]
    assert len(dataset.read("test", 8)) == 1


def test_a_folder_holds_one_file_or_one_called_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no CSV file"):
        open_listing(tmp_path)
    file = write_listing(tmp_path, TWO * 4)
    assert open_listing(tmp_path).classes == ("blue", "red")
    (tmp_path / "other.csv").write_text("nothing")
    with pytest.raises(DataError, match=r"2 CSV files \(list.csv, other.csv\): name one of them, or call it labels"):
        open_listing(tmp_path)
    file.rename(tmp_path / "labels.csv")
    assert open_listing(tmp_path).classes == ("blue", "red")
    with pytest.raises(DataError, match=r"nowhere does not exist, expected a CSV file with the columns path and label"):
        open_listing(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ", line 1: no column 'path'; .* found nothing"),
        ("file,label\na,b\n", ", line 1: no column 'path'; .* found 'file', 'label'"),
        ("path;label\na;b\n", ", line 1: no column 'path'; .* found 'path;label'"),
        ("path,label,path\na,b,c\n", ", line 1: two columns 'path'"),
        ("path,label,split,Split\n", ", line 1: two columns 'split'"),
        ("path,label\n", " lists no images"),
        ("path,label\n0.png,red\n1.png\n", ", line 3: the first line names 2 columns, this one has 1"),
        ("path,label\n0.png,red,blue\n", ", line 2: the first line names 2 columns, this one has 3"),
        ("path,label\n,red\n", ", line 2: no path"),
        ("path,label,split\n0.png,red,train\n1.png,red,dev\n", ", line 3: unknown split 'dev', expected train, test"),
        ("path,label,split\n0.png,red,\n", ", line 2: unknown split ''"),
        ("path,label,split\n0.png,red,train\n", " has no row of the split test or val"),
        ("path,label,split\n0.png,red,val\n", " has no row of the split train"),
        ("path,label\n0.png,red\n1.png,red\n2.png,red\n", " needs at least two different labels .* only 'red'"),
        ("path,label\n0.png,\n1.png,;\n", " has no label in its training rows"),
        ("path,label\n0.png,red\n1.png,blue\n", " has too few images to draw test images"),
        ("path,label\n0.png,red\n./0.png,blue\n", r", line 3: .*0\.png is on line 2 already"),
        ("path,label,split\n0.png,red,train\n1.png,blue,train\n2.png,rde,test\n", ", line 4: the label 'rde' is in no"),
        ("path,label\n0.png,red\nx.png,red\n", r": an image is missing: .*x\.png \(line 3\); paths are relative"),
        ("path,label\n0.png,red\na,b\nc,d\ne,f\ng\0,h\n", r": 4 of 5 images are missing: .*/e \(line 5\), …; paths"),
        (f"path,label\n0.png,{'x' * 200_000}\n", ", line 2: field larger than field limit"),
        ('path,label\n0.png,"red\n1.png,blue\n', ", line 3: unexpected end of data"),
        ("path,label\n0.png,röd\n".encode("latin-1"), ", line 2: not UTF-8"),
        ("path,label\n0.png,red\n".encode("utf-16"), ", line 1: not UTF-8"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str | bytes, words: str) -> None:
    for index in range(3):
        save_picture(tmp_path / f"{index}.png", "red", index)
    refused(tmp_path / "list.csv", text, words)


def test_a_damaged_image_is_named_with_the_line_that_lists_it(tmp_path: Path) -> None:
    file = write_listing(tmp_path, TWO * 3, [*["train"] * 4, "test", "test"])
    broken = tmp_path / "images" / "5.png"
    broken.write_bytes(broken.read_bytes()[:60])
    dataset = open_listing(file)
    assert len(dataset.read("train", 8)) == 4
    with pytest.raises(DataError, match=re.escape(f"cannot read the image {broken} ({file}, line 7): ")):
        dataset.read("test", 8)


def test_what_is_listed_and_no_file_is_named_with_its_line(tmp_path: Path) -> None:
    file = write_listing(tmp_path, TWO * 3, [*["train"] * 4, "test", "test"])
    for index in (1, 3):
        (tmp_path / "images" / f"{index}.png").unlink()
    (tmp_path / "images" / "1.png").mkdir()
    os.mkfifo(tmp_path / "images" / "3.png")
    words = r"list\.csv: 2 of 6 images are no file: .*1\.png \(line 3\), .*3\.png \(line 5\); list the images one"
    with pytest.raises(DataError, match=words):
        open_listing(file)
    told: list[str] = []
    dataset = open_listing(file, Reading(skip_unreadable=True, warn=told.append))
    with pytest.raises(DataError, match="none of the training images can be read of the class blue"):
        dataset.read("train", 8)
    assert "left out of the train images: 2 that cannot be read" in told[0]


def test_files_that_a_system_hides_beside_the_list_do_not_count(tmp_path: Path) -> None:
    write_listing(tmp_path, TWO * 4)
    (tmp_path / "._list.csv").write_bytes(b"\0\5\x16\7")
    assert open_listing(tmp_path).classes == ("blue", "red")


def test_of_what_is_wanted_one_part_is_enough_in_the_order_of_the_network(tmp_path: Path) -> None:
    file = write_listing(tmp_path, ["red", "blue", "red"], ["test"] * 3)
    wanted = Wanted("test", ("red", "green", "blue"), several=False, channels=3)
    assert whole(open_listing(file, wanted=wanted).read("test", 8))[1].tolist() == [0, 2, 0]
    several = Wanted("test", ("red", "green", "blue"), several=True, channels=3)
    expected = [[1, 0, 0], [0, 0, 1], [1, 0, 0]]
    assert whole(open_listing(file, wanted=several).read("test", 8))[1].tolist() == expected
    with pytest.raises(DataError, match=r"csv has 2 \(blue, red\); it does not know blue"):
        open_listing(file, wanted=Wanted("test", ("red", "green"), several=False, channels=3))
