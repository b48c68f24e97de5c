"""Writing a folder so that a reader, or a crash, sees all of it or nothing, and that nothing of a user's is replaced.

It is made beside its place under another name, and renamed. A folder of an earlier export is moved away first: there is
a moment between two renames without any, and never a mixture of both. Only a folder that is empty, or that such an
export wrote and nobody has added anything to, is replaced.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from slt_compress.errors import OutputError
from slt_compress.files import check_folder, numbered, temporary_name, umask, unwritable

MARK = '<meta name=generator content="slt-compress web">'  # of a page of ours
PAGE = "index.html"
_HEAD = 2_000  # bytes of a page in which its mark is


def check(path: Path, names: frozenset[str]) -> None:
    """Raise OutputError if `path` cannot be written as a folder. Call it before long work.

    `names` are those of all files that an export may write.
    """
    target = _target(path, names)
    with _errors(path):
        _temporary(target).rmdir()


def unused(path: Path, contents: Mapping[str, bytes]) -> Path:
    """Return `path` if it is free, or holds these files already; otherwise the first such name with a number."""
    return next(name for name in numbered(path) if not os.path.lexists(name) or _holds(name, contents))


def write(path: Path, contents: Mapping[str, bytes], names: frozenset[str]) -> None:
    """Write files, by their names, as a folder, which may replace one that an export wrote.

    Raises OutputError if that is impossible; then nothing has changed.
    """
    target = _target(path, names)
    with _errors(path), _removed(target) as new, _removed(target) as old:
        new.chmod(0o777 & ~umask())  # mkdtemp makes folders private; a result is for sharing
        for name, content in contents.items():
            with (new / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        former = old / "former"
        try:
            if target.exists():
                target.rename(former)
            new.rename(target)
        except BaseException:  # an interrupt too
            if former.exists() and not target.exists():
                former.rename(target)
            raise


def _target(path: Path, names: frozenset[str]) -> Path:
    """Return the folder that is to be written: `path`, or what it leads to as a link."""
    with _errors(path):
        target = path.resolve()
        if target.parent == target or Path.cwd().is_relative_to(target):
            raise OutputError(f"cannot replace {path}: the current folder lies in it, expected a new name")
        if _is_there(target):
            if not target.is_dir():
                raise OutputError(f"cannot write {path}: it is no folder, expected a folder or a new name")
            foreign = _foreign(target, names)
            if foreign:
                raise OutputError(
                    f"the folder {path} holds {foreign}, which no export to `format=web` wrote: empty it, or give "
                    "another `output`"
                )
        if not target.parent.is_dir():
            raise OutputError(f"cannot write {path}: the folder {target.parent} does not exist")
        check_folder(target.parent)
        return target


def _is_there(target: Path) -> bool:
    """Return whether anything has this name. Raises OSError for one that nothing can have."""
    try:
        target.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _foreign(folder: Path, names: frozenset[str]) -> str | None:
    """Return the name of something in a folder that no export has put there, None if there is nothing."""
    found = sorted(folder.iterdir())
    for file in found:
        if file.name not in names or file.is_symlink() or not file.is_file():
            return file.name
    return None if not found or _is_ours(folder / PAGE) else found[0].name


def _is_ours(page: Path) -> bool:
    if not page.is_file():
        return False
    with page.open("rb") as file:
        return MARK.encode() in file.read(_HEAD)


def _holds(folder: Path, contents: Mapping[str, bytes]) -> bool:
    with contextlib.suppress(OSError):
        found = {file.name for file in folder.iterdir()}
        return found == set(contents) and all((folder / name).read_bytes() == each for name, each in contents.items())
    return False


@contextlib.contextmanager
def _removed(target: Path) -> Iterator[Path]:
    """Give an empty folder beside another one; what is left of it at the end goes."""
    folder = _temporary(target)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _temporary(target: Path) -> Path:
    return Path(tempfile.mkdtemp(**temporary_name(target)))


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Turn what the system refuses into an OutputError."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:  # such as a name that is too long, a loop, a zero byte
        raise unwritable(path, error) from error
