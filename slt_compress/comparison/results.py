"""Results of a comparison: one row per finished run, their mean ± standard deviation, and the files that show them."""

import csv
import io
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from slt_compress.comparison.trained import OPTIONS
from slt_compress.methods import registry

DENSE = "dense"  # the method of a row that is no ticket: all weights trained


@dataclass(frozen=True)
class Row:
    """One run. Accuracies and sparsities are fractions.

    Attributes:
        method: name, `DENSE` for the dense network.
        recipe, options: of the method, as in `config.SearchConfig`.
        target_sparsity: the target, 0 where there is none; in files it is `asked_sparsity`.
        max_bytes: the target, where it is a size of the file; in files it is `asked_bytes`.
        accuracy, loss: on the test split; a loss that is not finite is None.
        bytes: of the ticket file, or of the state dict of a dense run.
        ticket: file name relative to the folder of the results, None for a dense run.
        digest: of the ticket.
        learning_rate: of a dense run.
    """

    method: str
    target_sparsity: float
    sparsity: float
    seed: int
    accuracy: float
    validation_accuracy: float
    loss: float | None
    bytes: int
    mask_bytes: int | None
    seconds: float
    images_per_second: float
    ticket: str | None
    digest: str | None
    recipe: str = registry.DEFAULT_RECIPE
    options: Mapping[str, Any] = field(default_factory=dict)
    learning_rate: float | None = None
    max_bytes: int | None = None

    @property
    def label(self) -> str:
        """The method as `compare` reads it: NAME[:OPTION…]."""
        return method_label(self.method, self.recipe, self.options)

    def to_json(self) -> dict[str, Any]:
        """Return the row as files hold it: with a column for every option that a method has, None where not given."""
        return {
            "method": self.method,
            **{name: self.options.get(name) for name in (*registry.options(), *OPTIONS)},
            "recipe": None if self.recipe == registry.DEFAULT_RECIPE else self.recipe,
            "asked_sparsity": self.target_sparsity if self.max_bytes is None else None,
            "asked_bytes": self.max_bytes,
            **{name: getattr(self, name) for name in _SAME_IN_FILES},
            "learning_rate": self.learning_rate,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Row":
        """Read a row back. Raises KeyError if a field is missing, ValueError if a figure is no finite number."""
        row = cls(
            method=document["method"],
            recipe=document["recipe"] or registry.DEFAULT_RECIPE,
            options={
                name: document[name] for name in (*registry.options(), *OPTIONS) if document.get(name) is not None
            },
            target_sparsity=document["asked_sparsity"] if document.get("asked_bytes") is None else 0.0,
            max_bytes=document.get("asked_bytes"),
            learning_rate=document.get("learning_rate"),
            **{name: document[name] for name in _SAME_IN_FILES},
        )
        numbers = (
            row.target_sparsity,
            row.max_bytes or 0,
            row.sparsity,
            row.seed,
            row.accuracy,
            row.validation_accuracy,
            row.bytes,
        )
        if not all(type(value) in (int, float) and math.isfinite(value) for value in (*numbers, row.seconds)):
            raise ValueError(f"expected finite numbers, found {numbers}")
        return row


_SAME_IN_FILES = (
    "sparsity",
    "seed",
    "accuracy",
    "validation_accuracy",
    "loss",
    "bytes",
    "mask_bytes",
    "seconds",
    "images_per_second",
    "ticket",
    "digest",
)


def method_label(method: str, recipe: str, options: Mapping[str, Any]) -> str:
    """Return NAME[:OPTION…], as `compare` reads it: a value of a choice stands alone, another behind its name."""
    known = registry.options()
    alone = {name for name, option in known.items() if option.choices} | set(OPTIONS)
    words = [str(value) if name in alone else f"{name}={value}" for name, value in sorted(options.items())]
    return ":".join([method, *words, *([] if recipe == registry.DEFAULT_RECIPE else [recipe])])


def exact(number: float) -> str:
    """Return a number as a part of a name: no other number has the same."""
    return repr(float(number)).removesuffix(".0")


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation over the seeds of one method at one sparsity or size; None for a single seed.

    `sparsity` is the mean of what came out.
    """

    label: str
    target_sparsity: float
    runs: int
    accuracy: float
    accuracy_std: float | None
    validation_accuracy: float
    validation_accuracy_std: float | None
    bytes: float
    seconds: float
    sparsity: float = math.nan
    max_bytes: int | None = None

    @property
    def target(self) -> tuple[int, float]:
        """What summaries are put in order by."""
        return self.max_bytes or 0, self.target_sparsity

    def to_json(self) -> dict[str, Any]:
        """Return the summary as files hold it, where the target is `asked_sparsity` or `asked_bytes`."""
        fields = asdict(self)
        target, size = fields.pop("target_sparsity"), fields.pop("max_bytes")
        asked = {"asked_sparsity": target if size is None else None, "asked_bytes": size}
        return {"label": fields.pop("label"), **asked, **fields}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Summary":
        """Read what `to_json` returned."""
        fields = dict(document)
        target, size = fields.pop("asked_sparsity"), fields.pop("asked_bytes", None)
        return cls(target_sparsity=0.0 if target is None else target, max_bytes=size, **fields)


@dataclass(frozen=True)
class ComparisonResult:
    """What a comparison has found so far.

    Attributes:
        command: how it was called.
        settings: what all its runs share.
        environments: the machines and versions that runs were made with.
        seeds: runs of each method at each sparsity.
        dense_learning_rate: of the dense baseline, None where each run has taken the best of a few.
        dense_recipe: a sentence about how the dense baseline was trained.
        cells: runs of the whole grid.
        rows: the finished ones.
        failed: why a run has failed, by the name of its cell.
        undrawn: why a plot could not be drawn, by the name of its file.
    """

    command: str
    settings: Mapping[str, Any]
    environments: tuple[dict[str, str], ...]
    seeds: int
    dense_learning_rate: float | None
    dense_recipe: str
    cells: int
    rows: tuple[Row, ...]
    failed: Mapping[str, str]
    undrawn: Mapping[str, str] = field(default_factory=dict)

    @property
    def summaries(self) -> list[Summary]:
        """Mean and standard deviation of each method at each sparsity."""
        return summarise(self.rows)

    @property
    def is_complete(self) -> bool:
        """Whether every run of the grid is finished."""
        return len(self.rows) == self.cells

    def to_json(self) -> dict[str, Any]:
        """Return what `results.json` holds."""
        return {
            "command": self.command,
            "settings": self.settings,
            "environments": list(self.environments),
            "seeds": self.seeds,
            "dense_learning_rate": self.dense_learning_rate,
            "dense_recipe": self.dense_recipe,
            "summary": [summary.to_json() for summary in self.summaries],
            "rows": [row.to_json() for row in self.rows],
            "cells": self.cells,
            "failed": dict(self.failed),
        }


def summarise(rows: Sequence[Row]) -> list[Summary]:
    """Return one summary per method and target, in the order of their first rows."""
    groups: dict[tuple[str, float, int | None], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.label, row.target_sparsity, row.max_bytes), []).append(row)
    summaries = []
    for (label, sparsity, size), group in groups.items():
        accuracy, accuracy_std = _spread([row.accuracy for row in group])
        validation, validation_std = _spread([row.validation_accuracy for row in group])
        summaries.append(
            Summary(
                label=label,
                target_sparsity=sparsity,
                runs=len(group),
                accuracy=accuracy,
                accuracy_std=accuracy_std,
                validation_accuracy=validation,
                validation_accuracy_std=validation_std,
                bytes=statistics.fmean(row.bytes for row in group),
                seconds=statistics.fmean(row.seconds for row in group),
                sparsity=statistics.fmean(row.sparsity for row in group),
                max_bytes=size,
            )
        )
    return summaries


def _spread(values: Sequence[float]) -> tuple[float, float | None]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def to_csv(rows: Sequence[Row]) -> str:
    """Return the rows as CSV with a heading, numbers in full precision, an absent value as nothing."""
    text = io.StringIO()
    documents = [row.to_json() for row in rows]
    writer = csv.DictWriter(text, list(documents[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(documents)
    return text.getvalue()


def accuracy_table(summaries: Sequence[Summary]) -> tuple[list[str], list[list[str]]]:
    """Return (headings, rows): sparsities or sizes down, methods across, test accuracy in per cent, mean ± std."""
    return _table(summaries, lambda summary: percent(summary.accuracy, summary.accuracy_std))


def _table(summaries: Sequence[Summary], show: Callable[[Summary], str]) -> tuple[list[str], list[list[str]]]:
    labels = list(dict.fromkeys(summary.label for summary in summaries))
    targets = {summary.target: target_name(summary) for summary in summaries if summary.label != DENSE}
    found = {(summary.label, *summary.target): summary for summary in summaries}
    rows = []
    for target in sorted(targets):
        cells = (found.get((label, *((0, 0.0) if label == DENSE else target))) for label in labels)
        rows.append([targets[target], *(show(cell) if cell else "–" for cell in cells)])
    return ["at most" if any(size for size, _ in targets) else "sparsity", *labels], rows


def target_name(summary: Summary) -> str:
    """Return the target, for people."""
    if summary.max_bytes is not None:
        return f"{summary.max_bytes / 1000:,.6g} KB"
    return f"{100 * summary.target_sparsity:.6g} %"


def percent(mean: float, std: float | None = None) -> str:
    """Return a fraction, or mean ± std of some, in per cent with two decimals."""
    return f"{100 * mean:.2f}" + ("" if std is None else f" ± {100 * std:.2f}")


def markdown(result: ComparisonResult) -> str:
    """Return a page: the command, the tables, and what is needed to make them again."""
    settings, images, summaries = result.settings, result.settings["pictures"], result.summaries
    seeds = f"seeds 0 to {result.seeds - 1}" if result.seeds > 1 else "seed 0"
    environments = [
        f"{found['machine']}, Python {found['python']}, torch {found['torch']}, timm {found['timm']}"
        for found in result.environments
    ]
    heading, rows = accuracy_table(summaries)
    _, sizes = _table(summaries, lambda summary: f"{summary.bytes / 1000:,.1f}")
    _, seconds = _table(summaries, lambda summary: f"{summary.seconds:.1f}")
    return "\n".join(
        [
            f"# {settings['model']} on {settings['dataset']}",
            "",
            "```python" if result.command.startswith("slt_compress.") else "```sh",
            result.command,
            "```",
            "",
            f"{settings['steps']:,} steps of {settings['batch_size']} images ({settings['epochs']:.3g} epochs), "
            f"{seeds}; {images['train']:,} training, {images['validation']:,} held-out and {images['test']:,} "
            f"test images of {settings['preprocessing']['size']} px{_unusual(settings)}. "
            f"slt-compress {settings['tool']}. {'; '.join(environments)}.",
            "",
            *_baseline(result),
            *_missing(result),
            "Test accuracy in per cent, mean ± sample standard deviation over the seeds:",
            "",
            *markdown_table(heading, rows),
            "",
            "File in KB, mean (dense: fp32 weights):",
            "",
            *markdown_table(heading, sizes),
            "",
            "Time of the optimisation in seconds, mean:",
            "",
            *markdown_table(heading, seconds),
            "",
            "![accuracy against sparsity](accuracy-sparsity.png)",
            "![accuracy against bytes](accuracy-bytes.png)",
            "",
        ]
    )


def _baseline(result: ComparisonResult) -> list[str]:
    """Return how the dense baseline was trained, as a paragraph."""
    if not any(row.method == DENSE for row in result.rows):
        return []
    chosen = sorted({row.learning_rate for row in result.rows if row.learning_rate is not None})
    rates = "" if result.dense_learning_rate is not None else f" Chosen: {', '.join(f'{rate:g}' for rate in chosen)}."
    return [f"Dense baseline: {result.dense_recipe}{rates}", ""]


def _missing(result: ComparisonResult) -> list[str]:
    """Return what is not in the tables, as a paragraph."""
    if result.is_complete:
        return []
    return [f"**Incomplete: {len(result.rows)} of {result.cells} runs are finished, {len(result.failed)} failed.**", ""]


def markdown_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    return ["| " + " | ".join(line) + " |" for line in (heading, ["---"] * len(heading), *rows)]


def _unusual(settings: Mapping[str, Any]) -> str:
    """Return how images or arithmetic differ from the default, to be added to a sentence."""
    usual = {"augment": "none", "precision": "fp32"}
    return "".join(f", {settings[name]}" for name, value in usual.items() if settings[name] != value)
