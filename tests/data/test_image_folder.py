"""Folders of images: layout, sizes, statistics, streaming, and clear words when something is wrong."""

import os
import re
import shutil
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from PIL import Image

from slt_compress.data import images
from slt_compress.data.decoding import image_suffixes
from slt_compress.data.image_folder import open_image_folder
from slt_compress.data.images import DamagedImagesError, StreamedSplit
from slt_compress.data.splits import Reading, Wanted
from slt_compress.data.walk import is_litter
from slt_compress.errors import DataError
from tests.support.trees import ENTRIES, Entry, build, open_all, plain_classes


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
    place = folder / "test" / "dog"
    with pytest.raises(DataError, match=f"^{re.escape(str(place))} holds no images: put some into it, or remove it$"):
        open_image_folder(folder)
    (place / "notes.txt").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"holds no images in a format that Pillow can read, but 1 \.txt \(notes\.txt\)$"
    ):
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


def test_what_is_left_out_is_told_in_one_line_and_changes_nothing(folder: Path) -> None:
    clean = next(open_image_folder(folder).read("train", 10).batches(100))
    for name in ("train/.ipynb_checkpoints/0.png", "train/__MACOSX/0.png", "train/cat/@eaDir/0.png/thumb.jpg"):
        write_image(folder / name, (10, 10), 1)
    (folder / "train" / "cat" / "._0.png").write_bytes(b"\0\5\x16\7")
    (folder / "test" / "dog" / "notes.txt").write_text("sunny")
    told: list[str] = []
    dataset = open_image_folder(folder, Reading(warn=told.append))
    assert dataset.classes == ("cat", "dog")
    assert all(torch.equal(*pair) for pair in zip(clean, next(dataset.read("train", 10).batches(100)), strict=True))
    assert told == [
        f"left out of {folder}: 2 hidden (train/.ipynb_checkpoints, train/cat/._0.png), 2 of other software "
        "(train/__MACOSX, train/cat/@eaDir), 1 .txt (test/dog/notes.txt)"
    ]


def test_nothing_is_told_of_an_ordinary_folder(folder: Path) -> None:
    told: list[str] = []
    open_image_folder(folder, Reading(warn=told.append)).read("train", 10)
    assert told == []


def test_a_folder_val_beside_test_is_said_to_be_unused(folder: Path) -> None:
    shutil.copytree(folder / "test", folder / "val")
    told: list[str] = []
    assert len(open_image_folder(folder, Reading(warn=told.append)).read("test", 10)) == 6
    assert told == [f"left out of {folder}: 1 unused folder (val)"]


def test_half_a_class_under_another_suffix_is_read(folder: Path) -> None:
    for index in range(3):
        file = folder / "train" / "dog" / f"{index}.png"
        with Image.open(file) as image:
            image.save(file.with_suffix(".jfif"), "JPEG")
        file.unlink()
    assert len(open_image_folder(folder).read("train", 10)) == 12


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_class_without_images_says_what_is_there_instead(folder: Path, part: str) -> None:
    for path in (folder / part / "dog").iterdir():
        path.rename(path.with_suffix(".heic"))
    count = 6 if part == "train" else 3
    words = f"{folder / part / 'dog'} holds no images in a format that Pillow can read, but {count} .heic (0.heic"
    with pytest.raises(DataError, match=re.escape(words)):
        open_image_folder(folder)


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        ("Bird", "bird", "'bird' and 'Bird', which differ only in upper and lower case: rename one"),
        ("caf\u00e9", "cafe\u0301", r"'cafe\u0301' and 'caf\xe9', one text in two forms of Unicode: rename one"),
        ("stra\u00dfe", "STRASSE", "which differ only in upper and lower case: rename one"),
    ],
)
def test_classes_that_differ_in_their_spelling_alone_are_named(folder: Path, train: str, test: str, words: str) -> None:
    write_image(folder / "train" / train / "0.png", (10, 10), 1)
    write_image(folder / "test" / test / "0.png", (10, 10), 1)
    with pytest.raises(DataError, match=re.escape(words)):
        open_image_folder(folder)


def test_two_forms_of_one_name_are_no_two_classes_but_two_cases_are(folder: Path) -> None:
    for part in ("train", "test"):
        write_image(folder / part / "Cat" / "0.png", (10, 10), 1)
    assert open_image_folder(folder).classes == ("Cat", "cat", "dog")
    for name in ("caf\u00e9", "cafe\u0301"):
        write_image(folder / "train" / name / "0.png", (10, 10), 1)
    with pytest.raises(DataError, match=r"two names for one class, .* one text in two forms of Unicode"):
        open_image_folder(folder)


WANTED = Wanted("test", ("dog", "bird", "cat"), several=False, channels=3)


def test_of_what_is_wanted_one_part_is_enough_in_the_order_of_the_network(folder: Path) -> None:
    (folder / "train").rename(folder / "elsewhere")
    told: list[str] = []
    dataset = open_image_folder(folder, Reading(warn=told.append), WANTED)
    assert dataset.classes == ("dog", "bird", "cat")
    found, labels = next(dataset.read("test", 10).batches(100))
    assert labels.tolist() == [0] * 3 + [2] * 3
    with Image.open(folder / "test" / "dog" / "1.png") as image:
        assert np.array_equal(found[1].permute(1, 2, 0).numpy(), np.asarray(image))
    assert told == [f"{folder / 'test'} has no images of 1 of the 3 classes: bird"]


def test_classes_that_the_network_does_not_know_are_named(folder: Path) -> None:
    write_image(folder / "test" / "eel" / "0.png", (10, 10), 1)
    words = "tells apart 3 classes (dog, bird, cat), imagefolder has 3 (cat, dog, eel); it does not know eel"
    with pytest.raises(DataError, match=re.escape(words)):
        open_image_folder(folder, wanted=WANTED)
    (folder / "test" / "eel").rename(folder / "test" / "Bird")
    with pytest.raises(DataError, match=r"does not know 'Bird' and 'bird', which differ only in upper and lower case"):
        open_image_folder(folder, wanted=WANTED)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("L", 3), ("RGB", 3), ("RGB", 1)])
def test_images_get_the_channels_that_the_network_takes_unless_all_are_in_colour(
    folder: Path, mode: str, channels: int
) -> None:
    for path in (folder / "test").rglob("*.png"):
        write_image(path, (10, 10), 1, mode)
    wanted = Wanted("test", ("cat", "dog"), several=False, channels=channels)
    if (mode, channels) == ("RGB", 1):
        with pytest.raises(DataError, match="the network takes 1 channels, the images have 3"):
            open_image_folder(folder, wanted=wanted)
        return
    assert next(open_image_folder(folder, wanted=wanted).read("test", 10).batches(9))[0].shape[1] == channels


@pytest.mark.parametrize(
    ("link", "target"), [("test", "train"), ("train/third", "train/{first}"), ("train/{first}/more", "train/{second}")]
)
def test_links_that_mix_classes_or_parts_are_refused(folder: Path, link: str, target: str) -> None:
    first, second = sorted(path.name for path in (folder / "train").iterdir())[:2]
    place = folder / link.format(first=first)
    if link == "test":
        shutil.rmtree(place)
    place.symlink_to(folder / target.format(first=first, second=second))
    if link == "train/third":
        (folder / "test" / "third").symlink_to(folder / "test" / first)
    with pytest.raises(DataError, match=r" and .* are the same image: it would have two classes, or be trained on and"):
        open_image_folder(folder)


def test_an_image_may_be_linked_twice_within_its_class(folder: Path) -> None:
    first = sorted(path for path in (folder / "train").iterdir())[0]
    image = sorted(first.iterdir())[0]
    (first / f"again{image.suffix}").symlink_to(image)
    assert open_image_folder(folder).classes


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_images_with_alpha_serve_networks_of_either_kind(tmp_path: Path, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 2), np.uint8)
    for suffix in ("png", "tif"):
        (tmp_path / "test" / suffix).mkdir(parents=True)
        Image.fromarray(pixels, "LA").save(tmp_path / "test" / suffix / f"0.{suffix}")
    dataset = open_image_folder(tmp_path, wanted=Wanted("test", ("png", "tif"), several=False, channels=channels))
    found, _ = next(dataset.read("test", 8).batches(2))
    grey, alpha = pixels[..., 0].astype(float), pixels[..., 1].astype(float)
    on_white = torch.from_numpy((grey * alpha + 255 * (255 - alpha)) / 255)
    assert found.shape == (2, channels, 8, 8)
    assert (found.double() - on_white).abs().max() <= 0.5


def plain_data_set(root: str) -> dict[str, dict[str, set[tuple[str, str]]]] | None:
    """Return the images of each class of each part by the rules as a person reads them; None where they refuse it."""
    found, used = {}, dict[str, tuple[str, str]]()
    for part, names in (("train", ["train"]), ("test", ["test", "val"])):
        folders = [f"{root}/{name}" for name in names if (Path(root) / name).is_dir()]
        if not folders:
            return None
        found[part] = plain_classes(folders[0], image_suffixes(), is_litter)
        for name, pictures in found[part].items():
            for place, file in pictures:
                if used.setdefault(os.path.realpath(f"{place}/{file}"), (part, name)) != (part, name):
                    return None  # one image in two classes, or in both parts
    classes = list(found["train"])
    texts = {unicodedata.normalize("NFC", name) for name in classes}
    readable = all(os.fsencode(name).decode(errors="replace") == name for part in found.values() for name in part)
    if len(classes) < 2 or len(texts) < len(classes) or not readable or set(found["test"]) - set(classes):
        return None
    complete = all(found[part].get(name) for part in found for name in classes)
    return found if complete else None


@settings(max_examples=40, derandomize=True, deadline=None)
@given(entries=ENTRIES)
def test_any_tree_is_the_data_set_that_a_plain_rule_finds_or_refused(entries: list[Entry]) -> None:
    with tempfile.TemporaryDirectory() as root:
        places = [f"{part}/{name}" for part in ("train", "test") for name in ("a", "b")]
        build(root, [Entry(1 + index, "0.png", "file", 0) for index in range(4)] + entries, (*places,))
        told: list[str] = []
        expected = None
        try:
            expected = plain_data_set(root)
            dataset = open_image_folder(Path(root), Reading(warn=told.append))
        except (DataError, PermissionError):  # root may open what is closed
            assert expected is None or os.geteuid() != 0
        else:
            assert expected is not None
            assert dataset.classes == tuple(sorted(expected["train"]))
            assert len(told) <= 1
            for part in ("train", "test"):
                with pytest.raises(DamagedImagesError) as caught:
                    dataset.read("train" if part == "train" else "test", 8)
                assert len(caught.value.reasons) == sum(map(len, expected[part].values()))
        finally:
            open_all(root)
