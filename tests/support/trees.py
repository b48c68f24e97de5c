"""Folder trees as users have them: names of all kinds, links and loops of links, modes, litter, special files."""

# ruff: noqa: PTH101, PTH102, PTH103, PTH112, PTH113, PTH114, PTH118, PTH122, PTH123, PTH208, PTH211

import contextlib
import os
import stat
from typing import Any, NamedTuple

from hypothesis import strategies as st

_STEMS = (
    *("a", "b", "A", "cat", "dog", "0", "1", "x" * 200, "caf\u00e9", "cafe\u0301", "\u05d0\u05d1", "\U0001f408"),
    *("a\nb", "a\tb", "-rf", "~", "a'b", "$(x)", "[red]", "_", "..a", ".hidden", "._a", "COM1", "a.b", "\u202eb"),
    *(" a ", "a b", "caf\udce9"),
)
_SUFFIXES = ("", ".png", ".PNG", ".jpg", ".jfif", ".txt", ".heic", ".gif", ".eps", ".png.part", ".", ".p\u00f1g")
_WHOLE = (
    *("train", "test", "val", "Thumbs.db", "desktop.ini", "__MACOSX", "@eaDir", ".DS_Store", "lost+found", "Icon\r"),
    *(".ipynb_checkpoints", "#recycle", "__pycache__", "README", "labels.csv"),
)
_NAMES = st.one_of(st.builds(str.__add__, st.sampled_from(_STEMS), st.sampled_from(_SUFFIXES)), st.sampled_from(_WHOLE))
_KINDS = (
    *("folder", "folder", "file", "file", "file", "empty", "link", "link", "hard", "nowhere", "self", "pipe"),
    "closed",
)


class Entry(NamedTuple):
    """What is made in a folder, `parent` of those that are there already, and what a link leads to, `target`."""

    parent: int
    name: str
    kind: str
    target: int


ENTRIES = st.lists(
    st.builds(Entry, st.integers(0, 99), _NAMES, st.sampled_from(_KINDS), st.integers(0, 99)), max_size=40
)


def build(root: str, entries: list[Entry], folders: tuple[str, ...] = ()) -> None:
    """Make a tree below a folder, of the entries that can be made; `folders` are there before, relative to it."""
    for folder in folders:
        os.makedirs(os.path.join(root, folder))
    places = [root, *(os.path.join(root, folder) for folder in folders)]
    made, closed = list(places), list[str]()
    for entry in entries:
        path = os.path.join(places[entry.parent % len(places)], entry.name)
        target = made[entry.target % len(made)]
        with contextlib.suppress(FileExistsError, PermissionError, OSError):  # such as a name that is too long
            if entry.kind in ("folder", "closed"):
                os.mkdir(path)
                places.append(path)
            elif entry.kind == "hard":
                os.link(target, path)
            elif entry.kind == "pipe":
                os.mkfifo(path)
            elif entry.kind in ("link", "nowhere", "self"):
                os.symlink({"link": target, "nowhere": "nowhere", "self": entry.name}[entry.kind], path)
            else:
                with open(path, "xb") as file:
                    file.write(b"x" * (entry.kind == "file"))
            made.append(path)
            if entry.kind == "closed":
                closed.append(path)
    for path in reversed(closed):  # the inner ones first
        os.chmod(path, 0)


def open_all(root: str) -> None:
    """Let everything that `build` has closed be opened again, so that it can be removed."""
    for folder, names, _ in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                os.chmod(path, stat.S_IRWXU)


def plain_folders(root: str, suffixes: frozenset[str], litter: Any) -> set[str]:
    """Return where the folders really are that belong to one, by a rule that has no order: links are followed, but not
    to a folder around them.
    """
    found, todo = set[str](), [os.path.realpath(root)]
    while todo:
        place = todo.pop()
        if place in found:
            continue
        found.add(place)
        for name in os.listdir(place):
            path = os.path.join(place, name)
            usual = not name.startswith(".") and not litter(name) and os.path.splitext(name)[1].lower() not in suffixes
            if usual and os.path.isdir(path) and not leads_back(path, place):
                todo.append(os.path.realpath(path))
    return found


def plain_images(root: str, suffixes: frozenset[str], litter: Any) -> set[tuple[str, str]]:
    """Return the images that belong to a folder, each as the real place of its folder and its name."""
    return {
        (place, name)
        for place in plain_folders(root, suffixes, litter)
        for name in os.listdir(place)
        if not name.startswith(".") and not litter(name)
        if os.path.isfile(os.path.join(place, name)) and os.path.splitext(name)[1].lower() in suffixes
    }


def leads_back(path: str, place: str) -> bool:
    """Return whether a path is a link to a folder around it; `place` is where its folder really is."""
    around = os.path.commonpath([os.path.realpath(path), place]) == os.path.realpath(path)
    return os.path.islink(path) and around


def plain_classes(root: str, suffixes: frozenset[str], litter: Any) -> dict[str, set[tuple[str, str]]]:
    """Return the images of each class of a folder of classes, each as the real place of its folder and its name."""
    place = os.path.realpath(root)
    return {
        name: plain_images(os.path.join(root, name), suffixes, litter)
        for name in os.listdir(root)
        if not name.startswith(".") and not litter(name)
        if os.path.isdir(os.path.join(root, name)) and not leads_back(os.path.join(root, name), place)
    }
