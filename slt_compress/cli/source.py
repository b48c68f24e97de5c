"""FILE.py:FUNCTION on the command line: the user's own code, which is run because the user names it and never because
a ticket does.
"""

import contextlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from slt_compress.cli import console
from slt_compress.errors import UsageError

_FORM = re.compile(r"(?P<file>.+\.py):(?P<function>[A-Za-z_]\w*)", re.ASCII | re.DOTALL)


def names_code(text: str) -> bool:
    """Return whether this is FILE.py:FUNCTION, and not the name of a model."""
    return bool(re.search(r"\.py(:|$)", text))


def code_file(text: str | None) -> Path | None:
    """Return the file of FILE.py:FUNCTION; None without one."""
    match = _FORM.fullmatch(text or "")
    return Path(match["file"]) if match else None


def load(text: str) -> Callable[[], Any]:
    """Return the function that FILE.py:FUNCTION names, or the class or module.

    The file is run as an import would run it: files beside it can be imported, and its `__name__` is its stem.

    Raises UsageError, with the line, if it cannot be run, and with what it has instead if there is no such function.
    """
    match = _FORM.fullmatch(text)
    if not match:
        raise UsageError(f"expected FILE.py:FUNCTION, a function that builds the network, got {text!r}")
    path = Path(match["file"])
    if not path.is_file():
        raise UsageError(f"{path} does not exist, expected a file with the function {match['function']}")
    module = _run(path)
    found = getattr(module, match["function"], None)
    if callable(found):
        return found  # type: ignore[no-any-return]
    own = [
        name
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
    ]
    raise UsageError(f"{path} has no function {match['function']}; it has {', '.join(own) or 'none'}")


def stdout_for_results() -> TextIO:
    """Return what results are to be printed to. From now on, until the process ends, what anything else writes to
    stdout goes to stderr.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    console.keep_stdout(kept)
    os.dup2(2, 1)
    return os.fdopen(kept, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)


@contextlib.contextmanager
def user_code(text: str | None) -> Iterator[tuple[Callable[[], Any] | None, TextIO | None]]:
    """Give the function of FILE.py:FUNCTION and where results are to be printed to; None and None without a text."""
    if text is None:
        yield None, None
        return
    with stdout_for_results() as results:
        yield load(text), results


def _run(path: Path) -> Any:
    name = re.sub(r"\W", "_", path.stem)
    if name in sys.modules or name in sys.stdlib_module_names:
        name = f"{name}_source"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the user's code may raise anything, and leave by sys.exit
        raise UsageError(f"{path} cannot be run: {_where(error, path)}{type(error).__name__}: {error}") from error
    return module


def _where(error: BaseException, path: Path) -> str:
    """Return the last line of the file that the error came through, for a message."""
    if isinstance(error, SyntaxError):
        return ""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve() == path.resolve()
    ]
    return f"line {lines[-1]}: " if lines else ""
