"""Results of a comparison: one row per finished run, their mean ± standard deviation, and what follows from them."""

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from slt_compress.comparison.trained import OPTIONS
from slt_compress.methods import registry

DENSE = "dense"  # the method of a row that is no ticket: all weights trained
POINTS = (1, 2, 5)  # per cent of test accuracy, below the dense network


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
        learning_rate: of trained weights, None where a recipe gives it.
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
        learning_rates: that runs which train weights have tried.
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
    learning_rates: tuple[float, ...]
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
            "sparsest": sparsest(self.summaries),
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


def sparsest(summaries: Sequence[Summary]) -> dict[str, dict[str, float | None]]:
    """Return the highest sparsity at which a method is at most so many `POINTS` below the dense network, by its label.

    The sparsities are those of the grid, accuracies the means over the seeds; None where no sparsity holds. That is how
    the paper of the gates compares methods (arXiv:2603.08914): by sparsities at a comparable accuracy. Empty without a
    dense network, or where the targets are sizes of a file.
    """
    dense = [one.accuracy for one in summaries if one.label == DENSE]
    others = sorted((one for one in summaries if one.label != DENSE), key=lambda one: one.target_sparsity)
    if not dense or any(one.max_bytes is not None for one in others):
        return {}
    found: dict[str, dict[str, float | None]] = {}
    for one in others:
        held = found.setdefault(one.label, {f"dense - {points}": None for points in POINTS})
        for points in POINTS:
            if one.accuracy >= dense[0] - points / 100 - 1e-9:  # means are rounded
                held[f"dense - {points}"] = one.target_sparsity
    return found


def to_csv(rows: Sequence[Row]) -> str:
    """Return the rows as CSV with a heading, numbers in full precision, an absent value as nothing."""
    text = io.StringIO()
    documents = [row.to_json() for row in rows]
    writer = csv.DictWriter(text, list(documents[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(documents)
    return text.getvalue()
