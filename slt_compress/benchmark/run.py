"""From files to figures: all files are measured in every round, each in a fresh process, and the order turns.

One process runs at a time. So a machine that is busy for a while disturbs all files alike.
"""

import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from slt_compress.benchmark import macs
from slt_compress.benchmark.candidates import Candidates, File, candidates
from slt_compress.benchmark.config import BenchConfig
from slt_compress.benchmark.graph import Entry, input_bytes
from slt_compress.benchmark.processes import Sample, run_process
from slt_compress.benchmark.results import BenchResult, Measured, rows
from slt_compress.errors import UsageError
from slt_compress.machine import processor
from slt_compress.models.source import Given
from slt_compress.progress import ProgressReporter
from slt_compress.ticket.ticket import Ticket
from slt_compress.version import __version__

Batches = list[tuple[int, list[Entry]]]  # batch sizes in ascending order, with the inputs of each


def bench(files: Sequence[File], config: BenchConfig, source: Given | None, reporter: ProgressReporter) -> BenchResult:
    """Measure files, and what they are compared with; `source` as in `candidates`.

    Raises UsageError for a provider that onnxruntime does not list or inputs that cannot be made, and what
    `candidates` and `processes.run_process` raise.
    """
    if isinstance(files, str | Path | Ticket):
        raise UsageError(f"expected a list of files, got {files!r}")
    if not files:
        raise UsageError("there is no file to measure")
    known = onnxruntime.get_available_providers()
    if config.provider not in known:
        raise UsageError(
            f"`provider` must be one that onnxruntime lists here, {', '.join(known)}; got {config.provider!r}"
        )
    with tempfile.TemporaryDirectory(prefix="slt-compress-") as name:
        folder = Path(name)
        chosen = candidates(files, folder, source, reporter)
        batches = plan(chosen, config)
        measured = _measured(chosen, batches, config, folder, reporter)
    return BenchResult(rows(measured), tuple(chosen.notes), config, _machine(), _versions())


def plan(chosen: Candidates, config: BenchConfig) -> list[Batches]:
    """Return what each candidate runs: the batch sizes asked for and those that others take alone; or the only one that
    it takes, which is noted.

    Raises UsageError for inputs that cannot be made, and for a dimension that no input has.
    """
    named = {length for one in chosen.found for each in one.graph.inputs for length in each.shape}
    unknown = [name for name in config.dims if name not in named]
    if unknown:
        raise UsageError(f"`dims` sets {unknown[0]}, which is no dimension of an input")
    fixed = {one.graph.fixed_batch for one in chosen.found}
    batches = []
    for one in chosen.found:
        alone = one.graph.fixed_batch
        if alone and config.batch != (alone,):
            chosen.notes.append(f"{one.label} takes batches of {alone} alone")
        sizes = [alone] if alone else sorted({*config.batch, *filter(None, fixed)})
        batches.append([(size, one.graph.entries(one.label, size, config.dims)) for size in sizes])
    return batches


def order(count: int, turn: int) -> list[int]:
    """Return the places 0 … count - 1 as a round takes them: every other round goes back the way of the one before,
    which began one further than the last.
    """
    places = [(turn // 2 + step) % count for step in range(count)]
    return places[::-1] if turn % 2 else places


def _measured(
    chosen: Candidates, batches: list[Batches], config: BenchConfig, folder: Path, reporter: ProgressReporter
) -> list[Measured]:
    _check_memory(chosen, batches)
    samples: list[list[Sample]] = [[] for _ in chosen.found]
    total = config.rounds * len(chosen.found)
    reporter.note(f"measuring, files: {len(chosen.found)}, rounds: {config.rounds}")
    with reporter.counter("measuring") as report:
        for turn in range(config.rounds):
            for step, place in enumerate(order(len(chosen.found), turn)):
                if report:
                    report(turn * len(chosen.found) + step, total)
                request: dict[str, Any] = {
                    "path": str(chosen.found[place].graph.path),
                    "threads": config.threads,
                    "provider": config.provider,
                    "runs": config.runs,
                    "batches": batches[place],
                    "profile": None if turn else str(folder / f"{place}-profile"),
                }
                samples[place].append(run_process(request, chosen.found[place].label))
    return [
        Measured(one, each, _macs_of_an_image(each[0], batches[place][0][0]))
        for place, (one, each) in enumerate(zip(chosen.found, samples, strict=True))
    ]


def _macs_of_an_image(sample: Sample, batch: int) -> int | None:
    total = macs.count_file(sample.profile) if sample.profile else None
    return None if total is None else round(total / batch)


def _check_memory(chosen: Candidates, batches: list[Batches]) -> None:
    """Raise UsageError for inputs that are larger than the machine's memory, where the system tells it."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return
    for one, runs in zip(chosen.found, batches, strict=True):
        size, entries = runs[-1]
        needed = input_bytes(entries)
        if needed > memory:
            raise UsageError(
                f"the inputs of {one.label} alone take {needed / 1e9:.0f} GB at batch {size}, this machine has "
                f"{memory / 1e9:.0f}: give a smaller `batch`"
            )


def _machine() -> dict[str, str | int]:
    return {
        "processor": processor(),
        "architecture": platform.machine(),
        "cores": os.cpu_count() or 1,
        "system": platform.system(),
    }


def _versions() -> dict[str, str]:
    return {
        "slt_compress": __version__,
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
    }
