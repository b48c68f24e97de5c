"""Which images are meant: files, folders and patterns."""

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from slt_compress.data.walk import LeftOut, image_files
from slt_compress.errors import DataError

_SIGNS = ("*", "?", "[")  # of a pattern


def named_images(places: Iterable[str | Path]) -> tuple[list[Path], list[str]]:
    """Return the images in the order of the places, and what is to be told of what is left out.

    A file is taken whatever it is called. Of a folder, all images in it and its sub-folders are, sorted. A name with *,
    ? or [ that is no file is a pattern, ** in it any folders.

    Raises DataError for a folder without images and a pattern that nothing matches.
    """
    found: list[Path] = []
    notes: list[str] = []
    for place in places:
        if os.path.isdir(place):  # noqa: PTH112, pathlib raises for some paths
            left_out = LeftOut(Path(place))
            there = image_files(Path(place), left_out, skip_unreadable=False)
            if not there:
                but = f", but {left_out}" if left_out else ""
                raise DataError(f"{place} holds no images in a format that Pillow can read{but}")
            if left_out:
                notes.append(f"left out of {place}: {left_out}")
            found += there
        elif not os.path.lexists(place) and any(sign in str(place) for sign in _SIGNS):
            found += _matching(str(place))
        else:
            found.append(Path(place))
    return found, notes


def _matching(pattern: str) -> Sequence[Path]:
    there = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207, pathlib takes no absolute patterns
    matching = [Path(name) for name in there if os.path.isfile(name)]  # noqa: PTH113
    if not matching:
        raise DataError(f"no file matches {pattern}")
    return matching
