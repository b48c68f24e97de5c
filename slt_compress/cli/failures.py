"""From an expected failure to one message, the next command to try, and an exit code. A bug keeps its traceback."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from slt_compress import files
from slt_compress.cli import config_file, interrupts
from slt_compress.cli.flags import as_flags
from slt_compress.cli.interrupts import INTERRUPTED
from slt_compress.errors import MissingDatasetError, OutputError, SltError, UnknownModelError
from slt_compress.hub.address import is_address
from slt_compress.hub.download import located


def _advice(failure: SltError) -> str:
    """Return what to do next, to be added to the message."""
    if isinstance(failure, UnknownModelError) and "did you mean" not in str(failure):
        return "; slt-compress models lists what there is"
    if isinstance(failure, MissingDatasetError):
        name = failure.dataset.removeprefix("hf:")
        if name != failure.dataset:
            return (
                f"; on a machine with internet let Python run datasets.load_dataset({name!r}).save_to_disk('FOLDER'), "
                "copy FOLDER here and name it with --dataset hf:FOLDER; --dataset digits needs no download"
            )
        return (
            f"; on a machine with internet run: slt-compress search MODEL --dataset {failure.dataset} "
            "--data-dir FOLDER, copy FOLDER here and name it with --data-dir; --dataset digits needs no download"
        )
    return ""


def message(failure: SltError) -> str:
    """Return a failure as the command line tells it: with its options, where they come from, and what to do next."""
    text = as_flags(str(failure))
    return text + config_file.origin(text) + _advice(failure)


def failure_document(failure: SltError) -> dict[str, Any]:
    """Return what a JSON document says of a failure, alone or beside a result."""
    return {"error": message(failure), "exit_code": failure.exit_code}


@contextlib.contextmanager
def told() -> Iterator[None]:
    """End the call with the message and the exit code of an expected failure."""
    from slt_compress.cli import console

    try:
        yield
    except SltError as failure:
        console.error(message(failure), failure.exit_code)
        raise typer.Exit(failure.exit_code) from failure


@contextlib.contextmanager
def exit_codes(
    interrupted: Callable[[], str] = lambda: "interrupted; nothing was written", output: Path | None = None
) -> Iterator[None]:
    """Run a command: an expected failure ends it with its message and exit code, an interrupt with 130.

    `interrupted` says what an interrupt leaves; where that is a new `output`, perhaps with a number in its name, it is
    not asked.
    """
    from slt_compress.cli import console

    names = (output, files.unused(output)) if output and output.name else ()  # . and / have none
    before = {path: _identity(path) for path in names}
    try:
        with told(), interrupts.Raised():
            yield
    except KeyboardInterrupt as interrupt:
        written = [path for path, identity in before.items() if _identity(path) != identity]
        text = f"interrupted; {written[0]} is written" if written else interrupted()
        interrupts.told()  # what comes before it may take long, and a second Ctrl-C then ends it with a message too
        console.error(text, INTERRUPTED)
        raise typer.Exit(INTERRUPTED) from interrupt


@contextlib.contextmanager
def own_name(path: Path, named: object) -> Iterator[None]:
    """Add to an OutputError about a file how to name another one, if it was not `named` by the user."""
    try:
        yield
    except OutputError as failure:
        if named:
            raise
        raise OutputError(f"{failure}; {path.name} is the name by default, give another with `output`") from failure


def _identity(file: Path) -> tuple[int, int] | None:
    """Return what tells a file from the one that replaces it, None if there is none."""
    try:
        found = file.stat()
    except OSError:  # such as a name that is too long
        return None
    return found.st_ino, found.st_mtime_ns


def local_file(named: str | Path) -> Path:
    """Return the path of a file that a command reads, which is downloaded first if it is on the Hugging Face hub.

    Raises UsageError, with the command that makes a ticket, if there is no such file, and what `hub.download` raises.
    """
    path = located(named)
    require_file(path)
    return path


def as_word(named: str) -> str | Path:
    """Return how a file is named as commands show it: an address as it is, anything else as a path."""
    return named if is_address(named) else Path(named)


def require_file(path: Path) -> None:
    """Raise UsageError, with the command that makes a ticket, if there is no such file."""
    files.check_readable(path, "a file; make one with: slt-compress search MODEL --dataset NAME")
