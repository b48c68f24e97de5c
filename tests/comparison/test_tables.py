"""The tables of a comparison: every one says the same, and what is missing is seen."""

from dataclasses import replace

from slt_compress.comparison import tables
from slt_compress.comparison.results import summarise
from tests.support.grids import ENVIRONMENT, ROW, result_of, rows


def test_the_table_has_sparsities_down_methods_across_and_dense_beside_each() -> None:
    summaries = summarise(rows())
    heading, lines = tables.accuracy_table(summaries)
    assert heading == ["sparsity", "crbg", "edge-popup:global", "dense"]
    assert [line[0] for line in lines] == ["50 %", "95 %"]
    first = summaries[1]
    assert first.accuracy_std is not None
    assert lines[0][1] == f"{100 * first.accuracy:.2f} ± {100 * first.accuracy_std:.2f}"
    assert lines[0][3] == lines[1][3]


def test_what_is_missing_is_a_dash_in_every_table() -> None:
    crbg, other = replace(ROW, target_sparsity=0.5), replace(ROW, method="random")  # at 0.9
    _, lines = tables.accuracy_table(summarise([crbg, other]))
    assert lines == [["50 %", "98.00", "–"], ["90 %", "–", "98.00"]]
    page = tables.markdown(result_of(crbg, other))
    assert [line for line in page.splitlines() if line.startswith("| 50 %")] == [
        *("| 50 % | 98.00 | – |", "| 50 % | 6.3 | – |", "| 50 % | 1.5 | – |"),
    ]


def test_only_dense_runs_make_a_page_too() -> None:
    assert "| sparsity | dense |" in tables.markdown(result_of(replace(ROW, method="dense", target_sparsity=0.0)))


def test_the_page_says_how_the_baseline_was_trained_where_there_is_one() -> None:
    made = [replace(row, learning_rate=0.003) if row.method == "dense" else row for row in rows()]
    assert "Dense baseline: all weights trained somehow. Chosen: 0.003." in tables.markdown(result_of(*made))
    page = tables.markdown(result_of(*made, dense_learning_rate=0.003))
    assert "Dense baseline: all weights trained somehow.\n" in page
    assert "Dense baseline" not in tables.markdown(result_of(*made[:-3]))


def test_the_page_names_every_machine() -> None:
    other = {**ENVIRONMENT, "machine": "another"}
    page = tables.markdown(replace(result_of(*rows()), environments=(ENVIRONMENT, other)))
    assert "a machine, Python 3.11, torch 2.9, timm 1.0; another, Python 3.11, torch 2.9, timm 1.0." in page


def test_a_single_seed_is_shown_without_a_deviation() -> None:
    assert tables.accuracy_table(summarise([ROW])) == (["sparsity", "crbg"], [["90 %", "98.00"]])


def test_a_page_says_what_is_missing() -> None:
    made = rows()
    assert "Incomplete" not in tables.markdown(result_of(*made))
    page = tables.markdown(result_of(*made[1:], failed={"crbg-0.95-0": "no memory"}))
    assert "**Incomplete: 14 of 15 runs are finished, 1 failed.**" in page


def test_the_page_says_how_sparse_a_method_may_be_where_there_are_several_sparsities_and_a_dense_network() -> None:
    found = [replace(ROW, target_sparsity=one, accuracy=value) for one, value in ((0.5, 0.98), (0.9, 0.95))]
    dense = replace(ROW, method="dense", target_sparsity=0.0, accuracy=0.99)
    lines = tables.markdown(result_of(*found, dense)).splitlines()
    assert [line for line in lines if line.startswith("| dense - ")] == [
        *("| dense - 1 | 50 % |", "| dense - 2 | 50 % |", "| dense - 5 | 90 % |"),
    ]
    for shown in ((found[0], dense), found):
        assert "| dense - 1" not in tables.markdown(result_of(*shown))
