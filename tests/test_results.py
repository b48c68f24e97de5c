"""Rows and their summary: the figures agree with numpy, and every form of the table says the same."""

import csv
import io
from dataclasses import asdict, replace

import numpy as np
import pytest

from slt_compress import results
from slt_compress.results import Row

ROW = Row("crbg", None, None, 0.9, 0.9001, 0, 0.98, 0.97, 0.1, 6326, 2910, 1.5, 25_000.0, "tickets/a", "ab12")
RNG = np.random.default_rng(0)


def rows() -> list[Row]:
    """Three seeds of two methods at two sparsities, and of the dense network."""
    made = [
        replace(
            *(ROW,),
            method=method,
            scope=scope,
            asked_sparsity=sparsity,
            seed=seed,
            accuracy=float(RNG.random()),
            validation_accuracy=float(RNG.random()),
            bytes=int(RNG.integers(5000, 9000)),
        )
        for method, scope in (("crbg", None), ("edge-popup", "global"))
        for sparsity in (0.95, 0.5)
        for seed in range(3)
    ]
    dense = replace(ROW, method="dense", asked_sparsity=0.0, sparsity=0.0, mask_bytes=None, ticket=None, digest=None)
    return [*made, *(replace(dense, seed=seed, accuracy=float(RNG.random()), bytes=204_104) for seed in range(3))]


def test_mean_and_standard_deviation_are_those_of_numpy() -> None:
    made = rows()
    summaries = results.summarise(made)
    assert [(found.label, found.asked_sparsity, found.runs) for found in summaries] == [
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
        assert text == {name: "" if value is None else str(value) for name, value in asdict(row).items()}
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


def test_a_row_survives_json_and_a_damaged_one_is_refused() -> None:
    assert Row.from_json(asdict(ROW)) == ROW
    with pytest.raises(KeyError, match="digest"):
        Row.from_json({name: value for name, value in asdict(ROW).items() if name != "digest"})
    for broken in ("0.9", None, float("nan")):
        with pytest.raises(ValueError, match="finite numbers"):
            Row.from_json({**asdict(ROW), "accuracy": broken})
