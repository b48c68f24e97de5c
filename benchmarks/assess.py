"""Figures of `assess`: how far forecasts are from finished runs, and predicted from measured costs.

    python -m benchmarks.assess curves FILE MODEL DATASET DATA_DIR SIZE BATCH PRECISION STEPS
    python -m benchmarks.assess errors FILE
    python -m benchmarks.assess costs MODEL -- OPTIONS OF assess AND search

curves  whole searches of 25, 50, 100, … up to STEPS steps, three kinds of search at 90 % and two at 95 %, and the dense
        network with the best of its rates; one row each is added to FILE, and rows that are there are not made again.
        SIZE 0 stands for the data set's own
errors  of all rows of a FILE: three runs, of s, 2 s and 4 s steps, forecast one of 8 s to 64 s, as a pilot does. Prints
        how far forecasts are from these, by the factor between 4 s and the steps forecast, and how many finished runs
        lie in the range that should hold two of three
costs   `assess` in a process of its own, then the search that it recommends in another: time, peak memory, bytes and
        held-out accuracy, as predicted and as measured

One thread.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import math
import shlex
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from slt_compress.assessment.extrapolation import extrapolate
from slt_compress.assessment.pilot import DENSE, KINDS, Pilot, Trial
from slt_compress.config import BOTH, SearchConfig
from slt_compress.pipeline.prepare import prepare
from slt_compress.training.recipes import recipe_for

FIRST_STEPS = 25
RUNS = 3  # of a pilot


def curves(
    file: Path, model: str, dataset: str, data_dir: str, size: str, batch: str, precision: str, steps: str
) -> None:
    torch.set_num_threads(1)
    config = SearchConfig(
        dataset=dataset,
        data_dir=Path(data_dir),
        input_size=int(size) or None,
        batch_size=int(batch),
        precision=precision,
        max_steps=int(steps),
    )
    prepared = prepare(model, config)
    pilot = Pilot(prepared, config)
    rates = recipe_for(prepared.source.build()).learning_rates
    there = {(row["model"], row["dataset"], row["kind"], row["sparsity"], row["steps"]) for row in rows_of(file)}
    asked = [
        (kind, sparsity)
        for kind in KINDS[:3]
        for sparsity in (0.9, 0.95)
        if (kind.granularity, sparsity) != (BOTH, 0.95)
    ]
    count = FIRST_STEPS
    while count <= int(steps):
        for kind, sparsity in asked:
            if (model, dataset, kind.label, sparsity, count) not in there:
                add(file, model, dataset, pilot.search(kind, sparsity, count))
        if (model, dataset, DENSE, 0.0, count) not in there:
            best = max((pilot.dense(count, rate) for rate in rates), key=lambda trial: trial.metric)
            add(file, model, dataset, best)
        count *= 2


def add(file: Path, model: str, dataset: str, trial: Trial) -> None:
    row = {"model": model, "dataset": dataset, "kind": trial.kind, "sparsity": trial.sparsity, "steps": trial.steps}
    row |= {"metric": trial.metric, "seconds": round(trial.seconds, 2)}
    with file.open("a") as opened:
        opened.write(json.dumps(row) + "\n")


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def errors(file: Path) -> None:
    by_run: dict[tuple[Any, ...], dict[int, float]] = defaultdict(dict)
    for row in rows_of(file):
        by_run[row["model"], row["dataset"], row["kind"], row["sparsity"]][row["steps"]] = row["metric"]
    found: dict[int, list[tuple[float, float, bool]]] = defaultdict(list)
    for curve in by_run.values():
        for first in curve:
            runs = [(first << index, curve.get(first << index)) for index in range(RUNS)]
            if any(metric is None for _, metric in runs):
                continue
            last = runs[-1][0]
            for steps, metric in curve.items():
                if steps > last:
                    forecast = extrapolate([(count, metric or 0.0) for count, metric in runs], steps)
                    ratio = math.log(max(1 - forecast.metric, 1e-4) / max(1 - metric, 1e-4))
                    inside = forecast.low <= metric <= forecast.high
                    found[steps // last].append((100 * (forecast.metric - metric), ratio, inside))
    print(f"{len(by_run)} curves of {len({key[:2] for key in by_run})} networks and data sets")
    print(
        "| factor | forecasts | mean error, points | mean of its size | std of the log of the errors | in the range |"
    )
    print("|---|---|---|---|---|---|")
    for factor, values in sorted(found.items()):
        points, ratios, hits = ([value[index] for value in values] for index in range(3))
        print(
            f"| {factor} | {len(values)} | {statistics.mean(points):+.2f} | {statistics.mean(map(abs, points)):.2f} "
            f"| {math.sqrt(statistics.mean(ratio**2 for ratio in ratios)):.3f} | {statistics.mean(hits):.0%} |"
        )


def costs(model: str, *options: str) -> None:
    words = [word for word in options if word != "--"]
    assessed, assess_seconds, _ = run("assess", model, *words, "--json")
    command = assessed["command"]
    made, seconds, peak = run(*shlex.split(command)[1:], "--json")
    choice = assessed["recommendation"]["choice"]
    metric = f"validation_{assessed['metric']}"
    asked = assessed["search_seconds"]["asked"]
    print(f"{command}\nassess took {assess_seconds:.0f} s; {len(assessed['pilot'])} runs")
    print("| | predicted | measured | ratio |\n|---|---|---|---|")
    rows = [
        ("seconds of the steps", asked["step_seconds"], made["seconds"]),
        ("seconds of all, start and reading of the images aside", asked["seconds"], seconds),
        ("peak memory, MB", assessed["peak_bytes"] / 1e6, peak / 1e6),
        ("ticket, bytes", choice["ticket_bytes"], made["bytes"]),
        (f"{metric}, per cent", 100 * choice["asked"]["metric"], 100 * made[metric]),
    ]
    for name, predicted, measured in rows:
        print(f"| {name} | {predicted:,.1f} | {measured:,.1f} | {predicted / measured:.3f} |")


def run(*words: str) -> tuple[dict[str, Any], float, int]:
    """Return the document of a command, its seconds and its peak memory in bytes."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "slt_compress", *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(text)
    return json.loads(text), time.perf_counter() - start, 1024 * usage.ru_maxrss


def main() -> None:
    match sys.argv[1:]:
        case ["curves", file, *settings] if len(settings) == 7:
            curves(Path(file), *settings)
        case ["errors", file]:
            errors(Path(file))
        case ["costs", model, *options]:
            costs(model, *options)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
