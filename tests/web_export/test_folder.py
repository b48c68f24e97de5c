"""A folder appears as a whole or not at all, and takes the place of nothing but an earlier one, or of nothing."""

import os
import re
from pathlib import Path

import pytest

from slt_compress.errors import OutputError
from slt_compress.web_export.folder import MARK, PAGE, check, unused, write

NAMES = frozenset((PAGE, "network.onnx"))
FILES = {PAGE: f"<!DOCTYPE html>\n{MARK}".encode(), "network.onnx": b"graph"}
OTHER = {PAGE: f"{MARK} again".encode()}


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_a_folder_is_new_or_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    place = tmp_path / "site"
    for files in (FILES, OTHER, FILES):
        check(place, NAMES)
        write(place, files, NAMES)
        assert contents(place) == files
        assert list(tmp_path.iterdir()) == [place]
    (tmp_path / "plain").mkdir()
    assert place.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_empty_folder_and_one_behind_a_link_are_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    write(tmp_path / "link", FILES, NAMES)
    assert (tmp_path / "link").is_symlink()
    assert contents(tmp_path / "empty") == FILES
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", ["notes.txt", "sub", ".htaccess"])
def test_a_folder_with_something_of_the_users_stays(tmp_path: Path, name: str) -> None:
    place = tmp_path / "site"
    write(place, FILES, NAMES)
    (place / name).mkdir() if name == "sub" else (place / name).write_bytes(b"mine")
    before = sorted(place.iterdir())
    words = f"holds {re.escape(name)}, which no export to `format=web` wrote: empty it, or give another `output`"
    with pytest.raises(OutputError, match=words):
        check(place, NAMES)
    with pytest.raises(OutputError, match=words):
        write(place, OTHER, NAMES)
    assert sorted(place.iterdir()) == before
    assert (place / PAGE).read_bytes() == FILES[PAGE]


def test_a_page_of_somebody_else_stays(tmp_path: Path) -> None:
    for page in (b"<h1>Mine</h1>", b" " * 5000 + MARK.encode()):
        place = tmp_path / "site"
        place.mkdir(exist_ok=True)
        (place / PAGE).write_bytes(page)
        with pytest.raises(OutputError, match=r"holds index\.html, which no export"):
            check(place, NAMES)
    (place / PAGE).unlink()
    (place / PAGE).symlink_to("/etc/hostname")
    with pytest.raises(OutputError, match=r"holds index\.html"):
        check(place, NAMES)


def test_what_can_be_no_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name, words in (
        ("file", "it is no folder, expected a folder or a new name"),
        ("file/site", "does not exist"),
        ("no/site", "does not exist"),
        ("loop", "cannot write"),
        ("x" * 300, "File name too long"),
        ("a\0b", "cannot write"),
        (".", "the current folder lies in it"),
        ("here", "the current folder lies in it"),
    ):
        with pytest.raises(OutputError, match=words):
            check(tmp_path / name, NAMES)
    with pytest.raises(OutputError, match="the current folder lies in it"):
        check(Path(), NAMES)
    assert len(list(tmp_path.iterdir())) == 3


def test_nothing_is_left_of_a_failure_and_the_earlier_folder_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "site"
    write(place, FILES, NAMES)
    rename = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if target == place and self.name != "former":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OutputError, match=r"cannot write .*site: No space left on device"):
        write(place, OTHER, NAMES)
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(place, OTHER, NAMES)
    assert contents(place) == FILES
    assert list(tmp_path.iterdir()) == [place]


def test_a_free_name_is_one_that_nothing_has_or_the_same_files(tmp_path: Path) -> None:
    place = tmp_path / "t.web"
    assert unused(place, FILES) == place
    write(place, FILES, NAMES)
    assert unused(place, FILES) == place
    assert unused(place, OTHER) == tmp_path / "t-2.web"
    (tmp_path / "t-2.web").symlink_to("nowhere")
    assert unused(place, OTHER) == tmp_path / "t-3.web"
