"""How fast this machine searches, measured by real steps, and how long a search will take."""

import time
from dataclasses import dataclass, replace
from statistics import median

import torch

from slt_compress.config import SearchConfig
from slt_compress.data.splits import IndexedSplit, Split, count
from slt_compress.evaluation.accuracy import evaluate, torch_classifier
from slt_compress.machine import peak_memory
from slt_compress.pipeline.gates import put_gates
from slt_compress.pipeline.prepare import Prepared
from slt_compress.prng import SeedRecipe
from slt_compress.progress import TrainingProgress
from slt_compress.training.batchnorm import RECALIBRATION_EXAMPLES
from slt_compress.training.search import search

_FIRST_STEPS = 2  # in which memory is taken and caches fill
_SECONDS = 6.0  # that the steps should take
_MOST_STEPS = 60
_EVALUATED = 512  # images of which the speed of an evaluation is taken
_REPORTS = 100  # of a search, about
_PASSES_OF_HELD_OUT = 2  # once with statistics in fp32, once in fp16


@dataclass(frozen=True)
class Speed:
    """What was measured of a search on a device.

    Attributes:
        device: name of it.
        precision: "fp32" or "bf16".
        step_seconds: of an optimiser step, the median of a few.
        images_per_second: training images.
        evaluated_per_second: images in an evaluation.
        peak_bytes: largest memory so far, of the process, or of a GPU; None where the system does not tell.
    """

    device: str
    precision: str
    step_seconds: float
    images_per_second: float
    evaluated_per_second: float
    peak_bytes: int | None


@dataclass(frozen=True)
class Duration:
    """How long a search will take.

    Attributes:
        steps: optimiser steps.
        step_seconds: time of these, which `search` prints.
        seconds: from the first step until the ticket is measured.
    """

    steps: int
    step_seconds: float
    seconds: float


def measure_speed(prepared: Prepared, config: SearchConfig) -> Speed:
    """Make some steps of a search with the default method, and evaluate some held-out examples."""
    module = prepared.source.build()
    origin = SeedRecipe(config.seed)
    searched = put_gates(module, prepared, config, origin)
    first = _steps(prepared, config, searched.gates, _FIRST_STEPS + 1)[-1]
    steps = int(min(_MOST_STEPS, max(3, _SECONDS / first)))
    seconds = median(_steps(prepared, config, searched.gates, _FIRST_STEPS + steps)[_FIRST_STEPS:])
    some: Split = prepared.run.validation
    if isinstance(some, IndexedSplit):
        some = some.take(torch.arange(min(_EVALUATED, len(some))))
    classifier = torch_classifier(searched.network.module, prepared.device)
    evaluate(classifier, some, prepared.run.feed, task=prepared.run.task)
    start = time.perf_counter()
    measured = evaluate(classifier, some, prepared.run.feed, task=prepared.run.task)
    evaluated = measured.samples / (time.perf_counter() - start)
    is_gpu = prepared.device.type == "cuda"
    return Speed(
        device=str(prepared.device),
        precision=prepared.run.precision,
        step_seconds=seconds,
        images_per_second=prepared.run.budget.batch_size / seconds,
        evaluated_per_second=evaluated,
        peak_bytes=torch.cuda.max_memory_allocated(prepared.device) if is_gpu else peak_memory(),
    )


def duration(speed: Speed, prepared: Prepared, steps: int) -> Duration:
    """Return how long a search of so many steps will take at a speed.

    The metric that is shown about a hundred times costs an evaluation of a batch each. After the last step, norms are
    measured on at most 10,000 training examples, and the network on the held-out ones, once or twice, and on the test
    split.
    """
    run = prepared.run
    stepping = steps * speed.step_seconds
    held_out, tested = count(run.validation) or 0, count(prepared.test) or 0
    recalibrated = min(RECALIBRATION_EXAMPLES, count(run.train) or RECALIBRATION_EXAMPLES)
    evaluated = min(_REPORTS, steps) * run.budget.batch_size + recalibrated + _PASSES_OF_HELD_OUT * held_out + tested
    return Duration(steps, stepping, stepping + evaluated / speed.evaluated_per_second)


def _steps(prepared: Prepared, config: SearchConfig, gates: object, steps: int) -> list[float]:
    """Make so many steps, and return the seconds of each."""
    run = replace(prepared.run, budget=replace(prepared.run.budget, steps=steps))
    seconds = []

    def report(progress: TrainingProgress) -> None:
        seconds.append(run.budget.batch_size / progress.images_per_second)

    search(gates, run, config, report=report)  # type: ignore[arg-type]
    return seconds
