"""Rows and their summary: the figures agree with numpy, and every form of the table says the same."""

import csv
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from slt_compress.comparison import results
from slt_compress.comparison.results import ComparisonResult, Row, Summary

ROW = Row(
    method="crbg",
    target_sparsity=0.9,
    sparsity=0.9001,
    seed=0,
    accuracy=0.98,
    validation_accuracy=0.97,
    loss=0.1,
    bytes=6326,
    mask_bytes=2910,
    seconds=1.5,
    images_per_second=25_000.0,
    ticket="tickets/a",
    digest="ab12",
)
ENVIRONMENT = {"machine": "a machine", "python": "3.11", "torch": "2.9", "timm": "1.0"}
SETTINGS = {
    "model": "lenet-300-100",
    "dataset": "digits",
    "tool": "1",
    "augment": "none",
    "precision": "fp32",
    "steps": 60,
    "batch_size": 256,
    "epochs": 12,
    "preprocessing": {"size": 8},
    "pictures": {"train": 1294, "validation": 143, "test": 360},
}
RNG = np.random.default_rng(0)


def rows() -> list[Row]:
    """Three seeds of two methods at two sparsities, and of the dense network."""
    made = [
        replace(
            ROW,
            method=method,
            options=options,
            target_sparsity=sparsity,
            seed=seed,
            accuracy=float(RNG.random()),
            validation_accuracy=float(RNG.random()),
            bytes=int(RNG.integers(5000, 9000)),
        )
        for method, options in (("crbg", {}), ("edge-popup", {"scope": "global"}))
        for sparsity in (0.95, 0.5)
        for seed in range(3)
    ]
    dense = replace(ROW, method="dense", target_sparsity=0.0, sparsity=0.0, mask_bytes=None, ticket=None, digest=None)
    return [*made, *(replace(dense, seed=seed, accuracy=float(RNG.random()), bytes=204_104) for seed in range(3))]


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
    assert results.accuracy_table([found]) == (["sparsity", "crbg"], [["90 %", "98.00"]])


def test_csv_keeps_every_digit() -> None:
    made = rows()
    read = list(csv.DictReader(io.StringIO(results.to_csv(made))))
    for text, row in zip(read, made, strict=True):
        assert text == {name: "" if value is None else str(value) for name, value in row.to_json().items()}
        assert float(text["accuracy"]) == row.accuracy


def test_the_table_has_sparsities_down_methods_across_and_dense_beside_each() -> None:
    summaries = results.summarise(rows())
    heading, lines = results.accuracy_table(summaries)
    assert heading == ["sparsity", "crbg", "edge-popup:global", "dense"]
    assert [line[0] for line in lines] == ["50 %", "95 %"]
    first = summaries[1]
    assert first.accuracy_std is not None
    assert lines[0][1] == f"{100 * first.accuracy:.2f} ± {100 * first.accuracy_std:.2f}"
    assert lines[0][3] == lines[1][3]


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
    assert list(row.to_json().items())[:5] == [
        ("method", "edge-popup"),
        ("scope", "global"),
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


def result_of(
    *found: Row,
    cells: int = 15,
    failed: dict[str, str] | None = None,
    dense_learning_rate: float | None = None,
    **settings: Any,
) -> ComparisonResult:
    return ComparisonResult(
        command="slt-compress compare lenet-300-100",
        settings={**SETTINGS, **settings},
        environments=(ENVIRONMENT,),
        seeds=3,
        dense_learning_rate=dense_learning_rate,
        dense_recipe="all weights trained somehow.",
        cells=cells,
        rows=found,
        failed=failed or {},
    )


def test_a_result_knows_whether_it_is_complete_and_says_so() -> None:
    made = rows()
    whole = result_of(*made)
    assert whole.is_complete
    assert "Incomplete" not in results.markdown(whole)
    part = result_of(*made[1:], failed={"crbg-0.95-0": "no memory"})
    assert not part.is_complete
    assert "**Incomplete: 14 of 15 runs are finished, 1 failed.**" in results.markdown(part)
    document = json.loads(json.dumps(part.to_json()))
    assert (document["cells"], document["failed"]) == (15, {"crbg-0.95-0": "no memory"})
    assert [Row.from_json(row) for row in document["rows"]] == made[1:]
    assert [Summary.from_json(summary) for summary in document["summary"]] == part.summaries


def test_what_is_missing_is_a_dash_in_every_table() -> None:
    crbg, other = replace(ROW, target_sparsity=0.5), replace(ROW, method="random")  # at 0.9
    _, lines = results.accuracy_table(results.summarise([crbg, other]))
    assert lines == [["50 %", "98.00", "–"], ["90 %", "–", "98.00"]]
    page = results.markdown(result_of(crbg, other))
    assert [line for line in page.splitlines() if line.startswith("| 50 %")] == [
        *("| 50 % | 98.00 | – |", "| 50 % | 6.3 | – |", "| 50 % | 1.5 | – |"),
    ]


def test_only_dense_runs_make_a_page_too() -> None:
    assert "| sparsity | dense |" in results.markdown(result_of(replace(ROW, method="dense", target_sparsity=0.0)))


def test_the_page_says_how_the_baseline_was_trained_where_there_is_one() -> None:
    made = [replace(row, learning_rate=0.003) if row.method == "dense" else row for row in rows()]
    assert "Dense baseline: all weights trained somehow. Chosen: 0.003." in results.markdown(result_of(*made))
    page = results.markdown(result_of(*made, dense_learning_rate=0.003))
    assert "Dense baseline: all weights trained somehow.\n" in page
    assert "Dense baseline" not in results.markdown(result_of(*made[:-3]))


def test_the_page_names_every_machine() -> None:
    other = {**ENVIRONMENT, "machine": "another"}
    page = results.markdown(replace(result_of(*rows()), environments=(ENVIRONMENT, other)))
    assert "a machine, Python 3.11, torch 2.9, timm 1.0; another, Python 3.11, torch 2.9, timm 1.0." in page
