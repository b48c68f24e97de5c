"""A comparison as a user runs it: finished cells are kept, an interrupted grid ends as an uninterrupted one would."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
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
from slt_compress.comparison.grid import Plan
from slt_compress.config import SearchConfig
from slt_compress.errors import OutputError, UnreachableError, UsageError
from slt_compress.prng import Freeze
from tests.support.process import run_cli

GRID = ("compare", "lenet-300-100", "--methods", "random,crbg", "--sparsities", "0.95,0.5", "--seeds", "2")
BUDGET = ("--max-steps", "60")
CELLS = 10
CONFIG = SearchConfig(sparsity=0.0, max_steps=60)
TIMES = {"seconds", "images_per_second"}

Compared = tuple[Path, dict[str, Any]]


def plan_of(methods: str, sparsities: str, seeds: int, *, dense: bool = False, config: SearchConfig = CONFIG) -> Plan:
    return Plan.parse("lenet-300-100", config, methods=methods, sparsities=sparsities, seeds=seeds, dense=dense)


PLAN = plan_of("random,crbg", "0.95,0.5", 2, dense=True)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """A finished comparison, and the JSON it printed."""
    folder = tmp_path_factory.mktemp("compared")
    done = run_cli(*GRID, *BUDGET, "--output", "grid", "--json", cwd=folder)
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
    document = run.compare(PLAN, copy, "command", Printer())
    assert before == {name: contents(copy / name) for name in ("cells", "tickets")}
    assert len(document["rows"]) == CELLS
    assert capsys.readouterr().err == "lenet-300-100 on digits: 10 cells, 10 of them finished, 60 steps of 256 on cpu\n"


def test_a_grid_can_grow_and_shrink(copy: Path, compared: Compared, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of("random", "0.9,0.5", 2)
    document = run.compare(plan, copy, "command", Printer())
    assert "4 cells, 2 of them finished" in capsys.readouterr().err
    assert lasting(document["rows"])[:2] == lasting(compared[1]["rows"])[:2]
    assert [(row["asked_sparsity"], row["seed"]) for row in document["rows"]] == [
        (0.5, 0),
        (0.5, 1),
        (0.9, 0),
        (0.9, 1),
    ]
    assert len(list((copy / "cells").iterdir())) == CELLS + 2


def start(folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "slt_compress", *GRID, *BUDGET, "--output", "grid"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_cells(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(folder.glob("grid/cells/*.json"))) < count:
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
    document = run.compare(PLAN, tmp_path / "grid", "command", Printer(quiet=True))
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
    document = run.compare(plan, copy, "command", Printer())
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
    document = run.compare(plan, copy, "command", Printer())
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
