"""How files of the hub are named: hf://OWNER/NAME[/FILE][@REVISION]. Nothing here goes to the network."""

import re
from dataclasses import dataclass
from pathlib import Path

from slt_compress.errors import UsageError

FORM = "hf://OWNER/NAME[/FILE][@REVISION]"
TICKET_NAME = "ticket.safetensors"  # of the ticket in a repository, unless a file is named
CARD_NAME = "README.md"

_SCHEME = re.compile(r"hf:[/\\]{1,2}")  # `Path` makes one slash, or backslash, of two
_PART = r"[A-Za-z0-9][\w.-]{0,95}"
_REPOSITORY = re.compile(rf"{_PART}/{_PART}", re.ASCII)
_KINDS = {"datasets", "spaces", "models", "buckets"}  # what the hub puts before names of repositories


@dataclass(frozen=True)
class Address:
    """A file of a repository.

    Attributes:
        repository: OWNER/NAME.
        file: its path in there, None for the ticket.
        revision: branch, tag or commit, None for the newest of the main branch.
    """

    repository: str
    file: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        file = f"/{self.file}" if self.file else ""
        return f"hf://{self.repository}{file}" + (f"@{self.revision}" if self.revision else "")


def is_address(name: object) -> bool:
    """Return whether a file is named by an address, and not by a path."""
    return isinstance(name, str | Path) and bool(_SCHEME.match(str(name)))


def parse(name: str | Path) -> Address:
    """Read an address. Raises UsageError for another form."""
    text = _SCHEME.sub("", str(name), count=1).replace("\\", "/")
    path, at, revision = text.partition("@")
    owner, _, rest = path.partition("/")
    repository, _, file = rest.partition("/")
    if (at and not _is_plain(revision)) or (file and not _is_plain(file)) or path.endswith("/"):
        raise _malformed(name)
    return Address(check_repository(f"{owner}/{repository}", name), file or None, revision or None)


def path_in(name: str | Path) -> Path:
    """Return the path of a file as far as its name tells it: of an address, that in its repository."""
    return Path(parse(name).file or TICKET_NAME) if is_address(name) else Path(name)


def check_repository(repository: str, name: str | Path | None = None) -> str:
    """Return the name of a repository. Raises UsageError, about the address `name`, unless it is OWNER/NAME."""
    owner, _, _ = repository.partition("/")
    if not _REPOSITORY.fullmatch(repository) or owner in _KINDS or repository.endswith((".git", ".ipynb")):
        raise _malformed(name) if name is not None else UsageError(f"expected OWNER/NAME, got {repository!r}")
    return repository


def _is_plain(path: str) -> bool:
    """Return whether a path inside a repository leads nowhere else."""
    return path.isprintable() and all(part not in ("", ".", "..") for part in path.split("/"))


def _malformed(name: str | Path) -> UsageError:
    return UsageError(f"expected {FORM}, a file in a repository of models, got {str(name)!r}")
