"""What a diagnosis has found."""

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from slt_compress.errors import MissingPackageError, one_line, reason

Status = Literal["ok", "missing", "failed"]


@dataclass(frozen=True)
class Finding:
    """What came of trying one thing.

    Attributes:
        name: of the package or the feature.
        status: "missing" if it is not installed, "failed" if it is there and does not work.
        detail: what was found, or what to install, or why it has failed; one line, the home folder as ~.
        required: whether the package cannot do its work without it.
        seconds: that it took.
    """

    name: str
    status: Status
    detail: str
    required: bool = True
    seconds: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", without_home(one_line(self.detail)))


class NotInstalledError(Exception):
    """What a feature needs is not there; the message says how to get it."""


@dataclass(frozen=True)
class Diagnosis:
    """All findings.

    Attributes:
        system: the machine, by name; None is what it does not tell.
        packages: what is installed.
        features: what works.
    """

    system: dict[str, Any]
    packages: tuple[Finding, ...]
    features: tuple[Finding, ...]

    @property
    def broken(self) -> list[str]:
        """Names of what is required and does not work."""
        return [one.name for one in (*self.packages, *self.features) if one.required and one.status != "ok"]

    def to_json(self) -> dict[str, Any]:
        """Return the findings as JSON has them."""
        return {
            "ok": not self.broken,
            "system": self.system,
            "packages": [asdict(one) for one in self.packages],
            "features": [asdict(one) for one in self.features],
        }


def tried(name: str, action: Callable[[], str], *, required: bool) -> Finding:
    """Return what comes of an action, which returns what it has found. It may raise anything but an interrupt."""
    try:
        return Finding(name, "ok", action(), required)
    except (NotInstalledError, MissingPackageError) as error:
        return Finding(name, "missing", str(error), required)
    except ModuleNotFoundError as error:
        return Finding(name, "missing", f"needs the package {error.name}", required)
    except (Exception, SystemExit) as error:  # broken packages raise anything, and some leave
        detail = reason(error) if isinstance(error, Exception) else f"it ended with {error.code}"
        return Finding(name, "failed", detail, required)


def without_home(text: str) -> str:
    """Return a text with the home folder as ~."""
    with contextlib.suppress(RuntimeError):  # there is none
        home = str(Path.home())
        if len(home) > 1:  # and not / itself
            return text.replace(home, "~")
    return text
