"""Which files of a folder are images. Hidden ones, litter of other software and what is no file are not; what is left
out is counted.

Links are followed, but a folder is read once: links that lead back to it end there.
"""

# ruff: noqa: PTH110, PTH114, PTH120, PTH122

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from slt_compress.data.decoding import image_suffixes
from slt_compress.errors import DataError

# What operating systems, storage and tools leave in folders, in lower case. What begins with a dot is hidden anyway.
_LITTER = frozenset(
    (
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin", "recycler", "recycled"),
        *("system volume information", "found.000", "icon\r", "__macosx", "network trash folder", "temporary items"),
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@tmp", "@__thumb", "lost+found"),
        *("__pycache__", "picasa.ini", "zbthumbnail.info"),
    )
)
_LINK_ENDS = (errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG)
_NAMED = 3  # of each kind

_KINDS = {  # kind -> what one and what several are called
    "hidden": ("hidden", "hidden"),
    "litter": ("of other software", "of other software"),
    "nowhere": ("link that leads nowhere", "links that lead nowhere"),
    "again": ("link to a folder that is read anyway", "links to folders that are read anyway"),
    "special": ("that is no regular file", "that are no regular files"),
    "folder": ("folder named like an image", "folders named like images"),
    "closed": ("that cannot be opened", "that cannot be opened"),
    "outside": ("outside the class folders", "outside the class folders"),
    "unused": ("unused folder", "unused folders"),
}


class LeftOut:
    """Counts what is left out of a folder of images."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[str, list[str]] = {}

    def add(self, kind: str, path: str) -> None:
        """Count one, of a kind in `_KINDS` or a suffix."""
        self._found.setdefault(kind, []).append(path)

    def within(self, folder: Path) -> "LeftOut":
        """Return the count of what lies in a folder."""
        part = LeftOut(folder)
        inside = f"{folder}{os.sep}"
        for kind, paths in self._found.items():
            for path in paths:
                if path.startswith(inside) or path == str(folder):
                    part.add(kind, path)
        return part

    def __len__(self) -> int:
        return sum(map(len, self._found.values()))

    def __str__(self) -> str:
        """How many of which kind, with the first few names; empty if nothing is left out."""
        return ", ".join(self._described(kind, paths) for kind, paths in self._found.items())

    def _described(self, kind: str, paths: Sequence[str]) -> str:
        one, several = _KINDS.get(kind, (kind or "without a suffix",) * 2)
        names = [os.path.relpath(path, self._root) for path in paths[:_NAMED]]
        shown = ", ".join(name if name.isprintable() else ascii(name) for name in names)
        more = ", …" if len(paths) > _NAMED else ""
        return f"{len(paths):,} {one if len(paths) == 1 else several} ({shown}{more})"


def class_folders(root: Path, left_out: LeftOut) -> list[str]:
    """Return the names of the folders in a folder, sorted. Raises DataError for a name that is not UTF-8."""
    names = []
    for entry in entries(root):
        kind = _kind(entry)
        if kind == "folder" and _leads_back(entry.path):
            kind = "again"
        if kind == "folder":
            names.append(_text(entry))
        else:
            left_out.add("outside" if kind == "file" else kind, entry.path)
    return names


def image_files(folder: Path, left_out: LeftOut, *, skip_unreadable: bool) -> list[Path]:
    """Return the images in a folder and its sub-folders, sorted.

    Raises DataError if a folder cannot be opened; `skip_unreadable` counts it instead.
    """
    suffixes = image_suffixes()
    files: list[Path] = []
    folders, links, read = [str(folder)], list[str](), set[str]()
    while folders or links:
        here = folders.pop() if folders else links.pop(0)  # of a folder and a link to it, the folder is read
        place = os.path.realpath(here)
        if place in read or (here != str(folder) and _leads_back(here)):
            left_out.add("again", here)
            continue
        read.add(place)
        try:
            found = entries(here)
        except DataError:
            if not skip_unreadable:
                raise
            left_out.add("closed", here)
            continue
        for entry in found:
            kind = _kind(entry)
            suffix = os.path.splitext(entry.name)[1].lower()
            if kind == "file" and suffix in suffixes:
                files.append(Path(entry.path))
            elif kind == "folder" and suffix not in suffixes:
                (links if entry.is_symlink() else folders).append(entry.path)
            else:
                left_out.add(suffix if kind == "file" else kind, entry.path)
    return sorted(files)


def is_litter(name: str) -> bool:
    """Return whether a file or folder of this name is left behind by other software."""
    return name.lower() in _LITTER


def entries(folder: str | Path) -> list[os.DirEntry[str]]:
    """Return what a folder holds, sorted by name. Raises DataError if it cannot be opened."""
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"cannot open the folder {folder}: {error.strerror or error}") from error


def _kind(entry: os.DirEntry[str]) -> str:
    """Return "file" or "folder", or why an entry is neither."""
    if entry.name.startswith("."):
        return "hidden"
    if is_litter(entry.name):
        return "litter"
    try:
        if entry.is_file():
            return "file"
        if entry.is_dir():
            return "folder"
        return "special" if os.path.exists(entry.path) else "nowhere"
    except OSError as error:
        return "nowhere" if error.errno in _LINK_ENDS else "closed"


def _leads_back(path: str) -> bool:
    """Return whether a path is a link to a folder around it."""
    target, place = os.path.realpath(path), os.path.realpath(os.path.dirname(path))
    return os.path.islink(path) and (place == target or place.startswith(target.rstrip(os.sep) + os.sep))


def _text(entry: os.DirEntry[str]) -> str:
    try:
        entry.name.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"the name of the class folder {entry.path!a} is not UTF-8: rename it") from error
    return entry.name
