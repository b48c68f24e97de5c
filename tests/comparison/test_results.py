"""Rows and their summary: the figures agree with numpy, and every form of a row says the same."""

import csv
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from slt_compress.comparison import results
from slt_compress.comparison.results import Row, Summary
from tests.support.grids import ROW, result_of, rows


def test_mean_and_standard_deviation_are_those_of_numpy() -> None:
    made = rows()
    summaries = results.summarise(made)
    assert [(found.label, found.target_sparsity, found.runs) for found in summaries] == [
        *(("crbg", 0.95, 3), ("crbg", 0.5, 3), ("edge-popup:global", 0.95, 3), ("edge-popup:global", 0.5, 3)),
        ("dense", 0.0, 3),
    ]
    for index, found in enumerate(summaries):
        group = made[3 * index : 3 * index + 3]
        for name in ("accuracy", "validation_accuracy"):
            values = np.array([getattr(row, name) for row in group])
            assert getattr(found, name) == pytest.approx(values.mean(), rel=1e-12)
            assert getattr(found, f"{name}_std") == pytest.approx(values.std(ddof=1), rel=1e-9)
        assert found.bytes == pytest.approx(np.mean([row.bytes for row in group]))


def test_a_single_seed_has_no_standard_deviation() -> None:
    (found,) = results.summarise([ROW])
    assert (found.accuracy, found.accuracy_std, found.validation_accuracy_std) == (0.98, None, None)


def test_csv_keeps_every_digit() -> None:
    made = rows()
    read = list(csv.DictReader(io.StringIO(results.to_csv(made))))
    for text, row in zip(read, made, strict=True):
        assert text == {name: "" if value is None else str(value) for name, value in row.to_json().items()}
        assert float(text["accuracy"]) == row.accuracy


@pytest.mark.parametrize(
    "row",
    [
        ROW,
        replace(ROW, method="edge-popup", recipe="paper", options={"scope": "global"}, loss=None),
        replace(ROW, method="dense", mask_bytes=None, ticket=None, digest=None),
    ],
)
def test_a_row_survives_json(row: Row) -> None:
    assert Row.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_files_hold_a_column_for_every_option_and_the_target_under_its_old_name() -> None:
    row = replace(ROW, method="edge-popup", recipe="paper", options={"scope": "global"})
    assert list(row.to_json().items())[:6] == [
        ("method", "edge-popup"),
        ("scope", "global"),
        ("head_start", None),
        ("pruned_by", None),
        ("values", None),
        ("recipe", "paper"),
    ]
    assert (row.to_json()["asked_sparsity"], row.to_json()["asked_bytes"]) == (0.9, None)
    assert (ROW.to_json()["scope"], ROW.to_json()["recipe"]) == (None, None)
    (summary,) = results.summarise([row])
    assert list(summary.to_json().items())[:3] == [
        ("label", "edge-popup:global:paper"),
        ("asked_sparsity", 0.9),
        ("asked_bytes", None),
    ]


def test_a_damaged_row_is_refused() -> None:
    for missing in ("digest", "method", "recipe", "asked_sparsity"):
        with pytest.raises(KeyError, match=missing):
            Row.from_json({name: value for name, value in ROW.to_json().items() if name != missing})
    broken: tuple[Any, ...] = ("0.9", None, float("nan"))
    for value in broken:
        with pytest.raises(ValueError, match="finite numbers"):
            Row.from_json({**ROW.to_json(), "accuracy": value})


def test_a_summary_survives_json() -> None:
    for summary in results.summarise(rows()):
        assert Summary.from_json(json.loads(json.dumps(summary.to_json()))) == summary


def test_a_result_knows_whether_it_is_complete_and_says_so() -> None:
    made = rows()
    whole = result_of(*made)
    assert whole.is_complete
    part = result_of(*made[1:], failed={"crbg-0.95-0": "no memory"})
    assert not part.is_complete
    document = json.loads(json.dumps(part.to_json()))
    assert (document["cells"], document["failed"]) == (15, {"crbg-0.95-0": "no memory"})
    assert [Row.from_json(row) for row in document["rows"]] == made[1:]
    assert [Summary.from_json(summary) for summary in document["summary"]] == part.summaries


@pytest.mark.parametrize(
    ("crbg", "dense", "held"),
    [
        ((0.98, 0.96, 0.90), 0.99, (0.5, 0.5, 0.9)),
        ((0.90, 0.99, 0.98), 0.99, (0.95, 0.95, 0.95)),  # the highest that holds, whatever a lower one does
        ((0.5, 0.5, 0.5), 0.99, (None, None, None)),
        ((0.70, 0.69, 0.68), 0.70, (0.9, 0.95, 0.95)),  # exactly a point below still holds
    ],
)
def test_the_sparsest_that_holds_is_the_highest_of_the_grid(
    crbg: tuple[float, ...], dense: float, held: tuple[float | None, ...]
) -> None:
    found = [
        replace(ROW, target_sparsity=one, accuracy=value) for one, value in zip((0.5, 0.9, 0.95), crbg, strict=True)
    ]
    baseline = replace(ROW, method="dense", target_sparsity=0.0, accuracy=dense)
    assert results.sparsest(results.summarise([*reversed(found), baseline])) == {
        "crbg": {f"dense - {points}": value for points, value in zip((1, 2, 5), held, strict=True)}
    }
    assert results.sparsest(results.summarise(found)) == {}
    assert results.sparsest(results.summarise([replace(found[0], max_bytes=5_000), baseline])) == {}
