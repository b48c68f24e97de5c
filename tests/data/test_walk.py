"""Folders of images: links, litter and special files, each followed or counted."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings

from slt_compress.data.decoding import image_suffixes
from slt_compress.data.walk import LeftOut, class_folders, image_files, is_litter
from slt_compress.errors import DataError
from tests.support.trees import ENTRIES, Entry, build, open_all, plain_folders, plain_images


def write(path: Path) -> Path:
    """Make a file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def found(folder: Path, *, skip_unreadable: bool = False) -> tuple[list[str], str]:
    """Return the images in a folder and what was left out, relative to it."""
    left_out = LeftOut(folder)
    files = image_files(folder, left_out, skip_unreadable=skip_unreadable)
    return [str(file.relative_to(folder)) for file in files], str(left_out)


@pytest.mark.parametrize("name", ["1.png", "1.JPG", "1.jfif", "1.jpe", "1.gif", "1.webp", "1.TIFF", "x/y/1.bmp"])
def test_images_of_all_formats_that_pillow_reads_are_found(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    assert found(tmp_path) == ([name], "")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (".ipynb_checkpoints/1.png", "1 hidden (.ipynb_checkpoints)"),
        ("._1.png", "1 hidden (._1.png)"),
        (".DS_Store", "1 hidden (.DS_Store)"),
        ("Thumbs.db", "1 of other software (Thumbs.db)"),
        ("DESKTOP.INI", "1 of other software (DESKTOP.INI)"),
        ("@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", "1 of other software (@eaDir)"),
        ("__MACOSX/1.png", "1 of other software (__MACOSX)"),
        ("#recycle/1.png", "1 of other software (#recycle)"),
        ("lost+found/1.png", "1 of other software (lost+found)"),
        ("$RECYCLE.BIN/1.png", "1 of other software ($RECYCLE.BIN)"),
        ("System Volume Information/1.png", "1 of other software (System Volume Information)"),
        ("notes.txt", "1 .txt (notes.txt)"),
        ("1.HEIC", "1 .heic (1.HEIC)"),
        ("README", "1 without a suffix (README)"),
        ("1.png.part", "1 .part (1.png.part)"),
        ("page.eps", "1 .eps (page.eps)"),  # to read it, Pillow would run another program
        ("scene.png/tile.png", "1 folder named like an image (scene.png)"),
    ],
)
def test_what_is_no_image_is_left_out_and_counted(tmp_path: Path, name: str, kind: str) -> None:
    write(tmp_path / "0.png")
    write(tmp_path / name)
    assert found(tmp_path) == (["0.png"], kind)


def test_many_are_counted_and_three_are_named(tmp_path: Path) -> None:
    for index in range(1200):
        write(tmp_path / f"{index:04}.heic")
    write(tmp_path / "tab\t.txt")
    assert found(tmp_path) == ([], r"1,200 .heic (0000.heic, 0001.heic, 0002.heic, …), 1 .txt ('tab\t.txt')")


def test_special_files_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    assert found(tmp_path) == ([], "2 that are no regular files (a.png, b.png)")


def test_links_are_followed_and_a_folder_is_read_once(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    write(inside / "real" / "1.png")
    write(outside / "deep" / "2.png")
    write(tmp_path / "3.png")
    (inside / "a").symlink_to(outside)
    (inside / "b").symlink_to(outside / "deep")  # is in a already
    (inside / "c").symlink_to(inside / "real")
    (inside / "3.png").symlink_to("../3.png")
    (inside / "up").symlink_to(tmp_path)
    (inside / "self").symlink_to("self")
    (inside / "4.png").symlink_to("nowhere")
    (outside / "back").symlink_to(outside)
    files, left_out = found(inside)
    assert files == ["3.png", "a/deep/2.png", "real/1.png"]
    assert left_out == (
        "2 links that lead nowhere (4.png, self), 4 links to folders that are read anyway (b, c, up, …)"
    )


def test_a_linked_folder_keeps_the_path_that_it_was_reached_by(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "1.png")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "more").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "a") == (["more/1.png"], "")


def test_the_order_is_that_of_paths_and_not_of_text(tmp_path: Path) -> None:
    for name in ("a/2.png", "a-b/1.png", "a.png", "b.png"):
        write(tmp_path / name)
    assert found(tmp_path)[0] == ["a/2.png", "a-b/1.png", "a.png", "b.png"]


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one in it that cannot be opened, not even by root."""
    write(tmp_path / "0.png")
    write(tmp_path / "private" / "1.png")
    scan = os.scandir

    def refuse(path: str | Path) -> "os._ScandirIterator[str]":
        if Path(path).name == "private":
            raise PermissionError(13, "Permission denied")
        return scan(str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    return tmp_path


def test_a_closed_folder_is_an_error_or_counted(closed: Path) -> None:
    with pytest.raises(DataError, match=r"cannot open the folder .*private: Permission denied"):
        found(closed)
    assert found(closed, skip_unreadable=True) == (["0.png"], "1 that cannot be opened (private)")
    left_out = LeftOut(closed)
    assert image_files(closed / "private", left_out, skip_unreadable=True) == []
    assert str(left_out.within(closed / "private")) == "1 that cannot be opened (.)"


def test_folders_are_classes_but_for_litter_and_links_to_folders_around_them(tmp_path: Path) -> None:
    root = tmp_path / "train"
    for name in ("b", "A", "c.png", ".hidden", "__MACOSX", "@eaDir"):
        (root / name).mkdir(parents=True)
    write(root / "readme.txt")
    write(root / "1.png")
    write(tmp_path / "far" / "1.png")
    (root / "linked").symlink_to(tmp_path / "far")
    (root / "loop").symlink_to(root)
    (root / "gone").symlink_to("nowhere")
    left_out = LeftOut(tmp_path)
    assert class_folders(root, left_out) == ["A", "b", "c.png", "linked"]
    shown = str(left_out)
    for words in (
        "1 hidden (train/.hidden)",
        "2 outside the class folders (train/1.png, train/readme.txt)",
        "2 of other software (train/@eaDir, train/__MACOSX)",
        "1 link that leads nowhere (train/gone)",
        "1 link to a folder that is read anyway (train/loop)",
    ):
        assert words in shown


def test_a_class_whose_name_no_file_could_hold_is_refused(tmp_path: Path) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")  # noqa: PTH102
    with pytest.raises(DataError, match=r"the name of the class folder '.*caf\\udce9' is not UTF-8: rename it"):
        class_folders(tmp_path, LeftOut(tmp_path))


def test_what_lies_in_a_folder_is_counted_by_itself(tmp_path: Path) -> None:
    write(tmp_path / "a" / "1.txt")
    write(tmp_path / "ab" / "2.txt")
    left_out = LeftOut(tmp_path)
    image_files(tmp_path, left_out, skip_unreadable=False)
    assert str(left_out.within(tmp_path / "a")) == "1 .txt (1.txt)"


@settings(max_examples=40, derandomize=True, deadline=None)
@given(entries=ENTRIES)
def test_of_any_tree_the_images_are_found_that_a_plain_rule_finds(entries: list[Entry]) -> None:
    with tempfile.TemporaryDirectory() as root:
        build(root, entries)
        try:
            left_out = LeftOut(Path(root))
            try:
                files = image_files(Path(root), left_out, skip_unreadable=False)
                expected = plain_images(root, image_suffixes(), is_litter)
            except (DataError, PermissionError):  # a closed folder, which root can open
                assert os.geteuid() != 0
                return
            assert {(os.path.realpath(file.parent), file.name) for file in files} == expected
            assert len(files) == len(expected)
            assert files == sorted(files)
            folders = plain_folders(root, image_suffixes(), is_litter)
            there = sum(len(list(Path(folder).iterdir())) for folder in folders)
            assert len(files) + len(left_out) + len(folders) - 1 == there
            assert str(left_out).isprintable()
        finally:
            open_all(root)
