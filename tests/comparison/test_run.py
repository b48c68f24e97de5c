"""A comparison as a user runs it: finished cells are kept, an interrupted grid ends as an uninterrupted one would."""

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from slt_compress import Ticket
from slt_compress.cli.console import Printer
from slt_compress.cli.main import app
from slt_compress.comparison import run
from slt_compress.comparison.cells import CellFolder, FinishedRun
from slt_compress.comparison.grid import Cell, Plan
from slt_compress.config import SearchConfig
from slt_compress.errors import OutputError, UnreachableError, UsageError
from slt_compress.pipeline import find, measure
from slt_compress.pipeline.find import SearchResult
from slt_compress.prng import Freeze
from slt_compress.progress import ProgressReporter, ReportTraining, TrainingProgress
from slt_compress.training.recipes import PLAIN
from tests.support.process import run_here
from tests.support.reporters import RecordingReporter

GRID = ("compare", "lenet-300-100", "--methods", "random,crbg", "--sparsities", "0.95,0.5", "--seeds", "2")
BUDGET = ("--max-steps", "60")
CELLS = 10
CONFIG = SearchConfig(sparsity=0.0, max_steps=60)
WITHOUT_STEPS = SearchConfig(sparsity=0.0)  # as a search that optimises nothing has none
TIMES = {"seconds", "images_per_second"}

Compared = tuple[Path, dict[str, Any]]


def plan_of(
    methods: str,
    sparsities: str,
    seeds: int,
    *,
    dense: bool = False,
    config: SearchConfig = CONFIG,
    dense_lr: float | None = None,
    shard: str | None = None,
) -> Plan:
    further: dict[str, Any] = {"seeds": seeds, "dense": dense, "dense_lr": dense_lr}
    return Plan.parse("lenet-300-100", config, methods=methods, sparsities=sparsities, shard=shard, **further)


PLAN = plan_of("random,crbg", "0.95,0.5", 2, dense=True)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """A finished comparison, and the JSON it printed."""
    folder = tmp_path_factory.mktemp("compared")
    done = run_here(*GRID, *BUDGET, "--output", "grid", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder / "grid", json.loads(done.stdout)


@pytest.fixture
def copy(compared: Compared, tmp_path: Path) -> Path:
    """A copy of the finished comparison that may be damaged."""
    return shutil.copytree(compared[0], tmp_path / "grid")


def lasting(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what a clock says."""
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(folder.iterdir())}


def test_the_files_agree_with_one_another_and_with_numpy(compared: Compared) -> None:
    folder, document = compared
    assert json.loads((folder / "results.json").read_text()) == document
    rows = document["rows"]
    assert [(row["method"], row["asked_sparsity"], row["seed"]) for row in rows] == [
        *((method, sparsity, seed) for method in ("random", "crbg") for sparsity in (0.5, 0.95) for seed in (0, 1)),
        *(("dense", 0.0, seed) for seed in (0, 1)),
    ]
    with (folder / "results.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert table == [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]
    page = (folder / "results.md").read_text()
    for found in document["summary"]:
        chosen = [
            row for row in rows if (row["method"], row["asked_sparsity"]) == (found["label"], found["asked_sparsity"])
        ]
        values = np.array([row["accuracy"] for row in chosen])
        assert found["accuracy"] == pytest.approx(values.mean())
        assert found["accuracy_std"] == pytest.approx(values.std(ddof=1), abs=1e-12)
        assert f"{100 * values.mean():.2f} ± {100 * values.std(ddof=1):.2f}" in page
    assert document["command"].startswith("slt-compress compare lenet-300-100 --methods random,crbg")
    assert document["command"] in page
    for name in ("accuracy-sparsity.png", "accuracy-bytes.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
        assert f"({name})" in page
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["cells", "tickets", "results.csv", "results.json", "results.md", "accuracy-sparsity.png", "accuracy-bytes.png"]
    )


def test_a_cell_is_the_ticket_that_search_finds(compared: Compared, tmp_path: Path) -> None:
    folder, document = compared
    assert len(list((folder / "tickets").iterdir())) == CELLS - 2
    for row in document["rows"]:
        if row["method"] == "dense":
            assert (row["ticket"], row["mask_bytes"], row["sparsity"]) == (None, None, 0.0)
            continue
        ticket = Ticket.load(folder / row["ticket"])
        assert ticket.sparsity == row["sparsity"] == pytest.approx(row["asked_sparsity"], abs=0.005)
        assert ticket.provenance.metrics["accuracy"] == row["accuracy"]
        assert (folder / row["ticket"]).stat().st_size == row["bytes"] > row["mask_bytes"] == ticket.mask_bytes
    options = (*BUDGET, "--sparsity", "0.95", "--seed", "1", "--output", str(tmp_path / "t.safetensors"))
    assert CliRunner().invoke(app, ["search", "lenet-300-100", *options]).exit_code == 0
    assert (tmp_path / "t.safetensors").read_bytes() == (folder / "tickets" / "crbg-0.95-1.safetensors").read_bytes()


def test_finished_cells_are_not_run_again(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {name: contents(copy / name) for name in ("cells", "tickets")}
    document = run.compare(PLAN, copy, "command", Printer()).to_json()
    assert before == {name: contents(copy / name) for name in ("cells", "tickets")}
    assert len(document["rows"]) == CELLS
    assert capsys.readouterr().err == "lenet-300-100 on digits: 10 cells, 10 of them finished, 60 steps of 256 on cpu\n"


def test_a_grid_can_grow_and_shrink(copy: Path, compared: Compared, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of("random", "0.9,0.5", 2)
    document = run.compare(plan, copy, "command", Printer()).to_json()
    assert "4 cells, 2 of them finished" in capsys.readouterr().err
    assert lasting(document["rows"])[:2] == lasting(compared[1]["rows"])[:2]
    assert [(row["asked_sparsity"], row["seed"]) for row in document["rows"]] == [
        (0.5, 0),
        (0.5, 1),
        (0.9, 0),
        (0.9, 1),
    ]
    assert len(list((copy / "cells").iterdir())) == CELLS + 2


def start(folder: Path, *arguments: str, grid: tuple[str, ...] = GRID) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "slt_compress", *grid, *BUDGET, "--output", "grid", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_cells(folder: Path, count: int, cells: str = "*") -> None:
    deadline = time.monotonic() + 60
    while len(list(folder.glob(f"grid/cells/{cells}.json"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_an_interrupted_and_a_killed_grid_end_like_an_uninterrupted_one(compared: Compared, tmp_path: Path) -> None:
    with start(tmp_path) as process:
        wait_for_cells(tmp_path, 2)  # torch imports more of itself in the first search; Python 3.11 ends with -2 there
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "interrupted; finished cells stay in grid, run the same command again to continue" in err
    kept = contents(tmp_path / "grid" / "cells")
    assert 1 <= len(kept) < CELLS
    with start(tmp_path) as process:
        wait_for_cells(tmp_path, len(kept) + 2)
        process.kill()
    assert len(list(tmp_path.glob("grid/cells/*.json"))) < CELLS
    document = run.compare(PLAN, tmp_path / "grid", "command", Printer(quiet=True)).to_json()
    assert lasting(document["rows"]) == lasting(compared[1]["rows"])
    assert document["settings"] == compared[1]["settings"]
    for path in (compared[0] / "tickets").iterdir():
        assert (tmp_path / "grid" / "tickets" / path.name).read_bytes() == path.read_bytes()
    assert kept.items() <= contents(tmp_path / "grid" / "cells").items()


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("cells/crbg-0.5-0.json", "truncated", "not a JSON document"),
        ("cells/crbg-0.5-0.json", "list", "not a JSON document"),
        ("cells/crbg-0.5-0.json", "field", "'accuracy'"),
        ("cells/crbg-0.5-0.json", "exchanged", "it holds random, sparsity 0.5, seed 0"),
        ("tickets/crbg-0.5-0.safetensors", "truncated", "is not a valid ticket"),
        ("tickets/crbg-0.5-0.safetensors", "exchanged", "is not the ticket that was measured"),
        ("tickets/crbg-0.5-0.safetensors", "removed", "crbg-0.5-0.safetensors"),
    ],
)
def test_a_damaged_cell_is_run_again(
    copy: Path, compared: Compared, capsys: pytest.CaptureFixture[str], name: str, damage: str, words: str
) -> None:
    path = copy / name
    whole = path.read_bytes()
    if damage == "removed":
        path.unlink()
    elif damage == "exchanged":
        path.write_bytes((copy / name.replace("crbg", "random")).read_bytes())
    else:
        path.write_bytes(
            {"truncated": whole[:-100], "list": b"[]", "field": whole.replace(b'"accuracy"', b'"a"')}[damage]
        )
    plan = plan_of("crbg", "0.5", 1)
    document = run.compare(plan, copy, "command", Printer()).to_json()
    err = capsys.readouterr().err
    assert f"{copy / 'cells' / 'crbg-0.5-0.json'} is damaged" in err
    assert words in err
    assert "this cell is run again" in err
    assert "1/1 cells  crbg-0.5-0: " in err
    assert lasting(document["rows"]) == lasting([row for row in compared[1]["rows"] if row["method"] == "crbg"][:1])


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (replace(PLAN, config=replace(CONFIG, max_steps=61)), "steps is 60 there, 61 here"),
        (replace(PLAN, config=replace(CONFIG, batch_size=64)), "batch_size is 256 there, 64 here"),
        (replace(PLAN, model="lenet-5"), 'model is "lenet-300-100" there, "lenet-5" here'),
        (
            replace(PLAN, config=replace(CONFIG, initialiser="uniform")),
            'initialiser is "default" there, "uniform" here',
        ),
        (replace(PLAN, config=replace(CONFIG, input_size=10)), "preprocessing is"),
        (
            replace(PLAN, config=replace(CONFIG, freeze=Freeze(0.3, 0.1))),
            'freeze is {"ratio": 0.0, "lock": 0.0} there, {"ratio": 0.3, "lock": 0.1} here',
        ),
    ],
    ids=["max_steps", "batch_size", "model", "initialiser", "input_size", "freeze"],
)
def test_other_settings_are_refused_and_nothing_is_lost(copy: Path, plan: Plan, words: str) -> None:
    before = {name: contents(copy / name) for name in ("cells", "tickets")}
    with pytest.raises(UsageError, match=f"results of other settings: .*{re.escape(words)}.*; give another `output`"):
        run.compare(plan, copy, "command", Printer(quiet=True))
    assert before == {name: contents(copy / name) for name in ("cells", "tickets")}


def test_what_fixed_gates_rule_out_is_refused_before_any_cell(tmp_path: Path) -> None:
    plan = plan_of("random,crbg", "0.5,0.9", 2, config=replace(CONFIG, freeze=Freeze(0.7, 0.3)))
    with pytest.raises(UnreachableError, match=r"sparsity 0\.9 cannot be reached"):
        run.compare(plan, tmp_path / "grid", "command", Printer(quiet=True))
    assert not list(tmp_path.glob("grid/**/*.json"))


def test_finished_cells_outside_the_grid_are_told_of(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of("crbg", "0.5", 2)
    document = run.compare(plan, copy, "command", Printer()).to_json()
    assert f"8 finished cells in {copy} are not in this grid, and not part of the results" in capsys.readouterr().err
    assert len(document["rows"]) == 2


def test_another_way_to_ask_for_the_same_is_the_same(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = replace(CONFIG, max_steps=None, epochs=12, input_size=8, device="cpu")
    run.compare(replace(PLAN, config=config), copy, "command", Printer())
    assert "10 cells, 10 of them finished" in capsys.readouterr().err


def test_a_person_gets_the_table_and_where_everything_lies(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy.parent)
    done = CliRunner().invoke(app, [*GRID, *BUDGET, "--output", "grid"])
    assert done.exit_code == 0, done.output
    heading, first, second, *files = done.stdout.splitlines()
    assert heading.split() == ["sparsity", "random", "crbg", "dense"]
    assert (first.split()[0], second.split()[0]) == ("50", "95")
    assert first.count("±") == second.count("±") == 3
    assert "grid/results.csv" in "\n".join(files)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--methods", "magic"), 2, "unknown method 'magic'"),
        (("--sparsities", "1.5"), 2, "got 1.5"),
        (("--seeds", "0"), 2, "--seeds must be at least 1, got 0"),
        (("--max-steps", "0"), 2, "--max-steps must be at least 1, got 0"),
        (("--dataset", "minst"), 2, "did you mean mnist"),
        (("--output", "file"), 1, "file is a file, expected a folder"),
        (("--output", "file/grid"), 1, "file is a file, expected a folder"),
        (("--dataset", "mnist", "--data-dir", "nowhere"), 1, "nowhere does not exist"),
    ],
)
def test_bad_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    done = CliRunner().invoke(app, ["compare", "lenet-300-100", "--output", "grid", *arguments])
    assert (done.exit_code, done.stdout) == (code, "")
    assert words in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_written_costs_no_search(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="no permission to write"):
        run.compare(PLAN, copy, "command", Printer(quiet=True))


SIX = (
    *("compare", "lenet-300-100", "--methods", "crbg,edge-popup", "--sparsities", "0.5,0.8,0.95"),
    *("--seeds", "1", "--no-dense"),
)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """Six cells by one process that nobody disturbed, and the JSON it printed."""
    folder = tmp_path_factory.mktemp("alone")
    done = run_here(*SIX, *BUDGET, "--output", "grid", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "grid", json.loads(done.stdout)


def tickets(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "tickets").iterdir()}


def test_shards_of_which_one_was_killed_end_like_one_process(alone: Compared, tmp_path: Path) -> None:
    with start(tmp_path, "--shard", "1/2", grid=SIX) as killed, start(tmp_path, "--shard", "2/2", grid=SIX) as other:
        wait_for_cells(tmp_path, 1, "crbg-*")
        killed.kill()
        out, err = other.communicate(timeout=60)
    assert (killed.returncode, other.returncode) == (-signal.SIGKILL, 0), err
    assert "next, once all shards are finished: the same command without --shard" in out
    kept = {name: found for name, found in contents(tmp_path / "grid" / "cells").items() if name.startswith("crbg")}
    assert 1 <= len(kept) < 3
    again = run_here(*SIX, *BUDGET, "--output", "grid", "--shard", "1/2", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert f"3 cells, {len(kept)} of them finished" in again.stderr
    assert kept.items() <= contents(tmp_path / "grid" / "cells").items()
    assert not list(tmp_path.glob("grid/results.*"))
    whole = run_here(*SIX, *BUDGET, "--output", "grid", "--json", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    document = json.loads(whole.stdout)
    assert document == json.loads((tmp_path / "grid" / "results.json").read_text())
    assert lasting(document["rows"]) == lasting(alone[1]["rows"])
    assert {**document, "rows": None, "summary": None} == {**alone[1], "rows": None, "summary": None}
    assert tickets(tmp_path / "grid") == tickets(alone[0])
    assert not (tmp_path / "grid" / "locks").exists()


def test_two_processes_share_a_grid_and_leave_the_same_tables(alone: Compared, tmp_path: Path) -> None:
    with start(tmp_path, "--json", grid=SIX) as one, start(tmp_path, "--json", grid=SIX) as other:
        (out, err), (same, words) = one.communicate(timeout=120), other.communicate(timeout=120)
    assert (one.returncode, other.returncode) == (0, 0), err + words
    assert out == same
    document = json.loads(out)
    assert document == json.loads((tmp_path / "grid" / "results.json").read_text())
    assert lasting(document["rows"]) == lasting(alone[1]["rows"])
    assert tickets(tmp_path / "grid") == tickets(alone[0])
    assert sorted(path.name for path in (tmp_path / "grid").iterdir()) == sorted(
        path.name for path in alone[0].iterdir()
    )


def test_a_shard_runs_its_cells_and_writes_no_table(tmp_path: Path) -> None:
    result = run.compare(
        plan_of("random", "0.5,0.9", 2, shard="2/2", config=WITHOUT_STEPS), tmp_path / "grid", "command", Printer()
    )
    assert not result.is_complete
    assert [(row.target_sparsity, row.seed) for row in result.rows] == [(0.9, 0), (0.9, 1)]
    assert {path.stem for path in (tmp_path / "grid" / "cells").iterdir()} == {"random-0.9-0", "random-0.9-1"}
    assert not list(tmp_path.glob("grid/results.*"))
    assert not list(tmp_path.glob("grid/*.png"))
    whole = run.compare(plan_of("random", "0.5,0.9", 2, config=WITHOUT_STEPS), tmp_path / "grid", "command", Printer())
    assert whole.is_complete
    assert result.rows == tuple(row for row in whole.rows if row.target_sparsity == 0.9)
    assert (tmp_path / "grid" / "results.md").exists()


THREE = plan_of("random,edge-popup", "0.5,0.9", 1)
FAILING = "edge-popup-0.5-0"


def fail(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> list[str]:
    """Make one cell of the grid fail, and return a list that gets the names of all that are searched for."""
    begun: list[str] = []

    def find_ticket(model: str, config: SearchConfig, *arguments: Any, **others: Any) -> SearchResult:
        begun.append(f"{config.method}-{config.sparsity}-{config.seed}")
        if begun[-1] == FAILING and error:
            raise error
        return find.find_ticket(model, config, *arguments, **others)

    monkeypatch.setattr(run, "find_ticket", find_ticket)
    return begun


@pytest.mark.parametrize(
    "error",
    [UnreachableError("arithmetic\nforbids it"), RuntimeError("no memory\nat all"), KeyError(), MemoryError()],
    ids=["expected", "bug", "bare", "memory"],
)
def test_a_cell_that_fails_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    begun, folder = fail(monkeypatch, error), tmp_path / "grid"
    result = run.compare(THREE, folder, "command", Printer())
    assert begun == ["random-0.5-0", FAILING, "random-0.9-0", "edge-popup-0.9-0"]
    assert (len(result.rows), result.cells, result.is_complete) == (3, 4, False)
    place = folder / "cells" / f"{FAILING}.error.txt"
    if isinstance(error, UnreachableError):
        reason = "arithmetic\\nforbids it"
        assert not place.exists()
    else:
        kind = type(error).__name__
        first = "no memory" if isinstance(error, RuntimeError) else kind
        reason = f"{kind}: {first} (traceback in {place})"
        assert place.read_text().startswith("Traceback (most recent call last):")
        assert "raise error" in place.read_text()
        assert kind in place.read_text().splitlines()[-1 - str(error).count("\n")]
    assert result.failed == {FAILING: reason}
    assert f"2/4 cells  {FAILING}: failed, {reason}\n" in capsys.readouterr().err
    assert result.to_json() == json.loads((folder / "results.json").read_text())
    page = (folder / "results.md").read_text()
    assert "**Incomplete: 3 of 4 runs are finished, 1 failed.**" in page
    assert page.count(" | – |\n") == 3
    assert len((folder / "results.csv").read_text().splitlines()) == 4

    begun = fail(monkeypatch, None)
    result = run.compare(THREE, folder, "command", Printer())
    assert begun == [FAILING]
    assert (result.failed, result.is_complete) == ({}, True)
    assert not place.exists()
    assert "Incomplete" not in (folder / "results.md").read_text()
    assert not (folder / "locks").exists()


def test_where_every_cell_fails_there_is_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, RuntimeError("no luck"))
    result = run.compare(plan_of("edge-popup", "0.5", 1), tmp_path / "grid", "command", Printer())
    assert (result.rows, list(result.failed)) == ((), [FAILING])
    assert not list(tmp_path.glob("grid/results.*"))


def test_a_dense_network_may_fail_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train_dense(*_: object, **__: object) -> None:
        raise RuntimeError("diverged")

    monkeypatch.setattr(run, "train_dense", train_dense)
    result = run.compare(plan_of("random", "0.5", 1, dense=True), tmp_path / "grid", "command", Printer())
    assert list(result.failed) == ["dense-0"]
    assert result.failed["dense-0"].startswith("RuntimeError: diverged (traceback in ")
    assert "Dense baseline" not in (tmp_path / "grid" / "results.md").read_text()


@pytest.mark.parametrize("error", [OutputError("the disk is full"), KeyboardInterrupt()])
def test_a_full_disk_or_an_interrupt_stops_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    begun = fail(monkeypatch, error)
    with pytest.raises(type(error)):
        run.compare(THREE, tmp_path / "grid", "command", Printer())
    assert begun == ["random-0.5-0", FAILING]
    assert [path.name for path in (tmp_path / "grid" / "cells").iterdir()] == ["random-0.5-0.json"]


def test_what_another_process_has_finished_meanwhile_is_taken(
    copy: Path, compared: Compared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It finishes all cells while this one begins with the first."""
    grid = copy.parent / "another"
    copied: list[object] = []
    reads = CellFolder.read

    def read(folder: CellFolder, cell: Cell, reporter: ProgressReporter) -> FinishedRun | None:
        if len(copied) == CELLS:  # of the first look at each
            shutil.copytree(copy / "cells", grid / "cells", dirs_exist_ok=True)
            shutil.copytree(copy / "tickets", grid / "tickets", dirs_exist_ok=True)
        copied.append(cell)
        return reads(folder, cell, reporter)

    monkeypatch.setattr(CellFolder, "read", read)
    result = run.compare(PLAN, grid, "command", Printer())
    assert result.to_json()["rows"] == compared[1]["rows"]
    assert capsys.readouterr().err.count(": finished by another process\n") == CELLS


def test_the_learning_rate_of_the_baseline_is_its_alone(tmp_path: Path) -> None:
    config = replace(CONFIG, max_steps=10)
    results = {
        rate: run.compare(
            plan_of("crbg", "0.5", 1, dense=True, dense_lr=rate, config=config),
            tmp_path / str(rate),
            "command",
            Printer(quiet=True),
        ).to_json()
        for rate in (None, 0.01, 0.002)
    }
    (crbg, dense), (same_crbg, given), (other_crbg, other) = (lasting(found["rows"]) for found in results.values())
    assert crbg == same_crbg == other_crbg
    assert dense["learning_rate"] in PLAIN.learning_rates
    assert (given["learning_rate"], other["learning_rate"]) == (0.01, 0.002)
    assert given["loss"] != other["loss"]
    assert dense["validation_accuracy"] >= given["validation_accuracy"]
    assert tickets(tmp_path / "None") == tickets(tmp_path / "0.002")
    for rate, found in results.items():
        assert found["settings"] == results[None]["settings"]
        assert found["dense_learning_rate"] == rate
        page = (tmp_path / str(rate) / "results.md").read_text()
        assert f"trained with Adam, {PLAIN.describe(rate).partition('Adam, ')[2]}" in page


def test_another_learning_rate_of_the_baseline_runs_the_baseline_alone(tmp_path: Path) -> None:
    config = replace(CONFIG, max_steps=10)
    plan = plan_of("crbg", "0.5", 1, dense=True, config=config)
    run.compare(plan, tmp_path, "command", Printer(quiet=True))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()}
    found = run.compare(replace(plan, dense_lr=0.002), tmp_path, "command", Printer(quiet=True))
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()}
    assert [path.name for path in after.keys() - before.keys()] == ["dense-0.002-0.json"]
    assert before.items() <= after.items()
    assert len(found.rows) == 2
    again = run.compare(plan, tmp_path, "command", Printer(quiet=True))
    assert again.rows[-1].loss != found.rows[-1].loss


def test_a_ticket_that_cannot_be_measured_stays_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of("random", "0.5", 1, config=WITHOUT_STEPS)
    whole = run.compare(plan, tmp_path / "whole", "command", Printer(quiet=True)).rows[0]

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory\nafter all")

    monkeypatch.setattr(measure, "evaluate", fail)
    result = run.compare(plan, tmp_path / "grid", "command", Printer(quiet=True))
    place = tmp_path / "grid" / "tickets" / "random-0.5-0.safetensors"
    assert result.failed == {"random-0.5-0": f"found {place}, but measuring it has failed: RuntimeError: out of memory"}
    assert (result.rows, Ticket.load(place).sparsity) == ((), whole.sparsity)


def test_a_plot_that_cannot_be_drawn_costs_no_table(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> bytes:
        raise RuntimeError("no font\nat all")

    whole = run.compare(PLAN, copy, "command", Printer(quiet=True))
    assert dict(whole.undrawn) == {}
    monkeypatch.setitem(run.PLOTS, "accuracy-bytes.png", broken)
    (copy / "results.md").unlink()
    result = run.compare(PLAN, copy, "command", Printer(quiet=True))
    assert dict(result.undrawn) == {"accuracy-bytes.png": "no font"}
    assert (copy / "results.md").exists()
    assert (copy / "accuracy-sparsity.png").exists()
    assert not (copy / "accuracy-bytes.png").exists()  # it would show older results
    capsys.readouterr()
    monkeypatch.chdir(copy.parent)
    done = CliRunner().invoke(app, [*GRID, *BUDGET, "--output", copy.name])
    assert done.exit_code == 0
    assert "cannot draw grid/accuracy-bytes.png (no font); the tables are complete" in done.stderr
    assert "accuracy-bytes.png" not in done.stdout


@pytest.mark.parametrize("name", [*run.TABLES, *run.PLOTS, "tickets/random-0.5-0.safetensors"])
def test_what_could_not_be_written_is_known_before_a_cell_is_run(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "grid"
    (folder / name).parent.mkdir(parents=True)
    os.mkfifo(folder / name)
    with pytest.raises(OutputError, match="it is a pipe, expected a regular file"):
        run.compare(plan_of("random", "0.5", 1, config=SearchConfig(sparsity=0.0)), folder, "c", Printer(quiet=True))
    assert not list((folder / "cells").iterdir())


def test_a_comparison_without_steps_takes_no_budget_but_that_of_its_folder(copy: Path, tmp_path: Path) -> None:
    plan = plan_of("random", "0.5", 1)
    with pytest.raises(
        UsageError, match=r"^`max_steps` has no meaning where nothing is optimised: `methods` names ran"
    ):
        run.compare(plan, tmp_path / "new", "command", Printer(quiet=True))
    assert not (tmp_path / "new").exists()
    assert len(run.compare(plan, copy, "command", Printer(quiet=True)).rows) == 1


def test_a_comparison_is_not_written_into_its_data(tmp_path: Path) -> None:
    config = SearchConfig(dataset="imagefolder", data_dir=tmp_path / "." / "data", sparsity=0.0)
    (tmp_path / "data").mkdir()
    with pytest.raises(UsageError, match=r"^`data_dir` and `output` are the same file, "):
        run.compare(plan_of("crbg", "0.5", 1, config=config), tmp_path / "data", "command", Printer(quiet=True))


def test_names_that_are_no_text_are_no_reason_to_lose_the_tables(copy: Path) -> None:
    run.compare(PLAN, copy, "slt-compress --output '\udcff'", Printer(quiet=True))
    assert "\\udcff" in (copy / "results.md").read_text(encoding="utf-8")
    assert json.loads((copy / "results.json").read_text())["command"].endswith("'\udcff'")


def test_a_comparison_without_steps_or_statistics_takes_no_size_of_a_batch(tmp_path: Path) -> None:
    config = replace(WITHOUT_STEPS, batch_size=64)
    plan = replace(plan_of("random", "0.5", 1, config=config), model="test_vit")
    with pytest.raises(UsageError, match=r"^`batch_size` has no meaning where nothing is optimised and the network, "):
        run.compare(plan, tmp_path / "new", "command", Printer(quiet=True))
    assert not (tmp_path / "new").exists()


def test_a_ticket_that_is_found_outlives_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.compare(
            plan_of("random", "0.5", 1, config=WITHOUT_STEPS), tmp_path / "grid", "command", Printer(quiet=True)
        )
    assert Ticket.load(tmp_path / "grid" / "tickets" / "random-0.5-0.safetensors").sparsity == 0.5
    assert not list((tmp_path / "grid" / "cells").iterdir())


class Impatient(RecordingReporter):
    """Somebody who interrupts a search, or one of several trainings, after a number of steps."""

    def __init__(self, last: int | None, of: int = 1) -> None:
        super().__init__()
        self._last, self._left = last, of

    @contextlib.contextmanager
    def training_progress(self) -> Iterator[ReportTraining]:
        def report(progress: TrainingProgress) -> None:
            self._left -= progress.step == self._last
            if self._left == 0:
                raise KeyboardInterrupt

        yield report

    @contextlib.contextmanager
    def grid_progress(self, cells: int, finished: int, steps: int) -> Iterator["Impatient"]:  # noqa: ARG002
        yield self

    def begin(self, cell: str) -> None:
        pass

    def finish(self, result: str, steps: int) -> None:
        pass


def test_a_search_that_was_interrupted_goes_on_where_it_was(compared: Compared, tmp_path: Path) -> None:
    plan = replace(plan_of("crbg", "0.95", 1), checkpoint_every=20)
    with pytest.raises(KeyboardInterrupt):
        run.compare(plan, tmp_path / "grid", "command", Impatient(45))
    assert list(tmp_path.glob("grid/checkpoints/crbg-0.95-0/*.safetensors"))
    assert not list(tmp_path.glob("grid/cells/*.json"))
    second = Impatient(None)
    run.compare(plan, tmp_path / "grid", "command", second)
    assert "resuming from the checkpoint of step 40" in second.notes
    ticket = "tickets/crbg-0.95-0.safetensors"
    assert (tmp_path / "grid" / ticket).read_bytes() == (compared[0] / ticket).read_bytes()
    assert not (tmp_path / "grid" / "checkpoints").exists()


@pytest.mark.parametrize("rates", [1, 2, 3])
def test_a_pruning_that_was_interrupted_goes_on_where_it_was(tmp_path: Path, rates: int) -> None:
    plan = plan_of("prune:magnitude:int8", "0.9", 1)
    run.compare(plan, tmp_path / "whole", "command", Impatient(None))
    plan = replace(plan, checkpoint_every=20)
    with pytest.raises(KeyboardInterrupt):
        run.compare(plan, tmp_path / "grid", "command", Impatient(45, of=rates))
    assert len(list(tmp_path.glob("grid/checkpoints/*/*.safetensors"))) == rates
    second = Impatient(None)
    run.compare(plan, tmp_path / "grid", "command", second)
    assert "resuming from the checkpoint of step 40" in second.notes
    ticket = "tickets/prune-magnitude-int8-0.9-0.safetensors"
    assert (tmp_path / "grid" / ticket).read_bytes() == (tmp_path / "whole" / ticket).read_bytes()
    assert not (tmp_path / "grid" / "checkpoints").exists()


@pytest.mark.parametrize("rates", [1, 3])
def test_a_dense_training_that_was_interrupted_goes_on_where_it_was(tmp_path: Path, rates: int) -> None:
    plan = plan_of("random", "0.9", 1, dense=True)
    whole = run.compare(plan, tmp_path / "whole", "command", Impatient(None))
    plan = replace(plan, checkpoint_every=20)
    with pytest.raises(KeyboardInterrupt):
        run.compare(plan, tmp_path / "grid", "command", Impatient(45, of=rates))
    assert len(list(tmp_path.glob("grid/checkpoints/dense-0/*.safetensors"))) == rates
    second = Impatient(None)
    found = run.compare(plan, tmp_path / "grid", "command", second)
    assert second.notes.count("resuming from the checkpoint of step 60") == rates - 1
    assert "resuming from the checkpoint of step 40" in second.notes
    assert lasting([vars(row) for row in found.rows]) == lasting([vars(row) for row in whole.rows])
    assert not (tmp_path / "grid" / "checkpoints").exists()


def test_pruned_networks_take_the_best_of_the_learning_rates_of_the_dense_one(tmp_path: Path) -> None:
    plan = plan_of("prune:magnitude,prune:crbg:paper", "0.9", 1)
    found = run.compare(plan, tmp_path, "command", Printer(quiet=True))
    best, paper = found.rows
    assert best.learning_rate in PLAIN.learning_rates
    assert paper.learning_rate is None
    given = [
        run.compare(replace(plan, dense_lr=rate), tmp_path, "command", Printer(quiet=True)).rows[0]
        for rate in PLAIN.learning_rates
    ]
    assert [row.learning_rate for row in given] == list(PLAIN.learning_rates)
    assert max(given, key=lambda row: row.validation_accuracy).digest == best.digest
    page = (tmp_path / "results.md").read_text()
    assert "Pruned networks, learning rate: 0.01." in page
    run.compare(plan, tmp_path, "command", Printer(quiet=True))
    assert f"each tried for the whole budget. Chosen: {best.learning_rate:g}." in (tmp_path / "results.md").read_text()
