"""Writing a file so that a reader, or a crash, sees the old content or the new, never a part."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from slt_compress.errors import OutputError


def check_writable(path: Path) -> None:
    """Raise OutputError if `path` could not be written. Call it before long work, so that its result is not lost."""
    folder = path.parent
    try:
        is_folder, has_folder = path.is_dir(), folder.is_dir()
    except OSError as error:  # such as a name that is too long
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    if is_folder:
        raise OutputError(f"cannot write {path}: it is a folder, expected a file name")
    if not has_folder:
        raise OutputError(f"cannot write {path}: the folder {folder} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {path}: no permission to write in the folder {folder}")


def check_folder(path: Path) -> None:
    """Raise OutputError if `path` is no folder that can be written into, and none that could be made."""
    try:
        nearest = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    except OSError as error:
        raise OutputError(f"cannot make the folder {path}: {error.strerror or error}") from error
    if not nearest.is_dir():
        raise OutputError(f"cannot write into {path}: {nearest} is a file, expected a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write into {path}: no permission to write in the folder {nearest}")


def make_folder(path: Path) -> None:
    """Make a folder and those above it where they are missing. Raises OutputError if that is impossible."""
    check_folder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {path}: {error.strerror or error}") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content`. Raises OutputError if that is impossible."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a temporary file in the same folder to write to; then flush it to disk and rename it to `path`.

    If anything fails, the temporary file goes and `path` stays as it was. Raises OutputError for a failed write.
    """
    check_writable(path)
    temporary = None
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        temporary = Path(name)
        os.close(descriptor)
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files private; a result is for sharing
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
