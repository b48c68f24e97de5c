"""The standard streams of a process, whatever the user's shell has made of them.

a character that the encoding lacks     a substitute in ASCII
a stream that is closed                 stdin and stderr lead nowhere; writing to stdout fails, as on a full disk
stderr that cannot be written           what is said there is lost, and the run goes on
COLUMNS that is no width, or below 10   is forgotten
"""

import codecs
import contextlib
import io
import os
import re
import shlex
import sys
from pathlib import Path
from typing import IO

from slt_compress.errors import escaped

_SUBSTITUTES = {
    "×": "x",
    "±": "+-",
    "…": "...",
    "–": "-",
    "·": ".",
    "•": "*",
    "≥": ">=",
    "≤": "<=",
    "—": "-",
    "’": "'",
    "“": '"',
    "”": '"',
    "→": "->",
    "\u00a0": " ",
}
_HANDLER = "slt-substitutes"  # the name that Python's codecs know `_substitute` by
_STDERR = 2


def prepare() -> None:
    """Make the streams of this process fit to be written to. Call it before anything is printed."""
    codecs.register_error(_HANDLER, _substitute)
    _open_closed()
    for name, own in (("stdout", sys.__stdout__), ("stderr", sys.__stderr__)):
        stream = getattr(sys, name)  # not those that a test or a notebook has put in their place
        if isinstance(stream, io.TextIOWrapper) and (stream is own or own is None):
            setattr(sys, name, _wrapped(stream))
    for name in ("COLUMNS", "LINES", "TERMINAL_WIDTH"):
        if not re.fullmatch("[1-9][0-9]{1,4}", os.environ.get(name, "80"), re.ASCII):
            del os.environ[name]


def silence(stream: IO[str]) -> None:
    """Let what a stream still holds, and whatever is written to it, lead nowhere: it has failed, and that is told."""
    with contextlib.suppress(OSError, ValueError):  # a stream of a test has no number
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()


def shell(*words: str | Path) -> str:
    """Return a command for a POSIX shell that can be copied from this process's stdout."""
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str | Path) -> str:
    text = str(word)
    if isinstance(word, Path) and text.startswith("-"):
        text = f"./{text}"  # otherwise it would be an option
    if text.isprintable() and _can_be_shown(text):
        return shlex.quote(text)
    shown = (chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\x{byte:02x}" for byte in os.fsencode(text))
    return f"$'{''.join(shown)}'"


def _can_be_shown(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _substitute(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for characters that an encoding lacks, as `codecs.register_error` asks."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(_SUBSTITUTES.get(char) or ascii(escaped(char))[1:-1].replace("\\\\", "\\") for char in lacking), (
        error.end
    )


def _open_closed() -> None:
    """Give a closed stream a file, or the next file that is opened would get its number and its text."""
    for number, name, mode in ((0, "stdin", os.O_RDONLY), (1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY)):
        if getattr(sys, name) is not None:
            continue
        opened = os.open(os.devnull, mode)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        # A stdout that may only be read: writing there fails, so that a lost result is noticed.
        setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))


class StdoutError(OSError):
    """Stdout cannot be written."""


class _Bytes(io.RawIOBase):
    """The bytes of stdout or stderr. What stderr cannot take is lost, what stdout cannot take raises StdoutError."""

    def __init__(self, number: int) -> None:
        self._number = number

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, data: "bytes | memoryview") -> int:  # type: ignore[override]
        try:
            return os.write(self._number, data)
        except OSError as error:
            if self._number == _STDERR:
                return len(data)
            raise StdoutError(error.errno, error.strerror) from error


def _wrapped(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """Return a stream to the same place that deals with what an encoding or a device lacks."""
    stream.flush()
    raw = io.BufferedWriter(_Bytes(stream.fileno()))  # type: ignore[type-var]
    return io.TextIOWrapper(
        raw,
        encoding=stream.encoding,
        errors=_HANDLER,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
