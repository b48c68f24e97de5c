"""The files of torchvision's data sets on this machine: whether those that are there are whole and what they should be.

torchvision takes a file that it cannot use for one that is absent, and would say that it cannot be downloaded.
"""

import contextlib
import hashlib
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slt_compress.errors import DataError

_BYTES = 0x08  # the code of unsigned bytes in an IDX file
_SIDE = 28  # px, of an MNIST-like image


def check_idx(raw: Path, prefix: str, classes: int) -> None:
    """Check the images and labels of a part of an MNIST-like data set, if they are there: IDX files of unsigned bytes.

    Args:
        raw: their folder.
        prefix: of their names, "train" or "t10k".
        classes: number of labels.

    Raises DataError, with the file, what was expected and what was found.
    """
    images, labels = raw / f"{prefix}-images-idx3-ubyte", raw / f"{prefix}-labels-idx1-ubyte"
    with _readable(raw):
        shapes = [_check_shape(path, axes) for path, axes in ((images, 3), (labels, 1)) if path.exists()]
    if len(shapes) < 2:
        return
    pictures, numbers = shapes
    if pictures[1:] != (_SIDE, _SIDE):
        raise _damaged(images, f"images of {_SIDE}×{_SIDE} px", f"{pictures[1]}×{pictures[2]}")
    if pictures[0] != numbers[0]:
        raise _damaged(labels, f"a label for each of the {pictures[0]:,} images beside it", f"{numbers[0]:,} labels")
    with _readable(labels):
        highest = max(labels.read_bytes()[8:], default=-1)
    if not 0 <= highest < classes:
        raise _damaged(labels, f"labels from 0 to {classes - 1}", "none" if highest < 0 else f"a label {highest}")


def check_sums(reader: Any, folder: Path, part: str) -> None:
    """Check those files of a data set that are there and whose MD5 torchvision knows.

    Args:
        reader: torchvision's class.
        folder: that it gets as its root.
        part: "train" or "test".

    Raises DataError, with the first file that is not what was published.
    """
    with _readable(folder):
        present = [(path, md5) for path, md5 in _sums(reader, folder, part) if path.exists()]
    for path, md5 in present:
        with _readable(path):
            content = path.read_bytes()
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != md5:
            raise _damaged(path, f"the MD5 {md5}", f"{found} ({len(content):,} bytes)")


def _sums(reader: Any, folder: Path, part: str) -> list[tuple[Path, str]]:
    """Return files and their MD5. Of an MNIST-like data set these are archives, which need not be there any more."""
    if hasattr(reader, "resources"):
        raw = folder / reader.__name__ / "raw"
        return [(raw / name, md5) for name, md5 in reader.resources if not (raw / name).with_suffix("").exists()]
    if hasattr(reader, "split_list"):
        _, name, md5 = reader.split_list[part][:3]
        return [(folder / name, md5)]
    base = folder / reader.base_folder
    listed = [*reader.train_list, *reader.test_list, (reader.meta["filename"], reader.meta["md5"])]
    return [(base / name, md5) for name, md5 in listed]


def _check_shape(path: Path, axes: int) -> tuple[int, ...]:
    """Return the shape that an IDX file states, once its size has been found to fit.

    An IDX file begins with two zero bytes, the code of its numbers, the number of its axes and their lengths, u32,
    big-endian.
    """
    with _readable(path), path.open("rb") as file:
        size = path.stat().st_size
        head = file.read(4 + 4 * axes)
    start = bytes([0, 0, _BYTES, axes])
    if head[:4] != start or len(head) < 4 + 4 * axes:
        raise _damaged(path, f"an IDX file that begins with {start.hex(' ')}", head[:4].hex(" ") or "an empty file")
    shape = struct.unpack(f">{axes}I", head[4:])
    wanted = len(head) + math.prod(shape)
    if size != wanted:
        raise _damaged(path, f"{wanted:,} bytes", f"{size:,}")
    return shape


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise DataError, with the path, where it cannot be read."""
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _damaged(path: Path, expected: str, found: str) -> DataError:
    return DataError(f"{path} is damaged or another file: expected {expected}, found {found}; delete it and run again")
