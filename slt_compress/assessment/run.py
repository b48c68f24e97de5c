"""Assess a network and data: facts, speed, a pilot, a forecast and advice."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from slt_compress.assessment.config import AssessConfig
from slt_compress.assessment.extrapolation import Forecast, extrapolate
from slt_compress.assessment.facts import facts_of
from slt_compress.assessment.fleet import year
from slt_compress.assessment.pilot import DENSE, KINDS, Pilot, Trial, curve, plan
from slt_compress.assessment.recommendation import recommend
from slt_compress.assessment.results import Assessment, Choice
from slt_compress.assessment.speed import Speed, duration, measure_speed
from slt_compress.config import SearchConfig
from slt_compress.data.splits import IndexedSplit, count
from slt_compress.errors import SltError, UsageError
from slt_compress.machine import processor_with
from slt_compress.onnx_export.export import export
from slt_compress.pipeline.prepare import Prepared
from slt_compress.progress import SILENT, ProgressReporter
from slt_compress.tasks.task import METRICS
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.device import devices
from slt_compress.training.loop import Budget
from slt_compress.training.recipes import recipe_for

_CHANCES = 4.0  # times the accuracy of chance, below which a curve says nothing of where it leads
_MARGIN = 0.8  # of the time of the pilot that its steps are planned to take; evaluations take the rest


def assess(
    prepared: Prepared, config: SearchConfig, wanted: AssessConfig, reporter: ProgressReporter = SILENT
) -> Assessment:
    """Return what a network costs, what short searches promise, and which search to make.

    Nothing is measured on the test split. Of `config`, the budget that is asked for, the batch size, the seed and the
    augmentation count. Raises UsageError for a metric of the user's own.
    """
    config = replace(
        config, method="crbg", recipe="default", options={}, granularity="weight", neuron_sparsity=None, sparsity=0.9
    )
    task = prepared.run.task.record
    if task.metric not in METRICS:
        raise UsageError(f"a metric of your own, {task.metric}, cannot be forecast: give one by name")
    chosen = wanted.sparsities
    facts = facts_of(prepared.source.build(), prepared.inputs, chosen)
    reporter.note(f"measuring the speed of a search on {prepared.device}")
    speeds = (measure_speed(prepared, config), *_others(prepared, config))
    default = _default_steps(prepared, config)
    asked = prepared.run.budget.steps
    notes: list[str] = []
    trials = _pilot(prepared, config, chosen, 60 * wanted.budget, speeds[0], reporter, notes)
    overhead = _onnx_overhead(prepared, trials, notes)
    choices = tuple(choice for sparsity in chosen if (choice := _choice(trials, sparsity, default, asked, overhead)))
    dense = _dense(trials, default, asked)
    advice = recommend(
        prepared.source.name,
        facts,
        choices,
        dense[1] if dense else None,
        wanted,
        metric=task.metric,
        input_size=prepared.preprocessing.size if prepared.preprocessing else None,
        begun=_begun(trials, len(prepared.classes)),
    )
    best = advice.choice
    files = {"dense, fp32": facts.dense_bytes["fp32"], "dense, int8": facts.dense_bytes["int8"]}
    if best:
        files |= {"ticket": best.ticket_bytes}
        files |= {} if best.onnx_bytes is None else {"ticket as ONNX": best.onnx_bytes}
    return Assessment(
        model=prepared.source.name,
        dataset=prepared.dataset,
        metric_name=task.metric,
        examples={
            "train": count(prepared.run.train) or 0,
            "validation": count(prepared.run.validation) or 0,
            "test": count(prepared.test) or 0,
        },
        machine=processor_with(torch.get_num_threads()),
        facts=facts,
        speeds=speeds,
        default=duration(speeds[0], prepared, default),
        asked=duration(speeds[0], prepared, asked),
        trials=tuple(trials),
        choices=choices,
        dense=dense,
        onnx_overhead=overhead,
        recommendation=advice,
        fleet=wanted.fleet,
        years=tuple(year(wanted.fleet, files)) if wanted.fleet else (),
        notes=tuple(notes),
    )


def _begun(trials: Sequence[Trial], classes: int) -> bool:
    """Return whether a search of the pilot is clearly better than chance; where chance is not known, it is."""
    return not classes or any(trial.metric > _CHANCES / classes for trial in trials if trial.kind != DENSE)


def _default_steps(prepared: Prepared, config: SearchConfig) -> int:
    """Return how many steps a search has whose budget is not asked for."""
    run = prepared.run
    per_epoch = None if run.budget.epochs is None else round(run.budget.steps / run.budget.epochs)
    if per_epoch is None:
        return run.budget.steps
    return Budget.plan(per_epoch * run.budget.batch_size, config.batch_size, None, None).steps


def _others(prepared: Prepared, config: SearchConfig) -> list[Speed]:
    """Return the speeds on the devices of this machine that the search would not take."""
    speeds = []
    for name, present in devices().items():
        train, held_out = prepared.run.train, prepared.run.validation
        if not present or name == prepared.device.type or not isinstance(train, IndexedSplit):
            continue
        device = torch.device(name)
        some = train.take(torch.arange(min(len(train), 4 * prepared.run.budget.batch_size)))
        run = replace(prepared.run, train=some.to(device), validation=held_out.to(device))
        speeds.append(measure_speed(replace(prepared, device=device, run=run), config))
    return speeds


def _pilot(
    prepared: Prepared,
    config: SearchConfig,
    sparsities: Sequence[float],
    seconds: float,
    speed: Speed,
    reporter: ProgressReporter,
    notes: list[str],
) -> list[Trial]:
    rates = len(recipe_for(prepared.source.build()).learning_rates)
    schedule = plan(sparsities, _MARGIN * seconds / speed.step_seconds, rates)
    kinds = ", ".join(kind.label for kind in schedule.kinds)
    reporter.note(
        f"pilot: {kinds} and the dense network at {', '.join(f'{one:.4g}' for one in schedule.sparsities)}, "
        f"{schedule.steps:,} to {schedule.last_steps:,} steps each, about {seconds / 60:.2g} minutes"
    )
    if left_out := [one for one in sparsities if one not in schedule.sparsities]:
        notes.append(f"no time for a pilot at {', '.join(f'{one:.4g}' for one in left_out)}: give it more minutes")
    trials = []
    start = time.perf_counter()
    with reporter.counter("pilot") as report:
        for trial in Pilot(prepared, config, reporter).run(schedule, seconds):
            trials.append(trial)
            if report:
                report(min(round(time.perf_counter() - start), round(seconds)), max(1, round(seconds)))
    return trials


def _choice(trials: Sequence[Trial], sparsity: float, default: int, asked: int, overhead: int | None) -> Choice | None:
    """Return the best kind of search at a sparsity: of those with the most steps, the one with the best metric."""
    tried = [trial for trial in trials if trial.sparsity == sparsity and trial.kind != DENSE]
    if not tried:
        return None
    best = max(tried, key=lambda trial: (trial.steps, trial.metric))
    kind = next(kind for kind in KINDS if kind.label == best.kind)
    runs = curve(trials, best.kind, sparsity)
    return Choice(
        sparsity=sparsity,
        kind=kind.label,
        method=kind.method,
        granularity=kind.granularity,
        forecast=extrapolate(runs, default),
        asked=extrapolate(runs, asked),
        ticket_bytes=best.size,
        onnx_bytes=None if overhead is None else best.size + overhead,
    )


def _dense(trials: Sequence[Trial], default: int, asked: int) -> tuple[Forecast, Forecast] | None:
    """Return the forecasts of the dense network, from its best rate at each number of steps."""
    runs = curve(trials, DENSE)
    return (extrapolate(runs, default), extrapolate(runs, asked)) if runs else None


def _onnx_overhead(prepared: Prepared, trials: Sequence[Trial], notes: list[str]) -> int | None:
    """Return how many bytes a compact export has beyond its ticket: it is made of one that the pilot has found."""
    found = [trial.content for trial in trials if trial.content is not None and trial.kind == KINDS[0].label]
    if not found:
        return None
    ticket = Ticket.from_bytes(found[-1])
    module = ticket.restore() if prepared.source.is_named else ticket.apply_to(prepared.source.build())
    try:
        with tempfile.TemporaryDirectory() as folder:
            return export(module, ticket, Path(folder) / "pilot.onnx").bytes - len(found[-1])
    except SltError as error:
        notes.append(f"not exported: {error}")
        return None
