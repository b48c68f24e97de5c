"""Everything the package raises on purpose, with the exit code the command line gives it.

Messages name arguments as a caller from Python knows them, between backticks: `sparsity`, or with a value
`method=crbg`. The command line shows these as its own options, see `cli.flags`.
"""

TYPE_CHECKING = False  # as in typing, see `slt_compress`
if TYPE_CHECKING:
    from collections.abc import Sequence


_LONE = range(0xDC80, 0xDD00)  # what Python makes of bytes of a file name that are no text


class SltError(Exception):
    """Base of every expected failure. The message names what was given and what was expected, in one line whatever
    names of files, classes or tensors are in it.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class DataError(SltError):
    """Images are missing, unreadable, or do not fit the network."""


class MissingDatasetError(DataError):
    """A data set is not on this machine and cannot be downloaded."""

    def __init__(self, dataset: str, message: str) -> None:
        super().__init__(message)
        self.dataset = dataset


class LostProcessError(SltError):
    """Another process that shares in the work is gone."""


class FailedRunsError(SltError):
    """Some runs of a comparison have failed; the others are finished."""


class MissingPackageError(SltError):
    """A feature needs a package that is not installed, or a newer version of it."""


class HubError(SltError):
    """A repository of the Hugging Face hub cannot be read or written."""


class OutputError(SltError):
    """A result cannot be written."""


class UnreachableError(SltError):
    """The request is well formed but arithmetic forbids it."""


class UsageError(SltError):
    """An argument is unknown, malformed or out of range."""

    exit_code = 2


class UnknownModelError(UsageError):
    """No model has this name."""


class TicketError(SltError):
    """A file is not a ticket, is damaged, or asks for something a ticket may not ask for."""

    exit_code = 3


class CheckpointError(SltError):
    """The checkpoint of a search is damaged."""

    exit_code = 3


class VerificationError(SltError):
    """A result does not hold what was promised: parity, digest or accuracy."""

    exit_code = 3


def one_line(text: str) -> str:
    r"""Return text with control characters, and bytes of a file name that are no text, as escapes: \n, \x1b, \xff."""
    return text if text.isprintable() else "".join(char if char.isprintable() else escaped(char) for char in text)


def escaped(char: str) -> str:
    """Return a character as Python writes it, a byte that is no text as that byte."""
    return f"\\x{ord(char) - 0xDC00:02x}" if ord(char) in _LONE else repr(char)[1:-1]


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, empty if it says nothing."""
    return str(error).strip().partition("\n")[0]


def reason(error: BaseException) -> str:
    """Return in a line what has failed: the message of an expected failure, of others the type and the first line."""
    return str(error) if isinstance(error, SltError) else f"{type(error).__name__}: {first_line(error)}".rstrip(": ")


def few(names: "Sequence[str]") -> str:
    """Return the first few names as a person reads them."""
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
