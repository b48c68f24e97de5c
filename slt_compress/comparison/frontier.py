"""Several networks in one comparison: which of them is best at which size of a file, or sparsity.

    DIR/NETWORK/…                      the comparison of each network, see `run`
    DIR/frontier.md, frontier.json, frontier.png

The network of a point is chosen on held-out images; what counts is its accuracy on test images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slt_compress import files
from slt_compress.comparison import plots
from slt_compress.comparison.cells import to_json_bytes
from slt_compress.comparison.grid import Plan
from slt_compress.comparison.results import DENSE, ComparisonResult, Summary
from slt_compress.comparison.run import compare
from slt_compress.comparison.tables import markdown_table, percent, target_name
from slt_compress.errors import first_line
from slt_compress.models.registry import check_model_name
from slt_compress.progress import GridReporter

FILES = ("frontier.md", "frontier.json", "frontier.png")


@dataclass(frozen=True)
class Point:
    """The best network of a method at a target.

    Attributes:
        model: its name.
        summary: its runs.
    """

    model: str
    summary: Summary


@dataclass(frozen=True)
class FrontierResult:
    """What a comparison of several networks has found so far.

    Attributes:
        command: how it was called.
        models: the comparison of each, by name.
        undrawn: why the plot could not be drawn, empty if it is there.
    """

    command: str
    models: Mapping[str, ComparisonResult]
    undrawn: str = ""

    @property
    def points(self) -> list[Point]:
        """The best network of each method at each target, by the mean accuracy on held-out images."""
        best: dict[tuple[str, int, float], Point] = {}
        for model, result in self.models.items():
            for summary in result.summaries:
                key = summary.label, *summary.target
                there = best.get(key)
                if there is None or summary.validation_accuracy > there.summary.validation_accuracy:
                    best[key] = Point(model, summary)
        labels = list(dict.fromkeys(label for label, _, _ in best))
        return [best[key] for key in sorted(best, key=lambda key: (labels.index(key[0]), *key[1:]))]

    @property
    def failed(self) -> dict[str, str]:
        """Why a run has failed, by the network and the name of its cell."""
        return {f"{model}/{cell}": why for model, result in self.models.items() for cell, why in result.failed.items()}

    def to_json(self) -> dict[str, Any]:
        """Return what `frontier.json` holds."""
        return {
            "command": self.command,
            "frontier": [{"model": point.model, **point.summary.to_json()} for point in self.points],
            "models": {
                model: {
                    "folder": folder_name(model),
                    "cells": result.cells,
                    "finished": len(result.rows),
                    "summary": [summary.to_json() for summary in result.summaries],
                }
                for model, result in self.models.items()
            },
            "failed": self.failed,
        }


def folder_name(model: str) -> str:
    """Return the name of the folder of a network's comparison."""
    return model.replace("/", "-")


def compare_models(
    plan: Plan, models: Sequence[str], folder: Path, command: str, reporter: GridReporter
) -> FrontierResult:
    """Run a plan for each of several networks, and return what is best where.

    Finished runs are kept, and the tables written, as `run.compare` does. Raises as it does; for an unknown network
    before the first one is run.
    """
    for model in models:
        check_model_name(model)
    files.check_folder(folder)
    files.make_folder(folder)
    for name in FILES:
        files.check_writable(folder / name)
    results = {
        model: compare(replace(plan, model=model), folder / folder_name(model), command, reporter) for model in models
    }
    found = FrontierResult(command, results)
    if plan.shard or not found.points:
        return found
    files.write_atomically(folder / FILES[0], markdown(found).encode("utf-8", "backslashreplace"))
    files.write_atomically(folder / FILES[1], to_json_bytes(found.to_json()))
    summaries = {model: result.summaries for model, result in results.items()}
    title = f"{next(iter(results.values())).settings['dataset']}, networks of {len(results)} kinds"
    try:
        picture = plots.frontier(summaries, title)
    except Exception as error:
        (folder / FILES[2]).unlink(missing_ok=True)
        return replace(found, undrawn=first_line(error) or type(error).__name__)
    files.write_atomically(folder / FILES[2], picture)
    return found


def table(found: FrontierResult) -> tuple[list[str], list[list[str]]]:
    """Return (headings, rows): the best network of each method at each target."""
    sizes = any(one.summary.max_bytes for one in found.points)
    heading = ["at most" if sizes else "asked", "method", "best network", "sparsity", "KB", "test accuracy", "held-out"]
    rows = [
        [
            target_name(one.summary) if one.summary.label != DENSE else "–",
            one.summary.label,
            one.model,
            f"{100 * one.summary.sparsity:.4g} %",
            f"{one.summary.bytes / 1000:,.1f}",
            percent(one.summary.accuracy, one.summary.accuracy_std),
            percent(one.summary.validation_accuracy),
        ]
        for one in found.points
    ]
    return heading, rows


def markdown(found: FrontierResult) -> str:
    """Return a page: the command, the best networks, and all others."""
    lines = ["# Accuracy by size", "", "```sh", found.command, "```", ""]
    lines += ["The best network of each method, chosen on held-out images; accuracies in per cent:", ""]
    lines += [*markdown_table(*table(found)), "", "![accuracy against bytes](frontier.png)", ""]
    for model in found.models:
        lines.append(f"- [{model}]({folder_name(model)}/results.md)")
    return "\n".join([*lines, ""])
