"""Writing a file so that a reader, or a crash, sees the old content or the new, never a part.

A link is followed: what it leads to is replaced, and the link stays. Only regular files are written. A device or a pipe
would be replaced by a file, or take the result away for good.
"""

import contextlib
import itertools
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from slt_compress.errors import OutputError, UsageError

Places = Path | Iterable[Path] | None  # a file or a folder, or several

_KINDS = {
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
}
OF_RESULTS = {".safetensors", ".onnx", ".jsonl"}  # suffixes of what is written, which no image or list of images has


def check_readable(path: Path, expected: str) -> None:
    """Raise UsageError, naming the path and what is `expected`, unless there is a regular file of this name."""
    try:
        mode = _mode(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror or error}), expected {expected}") from error
    if not stat.S_ISREG(mode):
        kind = "is a folder" if stat.S_ISDIR(mode) else "is no regular file" if mode else "does not exist"
        raise UsageError(f"{path} {kind}, expected {expected}")


def check_writable(path: Path) -> None:
    """Raise OutputError if `path` could not be written. Call it before long work, so that its result is not lost."""
    target = _target(path)
    try:
        _make_temporary(target).unlink()  # a full folder or a path that is too long is known by trying
    except OSError as error:
        raise unwritable(path, error) from error


def check_log(path: Path) -> None:
    """Raise OutputError if a file holds something else than JSON lines, which such lines must not be added to."""
    try:
        if path.is_file():
            with path.open("rb") as file:
                if file.read(1) not in (b"", b"{"):
                    raise OutputError(f"{path} holds something else than a log; name another file")
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror or error}") from error


def check_folder(path: Path) -> None:
    """Raise OutputError if `path` is no folder that can be written into, and none that could be made."""
    try:
        nearest = next(place for place in (path.absolute(), *path.absolute().parents) if _mode(place, links=False))
        mode = _mode(nearest)
    except OSError as error:
        raise OutputError(f"cannot make the folder {path}: {error.strerror or error}") from error
    if not mode or not stat.S_ISDIR(mode):
        kind = _kind(mode) if mode else "a link that leads nowhere"
        raise OutputError(f"cannot write into {path}: {nearest} is {kind}, expected a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write into {path}: no permission to write in the folder {nearest}")


def make_folder(path: Path) -> None:
    """Make a folder and those above it where they are missing. Raises OutputError if that is impossible."""
    check_folder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {path}: {error.strerror or error}") from error


def check_apart(outputs: Mapping[str, Path | None], inputs: Mapping[str, Places]) -> None:
    """Raise UsageError if an output is one of the inputs, lies over a file of an input folder, or is another output.

    Names are as the message is to have them, such as "`output`"; None is what was not given. Links, hard links and
    other spellings are seen through. Several places of an input are looked at only where an output would replace
    something.
    """
    written = {name: path for name, path in outputs.items() if path}
    single = {name: place for name, place in inputs.items() if isinstance(place, Path)}
    for index, (name, path) in enumerate(written.items()):
        for other, there in (*list(written.items())[:index], *single.items()):
            if same(path, there):
                raise UsageError(f"{other} and {name} are the same file, {path}: give another {name}")
    replaced = {name: path for name, path in written.items() if os.path.exists(path)}  # noqa: PTH110, pathlib may raise
    for other, places in inputs.items() if replaced else ():
        for place in [places] if isinstance(places, Path) else places or ():
            for name, path in replaced.items():
                if same(path, place) or _is_of(Path(os.path.realpath(place)), Path(os.path.realpath(path))):
                    raise UsageError(f"{name} would replace {path}, one of the files in {other}: give another {name}")


def _is_of(folder: Path, file: Path) -> bool:
    """Return whether a file looks like one of a data set's: a list of images at its top, or anything further down."""
    if folder not in file.parents or file.suffix in OF_RESULTS or not file.is_file():
        return False
    return file.parent != folder or file.suffix == ".csv"


def same(first: Path, second: Path) -> bool:
    """Return whether two names stand for one file or folder, or will once it is made."""
    with contextlib.suppress(OSError, ValueError):
        return first.samefile(second)
    return os.path.normcase(os.path.realpath(first)) == os.path.normcase(os.path.realpath(second))


def named_after(path: Path, suffix: str) -> Path:
    """Return the name of what is made of a ticket's file: with another suffix, if it has one. Never the same name.

    What follows a dot in `run-0.9` is no suffix.
    """
    return path.with_name(path.name.removesuffix(".safetensors") + suffix)


def unused(path: Path, content: bytes | None = None) -> Path:
    """Return `path` if it is free, or holds this content already; otherwise the first such name with a number."""
    return next(name for name in numbered(path) if is_free(name, content))


def numbered(path: Path) -> Iterator[Path]:
    """Yield `path`, and then its name with one number after the other."""
    yield path
    for number in itertools.count(2):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def is_free(path: Path, content: bytes | None = None) -> bool:
    """Return whether nothing has this name, or a file that holds this content already."""
    if not os.path.exists(path):  # noqa: PTH110, pathlib may raise
        return True
    return content is not None and path.is_file() and path.read_bytes() == content


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content`. Raises OutputError if that is impossible."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_or_rescue(path: Path, content: bytes) -> None:
    """Replace `path` by what has taken long to make. If that is impossible, write it elsewhere.

    Raises OutputError, which names that place, the first that takes it of the current folder, the one for temporary
    files and the home folder.
    """
    try:
        write_atomically(path, content)
    except OutputError as error:
        other = _write_elsewhere(path.name, content)
        if not other:
            raise
        raise OutputError(f"{error}; so that it is not lost, it is saved as {other}") from error


def _write_elsewhere(name: str, content: bytes) -> Path | None:
    for place in (Path.cwd, lambda: Path(tempfile.gettempdir()), Path.home):
        with contextlib.suppress(OutputError, OSError, RuntimeError):  # there may be no such folder
            path = unused(place() / name, content)
            write_atomically(path, content)
            return path
    return None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a temporary file in the same folder to write to; then flush it to disk and rename it to `path`.

    If anything fails, the temporary file goes and `path` stays as it was. Raises OutputError for a failed write.
    """
    target = _target(path)
    temporary = None
    try:
        temporary = _make_temporary(target)
        yield temporary
        temporary.chmod(0o666 & ~umask())  # mkstemp makes files private; a result is for sharing
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)


def _target(path: Path) -> Path:
    """Return what is to be replaced: `path`, or what it leads to as a link.

    Raises OutputError unless that is a regular file, or there is none and a folder that it can be made in.
    """
    try:
        mode = _mode(path)
        target = path.resolve() if path.is_symlink() else path
        folder = target.parent
        has_folder = stat.S_ISDIR(_mode(folder))
    except (OSError, RuntimeError) as error:  # such as a name that is too long, or a link to itself
        raise unwritable(path, error) from error
    if stat.S_ISDIR(mode):
        raise OutputError(f"cannot write {path}: it is a folder, expected a file name")
    if mode and not stat.S_ISREG(mode):
        raise OutputError(f"cannot write {path}: it is {_kind(mode)}, expected a regular file or a new name")
    if not has_folder:
        raise OutputError(f"cannot write {path}: the folder {folder} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {path}: no permission to write in the folder {folder}")
    return target


def temporary_name(target: Path) -> dict[str, Any]:
    """Return where `tempfile` makes something beside a file or folder that will take its place."""
    # The whole name with something added could be longer than a name may be.
    return {"dir": target.parent, "prefix": f".{target.name[:40]}.", "suffix": ".tmp"}


def _make_temporary(target: Path) -> Path:
    descriptor, name = tempfile.mkstemp(**temporary_name(target))
    os.close(descriptor)
    return Path(name)


def unwritable(path: Path, error: Exception) -> OutputError:
    """Return what is raised where the system refuses to write a path."""
    return OutputError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}")


def _mode(path: Path, *, links: bool = True) -> int:
    """Return the mode of what is there, 0 if there is nothing. `links`: of what a link leads to."""
    try:
        return path.stat(follow_symlinks=links).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except ValueError as error:  # a zero byte
        raise OSError(str(error)) from error


def _kind(mode: int) -> str:
    return next((words for test, words in _KINDS.items() if test(mode)), "a file")


def umask() -> int:
    """Return the permissions that new files of this process do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
