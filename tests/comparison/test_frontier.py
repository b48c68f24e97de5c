"""Several networks in one comparison: the best of each size is chosen on held-out images."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slt_compress.comparison.frontier import FILES, FrontierResult, compare_models, folder_name, table
from slt_compress.comparison.grid import Plan
from slt_compress.comparison.results import ComparisonResult, Row
from slt_compress.config import SearchConfig
from slt_compress.errors import UnknownModelError
from slt_compress.progress import SILENT_GRID
from tests.support.process import Run, run_here

ROW = Row(
    method="crbg",
    target_sparsity=0.0,
    sparsity=0.9,
    seed=0,
    accuracy=0.5,
    validation_accuracy=0.5,
    loss=None,
    bytes=9_900,
    mask_bytes=9_000,
    seconds=1.0,
    images_per_second=1.0,
    ticket=None,
    digest=None,
    max_bytes=10_000,
)


def result_of(*rows: Row) -> ComparisonResult:
    return ComparisonResult("cmd", {"dataset": "digits"}, (), 1, None, "", (0.01,), len(rows), rows, {})


def test_the_best_is_chosen_on_held_out_images_and_each_method_and_size_has_its_own() -> None:
    found = FrontierResult(
        "cmd",
        {
            "a": result_of(replace(ROW, validation_accuracy=0.6), replace(ROW, max_bytes=20_000, accuracy=0.7)),
            "b": result_of(replace(ROW, accuracy=0.9), replace(ROW, method="random", accuracy=0.1)),
        },
    )
    best = [(one.summary.label, one.summary.max_bytes, one.model, one.summary.accuracy) for one in found.points]
    assert best == [("crbg", 10_000, "a", 0.5), ("crbg", 20_000, "a", 0.7), ("random", 10_000, "b", 0.1)]
    heading, rows = table(found)
    assert len(heading) == len(rows[0])
    assert rows[1][:3] == ["20 KB", "crbg", "a"]
    assert heading[0] == "at most"
    assert table(FrontierResult("cmd", {"a": result_of(replace(ROW, max_bytes=None))}))[0][0] == "asked"


def test_an_unknown_network_is_refused_before_the_first_is_run(tmp_path: Path) -> None:
    plan = Plan.parse("", SearchConfig(), methods="random", sparsities="0.5", seeds=1, dense=False)
    with pytest.raises(UnknownModelError, match="unknown model 'lenet-6'"):
        compare_models(plan, ["lenet-5", "lenet-6"], tmp_path / "out", "cmd", SILENT_GRID)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("frontier")
    words = ("--bytes", "3.5KB,4KB", "--methods", "random", "--no-dense", "--seeds", "1", "--output", "sweep", "--json")
    done = run_here("compare", "--models", "lenet-5,lenet-300-100", *words, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "sweep", json.loads(done.stdout)


def test_each_network_has_a_folder_of_its_own_and_the_files_agree(compared: tuple[Path, dict[str, Any]]) -> None:
    folder, printed = compared
    assert json.loads((folder / "frontier.json").read_bytes()) == printed
    assert [one["asked_bytes"] for one in printed["frontier"]] == [3_500, 4_000]
    for name in ("lenet-5", "lenet-300-100"):
        rows = json.loads((folder / name / "results.json").read_bytes())["rows"]
        assert [row["asked_bytes"] for row in rows] == [3_500, 4_000]
        for row in rows:
            assert row["asked_sparsity"] is None
            assert 0.95 * row["asked_bytes"] <= row["bytes"] <= row["asked_bytes"]
            assert (folder / name / row["ticket"]).stat().st_size == row["bytes"]
        assert f"[{name}]({name}/results.md)" in (folder / "frontier.md").read_text()
    for point in printed["frontier"]:
        held_out = {
            name: one["validation_accuracy"]
            for name, model in printed["models"].items()
            for one in model["summary"]
            if one["asked_bytes"] == point["asked_bytes"]
        }
        assert held_out[point["model"]] == max(held_out.values())
    assert (folder / "frontier.png").read_bytes().startswith(b"\x89PNG")


def test_finished_runs_are_kept_and_a_shard_writes_no_tables(
    compared: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, _ = compared
    plan = Plan.parse("", SearchConfig(sparsity=0.0), methods="random", sparsities=None, seeds=1, dense=False)
    plan = replace(plan, sizes=(3_500, 4_000))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("tickets/*")}
    assert len(before) == 4
    again = compare_models(plan, ["lenet-5", "lenet-300-100"], folder, "cmd", SILENT_GRID)
    assert len(again.points) == 2
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("tickets/*")} == before
    part = compare_models(replace(plan, shard=(1, 2)), ["lenet-5"], tmp_path / "part", "cmd", SILENT_GRID)
    assert len(part.models["lenet-5"].rows) == 1
    assert not any((tmp_path / "part" / name).exists() for name in FILES)


def test_what_one_network_cannot_be_is_told_and_the_others_are_compared(invoke: Run, tmp_path: Path) -> None:
    words = ("--bytes", "3KB", "--methods", "random", "--no-dense", "--seeds", "1", "--output", "sweep", "--json")
    done = invoke("compare", "--models", "lenet-5,resnet20", *words)
    assert done.returncode == 1
    printed = json.loads(done.stdout)
    assert list(printed["failed"]) == ["resnet20/random-3000B-0"]
    assert "--max-bytes 3000 cannot be reached" in printed["failed"]["resnet20/random-3000B-0"]
    assert [point["model"] for point in printed["frontier"]] == ["lenet-5"]
    assert (tmp_path / "sweep" / "frontier.md").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lenet-5", "--models", "conv2"], "give a MODEL, or several as --models, not both"),
        ([], "give a MODEL, or several as --models"),
        (["--models", "conv2,"], "--models must be a list with commas between its members, got 'conv2,'"),
        (["--models", "conv2,conv2"], "--models names conv2 twice"),
        (["lenet-5", "--bytes", "4KB", "--sparsities", "0.5"], "give --sparsities or --bytes, not both"),
        (["lenet-5", "--bytes", "4KB,4000"], "--bytes names 4000 twice"),
        (["lenet-5", "--bytes", "4kilo"], "--bytes must be a number of bytes, such as 100KB or 1.5MB, got '4kilo'"),
        (["lenet-5", "--bytes", "0"], "--bytes must be whole numbers of at least 1, got 0"),
    ],
)
def test_what_is_asked_wrongly_is_refused(invoke: Run, tmp_path: Path, words: list[str], message: str) -> None:
    done = invoke("compare", *words, "--output", "sweep")
    assert (done.returncode, done.stderr.strip()) == (2, f"error: {message}")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_has_the_name_of_its_network() -> None:
    assert folder_name("torchvision/resnet18") == "torchvision-resnet18"
