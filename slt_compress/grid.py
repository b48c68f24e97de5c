"""The grid of a comparison: what is asked for on the command line, and the cells it makes."""

import difflib
from dataclasses import dataclass, replace
from typing import Any

from slt_compress import methods as known_methods
from slt_compress.errors import UsageError
from slt_compress.jobs import Request
from slt_compress.results import DENSE

_OPTIONS = {"layer": "scope", "global": "scope", "paper": "recipe"}  # option of a method -> field of the request


@dataclass(frozen=True)
class Contender:
    """A method with its options, as (field of the request, value); the method `DENSE` is the dense network."""

    method: str
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Contender":
        """Read NAME[:OPTION…], such as crbg or edge-popup:global. Raises UsageError for what is not known."""
        name, *words = text.split(":")
        if name not in known_methods.NAMES:
            close = difflib.get_close_matches(name, known_methods.NAMES, n=2, cutoff=0.5)
            hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known_methods.NAMES)}"
            raise UsageError(f"unknown method {name!r} in --methods: {hint}")
        options: dict[str, str] = {}
        for word in words:
            if word not in _OPTIONS:
                raise UsageError(f"unknown option {word!r} of {text!r} in --methods; known: {', '.join(_OPTIONS)}")
            if _OPTIONS[word] in options:
                raise UsageError(f"{text!r} in --methods gives the {_OPTIONS[word]} twice")
            options[_OPTIONS[word]] = word
        known_methods.check(name, options.get("scope"), options.get("recipe", "default"), None)
        return cls(name, tuple(sorted(options.items(), reverse=True)))

    @property
    def label(self) -> str:
        return ":".join([self.method, *(word for _, word in self.options)])


@dataclass(frozen=True)
class Plan:
    """What is compared. `request` holds what all cells share; its method, density and seed are not looked at."""

    request: Request
    contenders: tuple[Contender, ...]
    sparsities: tuple[float, ...]
    seeds: int
    dense: bool

    @classmethod
    def parse(cls, request: Request, methods: str, sparsities: str, seeds: int, dense: bool) -> "Plan":
        """Read comma-separated lists. Raises UsageError naming what is empty, unknown, out of range or given twice."""
        contenders = [Contender.parse(word) for word in _words("--methods", methods)]
        shares = [_sparsity(word) for word in _words("--sparsities", sparsities)]
        for option, values in (("--methods", [one.label for one in contenders]), ("--sparsities", shares)):
            twice = [value for index, value in enumerate(values) if value in values[:index]]
            if twice:
                raise UsageError(f"{option} names {twice[0]} twice")
        if seeds < 1:
            raise UsageError(f"--seeds must be at least 1, got {seeds}")
        return cls(request, tuple(contenders), tuple(shares), seeds, dense)

    def cells(self) -> list["Cell"]:
        """Return all cells, seed by seed, so that an interrupted grid already compares something."""
        found = []
        for seed in range(self.seeds):
            found += [Cell(one, sparsity, seed) for sparsity in self.sparsities for one in self.contenders]
            if self.dense:
                found.append(Cell(Contender(DENSE), 0.0, seed))
        return found


@dataclass(frozen=True)
class Cell:
    """One run of a grid."""

    contender: Contender
    sparsity: float
    seed: int

    @property
    def is_dense(self) -> bool:
        return self.contender.method == DENSE

    @property
    def name(self) -> str:
        """The name of its files, without suffix."""
        sparsity = "" if self.is_dense else f"-{self.sparsity}"
        return f"{self.contender.label.replace(':', '-')}{sparsity}-{self.seed}"

    def request(self, common: Request) -> Request:
        options: dict[str, Any] = dict(self.contender.options)
        return replace(common, method=self.contender.method, density=1 - self.sparsity, seed=self.seed, **options)


def _words(option: str, text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise UsageError(f"{option} must be a list with commas between its members, got {text!r}")
    return words


def _sparsity(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < 1:
        raise UsageError(f"--sparsities must be numbers of at least 0 and below 1, got {text}")
    return value
