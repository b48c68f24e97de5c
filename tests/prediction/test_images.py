"""Files, folders and patterns become images, in the order in which they were named."""

from pathlib import Path

import pytest

from slt_compress.errors import DataError
from slt_compress.prediction.images import named_images


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("b/2.png", "b/deep/1.jpg", "b/notes.txt", "a.png", "c[1].png", "empty/x.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    return tmp_path


def test_places_keep_their_order(folder: Path) -> None:  # noqa: ARG001
    found, notes = named_images(["b", "a.png", "missing.png", "c[1].png", "a.png"])
    named = ["b/2.png", "b/deep/1.jpg", "a.png", "missing.png", "c[1].png", "a.png"]
    assert list(map(str, found)) == named
    assert "notes.txt" in notes[0]


def test_patterns_find_files(folder: Path) -> None:
    assert list(map(str, named_images(["*.png"])[0])) == ["a.png", "c[1].png"]
    assert list(map(str, named_images(["b/**/*.jpg"])[0])) == ["b/deep/1.jpg"]
    assert named_images([f"{folder}/?.png"])[0] == [folder / "a.png"]


@pytest.mark.parametrize(("place", "words"), [("*.gif", r"no file matches \*\.gif"), ("empty", "x.txt")])
def test_places_without_images_are_refused(folder: Path, place: str, words: str) -> None:  # noqa: ARG001
    with pytest.raises(DataError, match=words):
        named_images([place])
