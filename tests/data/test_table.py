"""Tables as labelled images: which columns are taken, and what is in them."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import PIL.Image
import pytest
import torch
from datasets import ClassLabel, Features, List, Value

from slt_compress.data.decoding import is_grey, pixels
from slt_compress.data.images import ImageFiles
from slt_compress.data.table import LabelType, Rows, TableImages, image_column, label_column, read_rows
from slt_compress.errors import DataError
from tests.support.pictures import picture

IMAGE = datasets.Image()
COLOURS = ClassLabel(names=["red", "blue"])
ONE = LabelType(("red", "blue"), several=False)


def features(**columns: Any) -> Features:
    """Return the columns of a table."""
    return Features(columns)


def test_the_only_image_is_taken_or_the_one_that_is_named() -> None:
    assert image_column(datasets, features(id=Value("int64"), photo=IMAGE), None) == "photo"
    two = features(photo=IMAGE, mask=IMAGE, label=COLOURS)
    assert image_column(datasets, two, "mask") == "mask"
    with pytest.raises(
        DataError, match=r"unclear which is the image; name a column of the type Image with #image=COLUMN"
    ):
        image_column(datasets, two, None)
    with pytest.raises(
        DataError, match=r"cannot be label; .* there are photo \(Image\), mask \(Image\), label \(ClassLabel"
    ):
        image_column(datasets, two, "label")
    with pytest.raises(DataError, match=r"there are text \(string\), tags \(List of int64\)"):
        image_column(datasets, features(text=Value("string"), tags=List(Value("int64"))), None)


@pytest.mark.parametrize(
    ("columns", "named", "found"),
    [
        ({"label": Value("int64"), "kind": COLOURS}, None, "kind"),
        ({"fine_label": COLOURS, "coarse_label": COLOURS, "label": COLOURS}, None, "label"),
        ({"tags": List(COLOURS), "category": Value("string")}, None, "tags"),
        ({"id": Value("int64"), "category": Value("string")}, None, "category"),
        ({"labels": List(Value("string")), "text": Value("string")}, None, "labels"),
        ({"id": Value("int64"), "category": Value("string")}, "id", "id"),
        ({"fine_label": COLOURS, "coarse_label": COLOURS}, "coarse_label", "coarse_label"),
        ({"fine_label": COLOURS, "coarse_label": COLOURS}, None, None),
        ({"label": Value("string"), "target": Value("int8")}, None, None),
        ({"colour": Value("string")}, None, None),
        ({"label": Value("float32")}, None, None),
        ({"label": COLOURS}, "lable", None),
        ({"label": COLOURS}, "image", None),
    ],
)
def test_the_rule_for_labels(columns: dict[str, Any], named: str | None, found: str | None) -> None:
    clear = contextlib.nullcontext() if found else pytest.raises(DataError, match="#label=COLUMN; there are image")
    with clear:
        assert label_column(datasets, features(image=IMAGE, **columns), named) == found


@pytest.mark.parametrize(
    ("feature", "rows", "classes", "shown"),
    [
        (COLOURS, [0, 0], ["red", "blue"], [["red"], ["red"]]),
        (Value("int32"), [10, 9], ["9", "10"], [["10"], ["9"]]),
        (Value("int32"), [-1, 1], ["-1", "1"], [["-1"], ["1"]]),
        (Value("bool"), [True, False], ["False", "True"], [["True"], ["False"]]),
        (Value("string"), ["b", "a"], ["a", "b"], [["b"], ["a"]]),
        (List(COLOURS), [[1, 0], []], ["red", "blue"], [["blue", "red"], []]),
        (List(Value("string")), [["b"], ["a", "c"]], ["a", "b", "c"], [["b"], ["a", "c"]]),
    ],
)
def test_labels_have_names_and_an_order(
    feature: Any, rows: list[Any], classes: list[str], shown: list[list[str]]
) -> None:
    kind = LabelType.of(datasets, feature)
    assert kind
    table = datasets.Dataset.from_dict({"label": rows}, features=features(label=feature)).with_format("numpy")
    found = read_rows("train", table, "label", kind)
    assert kind.classes(found.labels) == classes
    assert kind.shown(found.labels) == shown


@pytest.mark.parametrize(
    ("feature", "rows", "words"),
    [
        (COLOURS, [], "train has no rows"),
        (COLOURS, [0, None], "train[1] has no label in label"),
        (COLOURS, [0, -1], "train[1] has no label in label"),
        (Value("string"), ["a", "b", ""], "train[2] has no label in label"),
        (List(COLOURS), [[0], None], "train[1] has no label in label"),
        (List(COLOURS), [[0, None]], "train[0] has no label in label"),
        (
            List(Value("int64")),
            [[0], [1, 0, 0]],
            "train[1] has a label twice in label: [1, 0, 0]; a list of zeros and ones",
        ),
    ],
)
def test_rows_without_labels_are_named(feature: Any, rows: list[Any], words: str) -> None:
    kind = LabelType.of(datasets, feature)
    assert kind
    table = datasets.Dataset.from_dict({"label": rows}, features=features(label=feature))
    with pytest.raises(DataError, match="^" + re.escape(words)):
        read_rows("train", table, "label", kind)


@pytest.mark.parametrize("decode", [True, False])
def test_images_are_those_of_the_rows(decode: bool) -> None:
    pictures = [picture("red", seed) for seed in range(4)]
    table = datasets.Dataset.from_dict(
        {"image": [*pictures, None], "label": [0] * 5}, features=features(image=IMAGE, label=COLOURS)
    ).cast_column("image", datasets.Image(decode=decode))
    rows = read_rows("some, train", table, "label", ONE).take([3, 1, 4])
    assert (rows.name(0), len(rows.labels)) == ("some, train[3]", 3)
    images = TableImages(datasets, rows, "image")
    assert len(images) == 3
    for index, original in ((0, 3), (1, 1)):
        with images.open(index) as found:
            assert found.tobytes() == pictures[original].tobytes()
    with pytest.raises(DataError, match=re.escape("some, train[4] has no image")), images.open(2):
        pass


def test_a_damaged_image_is_named_by_its_row() -> None:
    damaged = [{"bytes": b"no image", "path": None}]
    table = datasets.Dataset.from_dict({"image": damaged}, features=features(image=IMAGE))
    images = TableImages(datasets, Rows("some, train", table, [7], [[0]]), "image")
    with pytest.raises(DataError, match=re.escape("cannot read the image some, train[7]: ")), images.open(0):
        pass


@pytest.mark.parametrize("stored_as", ["bytes", "path"])
def test_images_are_seen_as_in_files(stored_as: str, tmp_path: Path) -> None:
    """The library would turn them itself, and forget how many bits they have."""
    deep = np.tile(np.arange(0, 65536, 8192).astype(np.uint16), (8, 1))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    files = [tmp_path / "0.png", tmp_path / "1.tif"]
    PIL.Image.fromarray(deep).save(files[0], exif=exif)
    PIL.Image.fromarray(deep).save(files[1], tiffinfo={0x0112: 6})
    stored = [
        {"bytes": file.read_bytes(), "path": None} if stored_as == "bytes" else {"bytes": None, "path": str(file)}
        for file in files
    ]
    for feature in (IMAGE, datasets.Image(mode="L"), datasets.Image(mode="RGB")):
        table = datasets.Dataset.from_dict({"image": stored}, features=features(image=feature))
        images = TableImages(datasets, Rows("some, train", table, range(2), ()), "image")
        for index, file in enumerate(files):
            with images.open(index) as found, ImageFiles([file]).open(0) as expected:
                assert is_grey(found) == (feature.mode != "RGB")
                assert torch.equal(pixels(found, 8, 1), pixels(expected, 8, 1))
            assert np.array_equal(pixels(found, 8, 1)[0], (deep >> 8)[::-1].T)


def test_a_check_reads_headers_wherever_the_images_lie(tmp_path: Path) -> None:
    """Within the table, in a file, or in an archive, where it leaves them alone."""
    buffer = io.BytesIO()
    picture("red", 0).save(buffer, "PNG")
    whole = buffer.getvalue()
    file = tmp_path / "1.png"
    file.write_bytes(whole[:20])
    stored = [{"bytes": whole[:60], "path": None}, {"bytes": None, "path": str(file)}]
    stored.append({"bytes": None, "path": "zip://1.png::nowhere.zip"})
    table = datasets.Dataset.from_dict({"image": [*stored, None]}, features=features(image=IMAGE))
    images = TableImages(datasets, Rows("some", table, range(4), ()), "image")
    images.check(0)
    images.check(2)
    with pytest.raises(DataError, match=r"cannot read the image some\[1\]: "):
        images.check(1)
    with pytest.raises(DataError, match=r"some\[3\] has no image"):
        images.check(3)
