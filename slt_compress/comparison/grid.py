"""The grid of a comparison: its plan and its cells."""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from slt_compress.comparison.results import DENSE, exact, method_label
from slt_compress.comparison.trained import PRUNE, read_words
from slt_compress.config import SearchConfig, check_every
from slt_compress.errors import UsageError
from slt_compress.methods import registry


@dataclass(frozen=True)
class Contender:
    """A method in a recipe, with options by name; the method `DENSE` is the dense network."""

    method: str
    recipe: str = registry.DEFAULT_RECIPE
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Contender":
        """Read NAME[:WORD…], such as crbg or edge-popup:global:paper; NAME:option=value for an option without choices.
        For networks with trained weights, prune:NAME[:WORD…].

        Raises UsageError for what is not known, or given twice.
        """
        name, *words = text.split(":")
        if name == PRUNE:
            return cls(PRUNE, *read_words(words, text))
        if name not in registry.METHODS:
            close = difflib.get_close_matches(name, registry.METHODS, n=2, cutoff=0.5)
            hint = (
                f"did you mean {' or '.join(close)}?"
                if close
                else f"known: {', '.join(registry.METHODS)}, {PRUNE}:METHOD"
            )
            raise UsageError(f"unknown method {name!r} in `methods`: {hint}")
        chosen: dict[str, Any] = {}
        for word in words:
            key, value = _read_word(word, text)
            if key in chosen:
                raise UsageError(f"{text!r} in `methods` gives the {key} twice")
            chosen[key] = value
        recipe = chosen.pop("recipe", registry.DEFAULT_RECIPE)
        try:
            registry.check(name, recipe, chosen, None)
        except UsageError as error:
            raise UsageError(f"{text!r} in `methods`: {str(error).replace('`', '')}") from error
        return cls(name, recipe, chosen)

    @property
    def optimises(self) -> bool:
        """Whether its runs make optimiser steps."""
        return self.method in (DENSE, PRUNE) or registry.METHODS[self.method].optimises

    @property
    def label(self) -> str:
        return method_label(self.method, self.recipe, self.options)


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        model: name of the network.
        config: what all cells share; its method, recipe, options, sparsity and seed are ignored.
        contenders: the methods.
        sparsities: the targets, empty where they are sizes.
        sizes: largest sizes of a file in bytes, as targets.
        checkpoint_every: steps after which the state of a search or a training is saved, None for never.
        seeds: runs of each method at each sparsity, with seeds from 0.
        dense: whether the dense network is trained too.
        dense_lr: learning rate of the dense network, and of pruned ones in the default recipe; None: each run takes the
            best of a few, see `dense.DenseRecipe`.
        shard: (I, N): run only every N-th cell, from the I-th on, counted from 1; None: run all.
    """

    model: str
    config: SearchConfig
    contenders: tuple[Contender, ...]
    sparsities: tuple[float, ...]
    seeds: int
    dense: bool
    dense_lr: float | None = None
    shard: tuple[int, int] | None = None
    sizes: tuple[int, ...] = ()
    checkpoint_every: int | None = None

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise UsageError(f"`seeds` must be at least 1, got {self.seeds}")
        for size in self.sizes:
            if type(size) is not int or size < 1:
                raise UsageError(f"`bytes` must be whole numbers of at least 1, got {size!r}")
        _check_once("bytes", self.sizes)
        trained = [one.label for one in self.contenders if one.method == PRUNE]
        if trained and self.sizes:
            raise UsageError(f"`bytes` is for tickets of random weights; give `sparsities` for {', '.join(trained)}")
        if trained and (self.config.granularity != SearchConfig.granularity or self.config.freeze.ratio):
            raise UsageError(f"`granularity` and `freeze_ratio` have no meaning for {', '.join(trained)}")
        if self.sizes and self.config.granularity != SearchConfig.granularity:
            raise UsageError(f"`bytes` is for gates of weights, not for `granularity={self.config.granularity}`")
        check_every(self.checkpoint_every)
        if self.checkpoint_every and not self.optimises:
            methods = ", ".join(one.label for one in self.contenders)
            raise UsageError(
                f"`checkpoint_every` has no meaning for {methods}: nothing is optimised whose state could be saved"
            )
        if self.sizes and self.sparsities:
            raise UsageError("give `sparsities` or `bytes`, not both")
        for sparsity in self.sparsities:
            if not 0 <= sparsity < 1:
                raise UsageError(f"`sparsities` must be numbers of at least 0 and below 1, got {sparsity:g}")
        if self.shard and not 1 <= self.shard[0] <= self.shard[1]:
            shard = "/".join(map(str, self.shard))
            raise UsageError(f"`shard` must be I/N with I from 1 to N, such as 1/4, got {shard!r}")
        if self.dense_lr is not None and not (self.dense_lr > 0 and math.isfinite(self.dense_lr)):
            raise UsageError(f"`dense_lr` must be a positive number, got {self.dense_lr:g}")
        if self.config.reference:
            raise UsageError("`reference` has no meaning for a comparison: its tickets are not deployed")
        if self.config.init_from:
            raise UsageError("`init_from` has no meaning for a comparison: a ticket has one seed")
        if self.config.teacher:
            raise UsageError("`teacher` has no meaning for a comparison: its networks learn from data alone")
        if self.dense_lr is not None and not any(cell.is_tuned for cell in self.cells()):
            raise UsageError("`dense_lr` has no meaning: neither the dense network is trained, nor one of prune:NAME")

    @classmethod
    def parse(
        cls,
        model: str,
        config: SearchConfig,
        *,
        methods: str,
        sparsities: str | None,
        seeds: int,
        dense: bool,
        dense_lr: float | None = None,
        shard: str | None = None,
    ) -> "Plan":
        """Read comma-separated lists and a shard I/N; without sparsities, sizes are to be added.

        Raises UsageError naming what is empty, unknown, out of range or given twice.
        """
        contenders = [Contender.parse(word) for word in _words("methods", methods)]
        shares = [] if sparsities is None else read_sparsities(sparsities)
        _check_once("methods", [one.label for one in contenders])
        return cls(model, config, tuple(contenders), tuple(shares), seeds, dense, dense_lr, _shard(shard))

    @property
    def optimises(self) -> bool:
        """Whether any cell makes optimiser steps."""
        return self.dense or any(one.optimises for one in self.contenders)

    def refuse_idle(self, given: Mapping[str, object]) -> None:
        """Raise UsageError for an argument of optimiser steps, by its name, that was given though no cell makes any."""
        idle = [name for name, value in given.items() if value]
        if idle and not self.optimises:
            methods = ", ".join(one.label for one in self.contenders)
            raise UsageError(
                f"`{idle[0]}` has no meaning where nothing is optimised: `methods` names {methods} alone, and the "
                "dense network is not trained"
            )

    def cells(self) -> list["Cell"]:
        """Return all cells, seed by seed, so that an interrupted grid already compares something."""
        found = []
        for seed in range(self.seeds):
            found += [Cell(one, sparsity, seed) for sparsity in self.sparsities for one in self.contenders]
            found += [Cell(one, 0.0, seed, max_bytes=size) for size in self.sizes for one in self.contenders]
            if self.dense:
                found.append(Cell(Contender(DENSE), 0.0, seed))
        return [replace(cell, learning_rate=self.dense_lr) if cell.is_tuned else cell for cell in found]

    def of_shard(self, cells: list["Cell"]) -> list["Cell"]:
        """Return those of all cells that the shard runs."""
        if self.shard is None:
            return cells
        index, count = self.shard
        return cells[index - 1 :: count]


@dataclass(frozen=True)
class Cell:
    """One run of a grid; one that is tuned may have a learning rate."""

    contender: Contender
    sparsity: float
    seed: int
    learning_rate: float | None = None
    max_bytes: int | None = None

    @property
    def target(self) -> tuple[int, float]:
        """What cells are put in order by."""
        return self.max_bytes or 0, self.sparsity

    @property
    def is_pruned(self) -> bool:
        """Whether weights are trained and pruned."""
        return self.contender.method == PRUNE

    @property
    def is_dense(self) -> bool:
        return self.contender.method == DENSE

    @property
    def is_tuned(self) -> bool:
        """Whether weights are trained, with a learning rate that no published recipe gives."""
        return self.is_dense or (self.is_pruned and self.contender.recipe == registry.DEFAULT_RECIPE)

    @property
    def optimises(self) -> bool:
        """Whether the run makes optimiser steps."""
        return self.contender.optimises

    @property
    def name(self) -> str:
        """The name of its files, without suffix, and its name in a grid."""
        detail = f"-{self.sparsity}" if self.max_bytes is None else f"-{self.max_bytes}B"
        if self.is_dense:
            detail = ""
        if self.learning_rate is not None:
            detail += f"-{exact(self.learning_rate)}"
        return f"{self.contender.label.replace(':', '-')}{detail}-{self.seed}"

    def config(self, common: SearchConfig) -> SearchConfig:
        """Return the config of this cell's search, if it is one."""
        one = self.contender
        return replace(
            common,
            method=one.method,
            recipe=one.recipe,
            options=one.options,
            seed=self.seed,
            **({"sparsity": self.sparsity} if self.max_bytes is None else {"max_bytes": self.max_bytes}),
        )


def read_sparsities(text: str) -> list[float]:
    """Read numbers with commas between them. Raises UsageError for what is none, or is there twice."""
    found = [_sparsity(word) for word in _words("sparsities", text)]
    _check_once("sparsities", found)
    return found


def read_names(argument: str, text: str) -> list[str]:
    """Read names with commas between them. Raises UsageError for an empty one, or one that is there twice."""
    names = _words(argument, text)
    _check_once(argument, names)
    return names


def _check_once(argument: str, values: Sequence[object]) -> None:
    twice = [value for index, value in enumerate(values) if value in values[:index]]
    if twice:
        raise UsageError(f"`{argument}` names {twice[0]} twice")


def _read_word(word: str, text: str) -> tuple[str, Any]:
    """Return the name and the value that a word behind a method stands for."""
    if word in registry.recipes():
        return "recipe", word
    options = registry.options()
    name, given, value = word.partition("=")
    if given and name in options:
        return name, options[name].parse(value)
    for option in options.values():
        if word in option.choices:
            return option.name, word
    known = [choice for option in options.values() for choice in option.choices or (f"{option.name}=VALUE",)]
    extra = [name for name in registry.recipes() if name != registry.DEFAULT_RECIPE]
    raise UsageError(f"unknown option {word!r} of {text!r} in `methods`; known: {', '.join([*known, *extra])}")


def _words(argument: str, text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise UsageError(f"`{argument}` must be a list with commas between its members, got {text!r}")
    return words


def _shard(text: str | None) -> tuple[int, int] | None:
    """Read I/N."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not found:
        raise UsageError(f"`shard` must be I/N with I from 1 to N, such as 1/4, got {text!r}")
    return int(found[1]), int(found[2])


def _sparsity(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"`sparsities` must be numbers of at least 0 and below 1, got {text}") from error
