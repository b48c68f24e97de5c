"""A pilot: short searches, compared on held-out images alone, beside a dense network with the same number of steps.

For each sparsity, all kinds of search start with the fewest steps; the better half of them goes on with twice as many,
until one is left: successive halving (Jamieson & Talwalkar 2016, arXiv:1502.07943). Every run is a whole search, with
its schedule scaled to its steps, and not the beginning of a longer one. So its accuracy is what a search of that budget
gives.
"""

import contextlib
import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from slt_compress.comparison.dense import train_at_rate
from slt_compress.config import BOTH, SearchConfig
from slt_compress.data.augment import Augmentation
from slt_compress.data.splits import IndexedSplit, Split
from slt_compress.errors import SltError, UnreachableError
from slt_compress.evaluation.accuracy import evaluate, torch_classifier
from slt_compress.masking.parameters import set_constants, slopes
from slt_compress.methods import registry
from slt_compress.pipeline.find import pack_ticket
from slt_compress.pipeline.gates import put_gates
from slt_compress.pipeline.prepare import Prepared
from slt_compress.prng import SeedRecipe
from slt_compress.progress import SILENT, ProgressReporter
from slt_compress.training.recipes import recipe_for
from slt_compress.training.search import search

FEWEST_STEPS = 20  # of a run that says anything
MOST_HELD_OUT = 2_000  # images that a run is measured on
RUNGS = 3  # numbers of steps that a kind of search can get to: s, 2 s and 4 s
DENSE = "dense"


@dataclass(frozen=True)
class Kind:
    """A kind of search.

    Attributes:
        method: a name in `methods.registry.METHODS`.
        granularity: as in `SearchConfig`.
        options: of the method.
    """

    method: str
    granularity: str = "weight"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What it is called, such as "edge-popup" or "crbg with neurons"."""
        return self.method + (" with neurons" if self.granularity == BOTH else "")


KINDS = (
    Kind("crbg"),
    Kind("edge-popup", options={"scope": "global"}),
    Kind("crbg", BOTH),
    Kind("edge-popup", BOTH),
)


@dataclass(frozen=True)
class Trial:
    """A short run.

    Attributes:
        kind: label of the kind of search, or "dense".
        sparsity: the target, 0 for the dense network.
        steps: optimiser steps.
        metric: on held-out images.
        size: bytes of the ticket, or of all tensors in fp32.
        seconds: of the whole run.
        learning_rate: of the dense network.
        content: of the ticket's file.
    """

    kind: str
    sparsity: float
    steps: int
    metric: float
    size: int
    seconds: float
    learning_rate: float | None = None
    content: bytes | None = field(default=None, repr=False)


def curve(trials: Sequence[Trial], kind: str, sparsity: float = 0.0) -> list[tuple[int, float]]:
    """Return the numbers of steps that runs of a kind had, each with the best metric, from the fewest on."""
    best: dict[int, float] = {}
    for trial in trials:
        if (trial.kind, trial.sparsity) == (kind, sparsity):
            best[trial.steps] = max(trial.metric, best.get(trial.steps, trial.metric))
    return sorted(best.items())


@dataclass(frozen=True)
class Schedule:
    """What a pilot has time for.

    Attributes:
        kinds: of search that start.
        sparsities: each of which they are tried at.
        steps: of the first runs; the last ones have 2^(RUNGS - 1) times as many.
    """

    kinds: tuple[Kind, ...]
    sparsities: tuple[float, ...]
    steps: int

    @property
    def last_steps(self) -> int:
        """The steps of the longest runs."""
        return self.steps << (RUNGS - 1)


def plan(sparsities: Sequence[float], steps: float, dense_rates: int) -> Schedule:
    """Return the richest pilot that a number of optimiser steps allows, all runs together.

    With all kinds of search if their runs are long enough, else without those of neurons, else at one sparsity, the
    one in the middle, and last with the default method alone.
    """
    middle = tuple(sorted(sparsities)[len(sparsities) // 2 :][:1])
    of_weights = tuple(kind for kind in KINDS if kind.granularity != BOTH)
    choices = [(KINDS, tuple(sparsities)), (of_weights, tuple(sparsities)), (of_weights, middle), (KINDS[:1], middle)]
    for kinds, chosen in choices:
        first = int(steps / _first_runs(len(kinds), len(chosen), dense_rates))
        if first >= FEWEST_STEPS:
            break
    return Schedule(kinds, chosen, max(2, first))


def _first_runs(kinds: int, sparsities: int, dense_rates: int) -> int:
    """Return how many runs of the first length a pilot takes as long as."""
    searches = sum(survivors(kinds, rung) << rung for rung in range(RUNGS))
    return sparsities * searches + dense_rates + sum(1 << rung for rung in range(1, RUNGS))


def survivors(kinds: int, rung: int) -> int:
    """Return how many kinds of search are left at a rung, counted from 0."""
    return max(1, math.ceil(kinds / (1 << rung)))


class Pilot:
    """Makes the runs of a pilot on a network and data, until a time is over."""

    def __init__(self, prepared: Prepared, config: SearchConfig, reporter: ProgressReporter = SILENT) -> None:
        held_out: Split = prepared.run.validation
        if isinstance(held_out, IndexedSplit) and len(held_out) > MOST_HELD_OUT:
            held_out = held_out.take(torch.arange(MOST_HELD_OUT))
        self._prepared = replace(prepared, run=replace(prepared.run, validation=held_out))
        self._config = config
        self._reporter = reporter

    def run(self, schedule: Schedule, seconds: float) -> Iterator[Trial]:
        """Yield the runs of a schedule as they end. None but the first begins once so many seconds are over.

        A kind of search that the network does not allow, such as neurons where it has none, is told and left out.
        """
        end = time.perf_counter() + seconds
        searches = (self._halving(schedule, sparsity) for sparsity in schedule.sparsities)
        for trial in itertools.chain(*searches, self._dense(schedule)):
            yield trial
            if time.perf_counter() > end:
                self._reporter.note("the time for the pilot is over: its last runs are left out")
                return

    def search(self, kind: Kind, sparsity: float, steps: int) -> Trial:
        """Make a search of so many steps, and measure it on held-out images."""
        config = replace(
            self._config,
            method=kind.method,
            granularity=kind.granularity,
            options=kind.options,
            sparsity=sparsity,
            epochs=None,
            max_steps=steps,
        )
        prepared = self._shortened(steps)
        start = time.perf_counter()
        module = prepared.source.build()
        constants = {} if prepared.source.is_named else slopes(module)
        origin = SeedRecipe(config.seed, config.initialiser or registry.initialiser(config.method, config.recipe))
        searched = put_gates(module, prepared, config, origin)
        set_constants(module, constants)
        found = search(searched.gates, prepared.run, config)
        classifier = torch_classifier(searched.network.module, prepared.device)
        measured = evaluate(classifier, prepared.run.validation, prepared.run.feed, task=prepared.run.task)
        name = measured.metric_name
        metrics = {name: measured.metric, "loss": measured.loss, f"validation_{name}": measured.metric}
        ticket = pack_ticket(searched, found, config, prepared, origin, constants)
        if ticket.statistics and config.statistics != "fp32":
            with contextlib.suppress(UnreachableError):  # too large for fp16, which a search takes where it can
                ticket = ticket.with_half_statistics()
        content = ticket.with_metrics(**metrics).to_bytes()  # as long as that of a finished search
        return Trial(
            kind=kind.label,
            sparsity=sparsity,
            steps=steps,
            metric=measured.metric,
            size=len(content),
            seconds=time.perf_counter() - start,
            content=content,
        )

    def dense(self, steps: int, learning_rate: float) -> Trial:
        """Train all weights for so many steps, and measure them on held-out images."""
        start = time.perf_counter()
        prepared = self._shortened(steps)
        recipe = recipe_for(prepared.source.build())
        trained = train_at_rate(prepared, prepared.run, recipe, learning_rate)
        return Trial(
            kind=DENSE,
            sparsity=0.0,
            steps=steps,
            metric=trained.validation.metric,
            size=sum(tensor.nbytes for tensor in trained.module.state_dict().values()),
            seconds=time.perf_counter() - start,
            learning_rate=learning_rate,
        )

    def _halving(self, schedule: Schedule, sparsity: float) -> Iterator[Trial]:
        kinds: list[Kind] = list(schedule.kinds)
        for rung in range(RUNGS):
            metrics: dict[str, float] = {}
            for kind in kinds:
                try:
                    trial = self.search(kind, sparsity, schedule.steps << rung)
                except SltError as error:
                    if kind.granularity != BOTH:
                        raise
                    self._reporter.note(f"without gates of neurons: {error}")
                    continue
                metrics[kind.label] = trial.metric
                yield trial
            kinds = [kind for kind in kinds if kind.label in metrics]
            kinds.sort(key=lambda kind: -metrics[kind.label])
            kinds = kinds[: survivors(len(schedule.kinds), rung + 1)]

    def _dense(self, schedule: Schedule) -> Iterator[Trial]:
        rates = recipe_for(self._prepared.source.build()).learning_rates
        trials = []
        for rate in rates:
            trials.append(self.dense(schedule.steps, rate))
            yield trials[-1]
        best = max(trials, key=lambda trial: trial.metric).learning_rate
        assert best is not None
        for rung in range(1, RUNGS):
            yield self.dense(schedule.steps << rung, best)

    def _shortened(self, steps: int) -> Prepared:
        run, config = self._prepared.run, self._config
        epochs = None if run.budget.epochs is None else run.budget.epochs * steps / run.budget.steps
        budget = replace(run.budget, steps=steps, epochs=epochs)
        augmentation = Augmentation(config.augment, config.seed)
        return replace(self._prepared, run=replace(run, budget=budget, seed=config.seed, augmentation=augmentation))
