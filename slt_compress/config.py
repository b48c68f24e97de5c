"""The settings of a search. Needs no torch: the command line checks a request before anything heavy loads."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from slt_compress.errors import UsageError
from slt_compress.methods import registry
from slt_compress.models.spec import MODEL_ARGUMENTS, argument_problem
from slt_compress.prng import INITIALISERS, MAX_SEED, Freeze

_Config = TypeVar("_Config")

DEFAULT_EPOCHS = 12
DEFAULT_SPARSITY = 0.9
NEURON, BOTH = "neuron", "neuron,weight"  # granularities
DEFAULT_NEURON_SPARSITY = 0.5
MAX_WORKERS = 64  # more would only wait for one another
MIN_STEPS = 1_000  # default budgets give every data set at least so many optimiser steps

CHOICES: dict[str, tuple[str, ...]] = {  # field -> the values it may have
    "initialiser": tuple(INITIALISERS),
    "augment": ("none", "flip", "crop", "crop-flip", "shift-flip"),
    "precision": ("auto", "fp32", "bf16"),
    "codec": ("auto", "raw", "rice"),
    "statistics": ("auto", "fp32", "fp16"),
    "granularity": ("weight", NEURON, BOTH),
}


# Settings of optimiser steps, with the values that ask for nothing.
OF_STEPS: dict[str, Any] = {
    "epochs": None,
    "max_steps": None,
    "augment": "none",
    "precision": "auto",
    "init_from": None,
    "teacher": None,
}


@dataclass(frozen=True)
class SearchConfig:
    """All settings of a search but its model; None stands for the default.

    Raises UsageError, when made, for what no search can do.

    Attributes:
        dataset: a name in `data.datasets.DATASET_NAMES`.
        data_dir: folder of the images; None: the cache, from which missing data sets are downloaded.
        workers: most processes that decode images which are too many for memory; 0: none but this one, None: as many as
            there are cores, at most eight.
        skip_unreadable: whether images that cannot be read are left out; else they are an error.
        input_size: side in px that images are resized to; None: the data set's own, or the model's.
        model_arguments: what differs from the named network, by names among `models.spec.MODEL_ARGUMENTS`, such as
            depth=6; for transformers of timm.
        method: a name in `methods.registry.METHODS`.
        recipe: settings of the method: "default" are ours, "paper" the published ones.
        options: further options of the method, by name, as its registry entry lists them.
        sparsity: target share of gated weights that are zero, in [0, 1); with the granularity "neuron", of neurons that
            are removed.
        max_bytes: instead, the largest size of the ticket's file: as many weights are kept as fit into it, at most half
            of the searchable ones. The statistics are then fp16 unless they are asked for otherwise.
        granularity: what has a gate: each "weight", or each "neuron", which is an output channel, a hidden unit or an
            attention head, or both, "neuron,weight". Neurons are ranked in each group of tied ones, unless the option
            `scope` says otherwise.
        neuron_sparsity: where both have gates, the share of neurons that are removed; None: half of them.
        freeze: the part of the mask that the seed fixes before the search.
        initialiser: distribution of the frozen weights, a key of `prng.INITIALISERS`; None: the method's.
        seed: of weights, gates and the order of the images, a u64.
        epochs, max_steps: length of the search, in passes over the training images or in optimiser steps; at most one.
        batch_size: images a step.
        learning_rate: of the gates; None: the method's.
        init_from: file of a ticket of the same network, seed and initialiser, whose kept weights begin ahead of others.
        teacher: file of a trained network to learn from: a ticket, or weights of the same network.
        augment: random changes of training images, "none", "flip", "crop", "crop-flip" or "shift-flip", see
            `data.augment`.
        precision: arithmetic of the search: "fp32", "bf16", or "auto": bf16 on a GPU that has it.
        device: "auto", "cpu", "cuda" or "mps".
        codec: code of the masks, "raw", "rice", or "auto": whichever is shorter.
        statistics: form of the BatchNorm statistics in the file, "fp32", "fp16", or "auto": fp16 if that does not
            change a prediction on the held-out images.
        reference: whether the ticket gets a reference of the held-out images, for `monitor`; of networks that classify
            images.
    """

    dataset: str = "digits"
    data_dir: Path | None = None
    workers: int | None = None
    skip_unreadable: bool = False
    input_size: int | None = None
    model_arguments: Mapping[str, int] = field(default_factory=dict)
    method: str = "crbg"
    recipe: str = "default"
    options: Mapping[str, Any] = field(default_factory=dict)
    sparsity: float = DEFAULT_SPARSITY
    max_bytes: int | None = None
    granularity: str = "weight"
    neuron_sparsity: float | None = None
    freeze: Freeze = Freeze()
    initialiser: str | None = None
    seed: int = 0
    epochs: int | None = None
    max_steps: int | None = None
    batch_size: int = 256
    learning_rate: float | None = None
    init_from: Path | None = None
    teacher: Path | None = None
    augment: str = "none"
    precision: str = "auto"
    device: str = "auto"
    codec: str = "auto"
    statistics: str = "auto"
    reference: bool = False

    def __post_init__(self) -> None:
        check_numbers(self, ("sparsity", "neuron_sparsity", "learning_rate"))
        check_numbers(self, ("input_size", "batch_size", "epochs", "max_steps"), whole=True)
        if not 0 <= self.sparsity < 1:
            raise UsageError(f"`sparsity` must be at least 0 and below 1, got {self.sparsity:g}")
        if self.max_bytes is not None:
            self._check_max_bytes(self.max_bytes)
        if not 0 <= self.freeze.ratio < 1:
            raise UsageError(f"`freeze_ratio` must be at least 0 and below 1, got {self.freeze.ratio:g}")
        if not 0 <= self.freeze.lock <= self.freeze.ratio:
            raise UsageError(
                f"`lock_ratio` must be from 0 to `freeze_ratio`, {self.freeze.ratio:g}, got {self.freeze.lock:g}"
            )
        for name, value, least in (("input_size", self.input_size, 1), ("batch_size", self.batch_size, 2)):
            if value is not None and value < least:
                raise UsageError(f"`{name}` must be at least {least}, got {value}")
        if type(self.seed) is not int or not 0 <= self.seed <= MAX_SEED:
            raise UsageError(f"`seed` must be a whole number from 0 to 2**64 - 1, got {self.seed!r}")
        for name, value in (("epochs", self.epochs), ("max_steps", self.max_steps)):
            if value is not None and value < 1:
                raise UsageError(f"`{name}` must be at least 1, got {value}")
        if self.epochs is not None and self.max_steps is not None:
            raise UsageError("give `epochs` or `max_steps`, not both")
        if self.learning_rate is not None and not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise UsageError(f"`learning_rate` must be a positive number, got {self.learning_rate:g}")
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices and not (name == "initialiser" and value is None):
                raise UsageError(f"`{name}` must be one of {', '.join(choices)}, got {value!r}")
        for name, value in self.model_arguments.items():
            if name not in MODEL_ARGUMENTS:
                raise UsageError(f"unknown `model_arguments` {name!r}; known: {', '.join(MODEL_ARGUMENTS)}")
            if problem := argument_problem(name, value):
                raise UsageError(problem)
        if self.workers is not None and (type(self.workers) is not int or not 0 <= self.workers <= MAX_WORKERS):
            raise UsageError(f"`workers` must be a whole number from 0 to {MAX_WORKERS}, got {self.workers!r}")
        registry.check(self.method, self.recipe, self.options, self.learning_rate)
        if self.granularity in (NEURON, BOTH) and self.freeze.ratio:
            raise UsageError(f"`freeze_ratio` is for gates of weights alone, not for `granularity={self.granularity}`")
        if self.neuron_sparsity is not None and self.granularity != BOTH:
            raise UsageError(
                f"`neuron_sparsity` is for a `granularity` of {BOTH}; where that is {NEURON}, `sparsity` is of neurons"
            )
        if self.neuron_sparsity is not None and not 0 <= self.neuron_sparsity < 1:
            raise UsageError(f"`neuron_sparsity` must be at least 0 and below 1, got {self.neuron_sparsity:g}")

        if self.init_from is not None and self.granularity != SearchConfig.granularity:
            raise UsageError(f"`init_from` is for gates of weights, not for `granularity={self.granularity}`")

    def _check_max_bytes(self, most: int) -> None:
        if type(most) is not int or most < 1:
            raise UsageError(f"`max_bytes` must be a whole number of at least 1, got {most!r}")
        if self.granularity != SearchConfig.granularity:
            raise UsageError(f"`max_bytes` is for gates of weights, not for `granularity={self.granularity}`")
        if self.codec == "raw":
            raise UsageError("`max_bytes` needs masks whose size follows their sparsity, which `codec=raw` has not")

    def refuse_idle(self, **others: object) -> None:
        """Raise UsageError for a setting of optimiser steps if the method makes none; `others` are further arguments.

        Not when it is made: the cells of a comparison share such settings, whatever their methods.
        """
        idle = [*self.of_steps(), *(name for name, value in others.items() if value)]
        if idle and not registry.METHODS[self.method].optimises:
            raise UsageError(f"`{idle[0]}` has no meaning for `method={self.method}`, which optimises nothing")

    def of_steps(self) -> list[str]:
        """Return which settings of optimiser steps ask for something."""
        return [name for name, nothing in OF_STEPS.items() if getattr(self, name) != nothing]

    @property
    def chosen_options(self) -> Mapping[str, Any]:
        """Options of the method; neurons are ranked in each layer where it can and nothing else is asked for."""
        understood = {option.name for option in registry.METHODS[self.method].options}
        layered = self.granularity in (NEURON, BOTH) and "scope" in understood
        return {**({"scope": "layer"} if layered else {}), **self.options}

    @property
    def neuron_density(self) -> float | None:
        """Target share of neurons to keep, None where neurons have no gates."""
        if self.granularity == BOTH:
            return 1 - (DEFAULT_NEURON_SPARSITY if self.neuron_sparsity is None else self.neuron_sparsity)
        return self.density if self.granularity == NEURON else None

    @property
    def density(self) -> float:
        """Target share of gated weights to keep."""
        return 1 - self.sparsity


def check_every(steps: Any) -> None:
    """Raise UsageError unless a checkpoint can be due after every so many steps; None for never."""
    if steps is not None and (type(steps) is not int or steps < 1):
        raise UsageError(f"`checkpoint_every` must be a whole number of at least 1, got {steps!r}")


def check_numbers(config: object, names: Sequence[str], *, whole: bool = False) -> None:
    """Raise UsageError if one of these fields is no number, or no whole one; None passes where it is the default."""
    kind, expected = (Integral, "a whole number") if whole else (Real, "a number")
    for name in names:
        value = getattr(config, name)
        is_default = value is None and getattr(type(config), name) is None
        if not is_default and (isinstance(value, bool) or not isinstance(value, kind)):
            raise UsageError(f"`{name}` must be {expected}, got {value!r}")


def search_config(config: SearchConfig | None, dataset: str | None, settings: Mapping[str, Any]) -> SearchConfig:
    """Return the config with these fields changed, and the data set if one is given.

    Raises UsageError for two targets at once.
    """
    if settings.get("max_bytes") is not None and "sparsity" in settings:
        raise UsageError("give `sparsity` or `max_bytes`, not both")
    return with_settings(config or SearchConfig(), settings if dataset is None else {"dataset": dataset, **settings})


def with_settings(config: _Config, settings: Mapping[str, Any]) -> _Config:
    """Return a config, a dataclass, with these fields changed. Raises UsageError for an unknown one."""
    known = [one.name for one in fields(config)]  # type: ignore[arg-type]
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise UsageError(f"unknown setting {unknown[0]!r}; known: {', '.join(known)}")
    paths = {name: settings[name] for name in ("data_dir", "init_from", "teacher") if settings.get(name) is not None}
    for name, path in paths.items():
        if not isinstance(path, str | PathLike):
            raise UsageError(f"`{name}` must be a path, got a {type(path).__name__}")
    settings = {**settings, **{name: Path(path) for name, path in paths.items()}}
    return replace(config, **settings)  # type: ignore[type-var]
