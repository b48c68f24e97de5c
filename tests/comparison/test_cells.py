"""The finished runs in a folder: what is written is read back, what is damaged is not, and one process runs a cell."""

import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from slt_compress.comparison.cells import CellFolder, FinishedRun
from slt_compress.comparison.grid import Cell, Contender
from slt_compress.comparison.results import Row
from slt_compress.errors import OutputError, UsageError
from slt_compress.ticket.ticket import Ticket
from tests.support.documents import small_ticket
from tests.support.reporters import RecordingReporter

SETTINGS = {"model": "lenet-5", "steps": 60, "preprocessing": {"size": 8}}
ENVIRONMENT = {"machine": "one", "python": "3.11", "torch": "2.9", "timm": "1.0"}
CELL = Cell(Contender("edge-popup", options={"scope": "global"}), 0.9, 3)
DENSE = Cell(Contender("dense"), 0.0, 3)


def finished(folder: CellFolder, cell: Cell = CELL) -> FinishedRun:
    """Return a run of the cell whose ticket is in its place."""
    ticket: Ticket | None = None
    if not cell.is_dense:
        ticket = small_ticket()
        ticket.save(folder.ticket(cell))
    row = Row(
        method=cell.contender.method,
        options=cell.contender.options,
        target_sparsity=cell.sparsity,
        sparsity=0.1 + 0.2,
        seed=cell.seed,
        accuracy=1 / 3,
        validation_accuracy=0.97,
        loss=None,
        bytes=6326,
        mask_bytes=ticket.mask_bytes if ticket else None,
        seconds=1.5,
        images_per_second=25_000.0,
        ticket=f"tickets/{cell.name}.safetensors" if ticket else None,
        digest=ticket.digest if ticket else None,
    )
    return FinishedRun(row, SETTINGS, ENVIRONMENT)


@pytest.fixture
def folder(tmp_path: Path) -> CellFolder:
    return CellFolder(tmp_path / "grid", SETTINGS)


@pytest.mark.parametrize("cell", [CELL, DENSE], ids=["ticket", "dense"])
def test_a_run_is_read_back_by_another_process_too(folder: CellFolder, tmp_path: Path, cell: Cell) -> None:
    reporter = RecordingReporter()
    assert folder.read(cell, reporter) is None
    assert folder.names() == set()
    run = finished(folder, cell)
    folder.write(cell, run)
    for place in (folder, CellFolder(tmp_path / "grid", SETTINGS)):
        assert place.read(cell, reporter) == run
        assert place.names() == {cell.name}
    assert folder.read(replace(cell, seed=4), reporter) is None
    assert reporter.notes == []


@pytest.mark.parametrize(
    ("pattern", "instead", "words"),
    [
        (r"\}\s*$", "", "not a JSON document"),
        (r"(?s).+", "[]", "not a JSON document"),
        ('"digest"', '"d"', "'digest'"),
        ('"row"', '"r"', "'row'"),
        ('"machine"', '"m"', "'environment'"),
        ('"settings"', '"s"', "'settings'"),
        (r'"accuracy": [\d.]+', '"accuracy": "0.3"', "finite numbers"),
        (r'"seconds": [\d.]+', '"seconds": NaN', "finite numbers"),
        ('"seed": 3', '"seed": 4', "it holds edge-popup:global, sparsity 0.9, seed 4"),
        ('"global"', '"layer"', "it holds edge-popup:layer, sparsity 0.9, seed 3"),
        ('"digest": "', '"digest": "0', "is not the ticket that was measured"),
    ],
)
def test_a_damaged_row_is_no_run(folder: CellFolder, tmp_path: Path, pattern: str, instead: str, words: str) -> None:
    folder.write(CELL, finished(folder))
    path = tmp_path / "grid" / "cells" / f"{CELL.name}.json"
    whole = path.read_text()
    path.write_text(re.sub(pattern, instead, whole))
    assert path.read_text() != whole
    reporter = RecordingReporter()
    assert folder.read(CELL, reporter) is None
    (note,) = reporter.notes
    assert note.startswith(f"{path} is damaged (")
    assert note.endswith("); this cell is run again")
    assert words in note


@pytest.mark.parametrize("damage", ["truncated", "other", "removed"])
def test_a_run_with_a_damaged_ticket_is_no_run(folder: CellFolder, damage: str) -> None:
    folder.write(CELL, finished(folder))
    path = folder.ticket(CELL)
    if damage == "removed":
        path.unlink()
    elif damage == "other":
        small_ticket(codec="rice").save(path)
    else:
        path.write_bytes(path.read_bytes()[:-10])
    reporter = RecordingReporter()
    assert folder.read(CELL, reporter) is None
    assert str(path) in reporter.notes[0]


def test_an_error_lasts_until_it_is_removed(folder: CellFolder) -> None:
    path = folder.write_error(CELL, "Traceback: früh\n")
    assert path.name == f"{CELL.name}.error.txt"
    assert path.read_text(encoding="utf-8") == "Traceback: früh\n"
    assert folder.names() == set()
    assert folder.read(CELL, RecordingReporter()) is None
    folder.write_error(CELL, "later")
    assert path.read_text() == "later"
    folder.remove_error(DENSE)
    assert path.exists()  # another cell's
    folder.remove_error(CELL)
    folder.remove_error(CELL)
    assert not path.exists()


def test_a_folder_of_other_settings_is_refused(folder: CellFolder, tmp_path: Path) -> None:
    CellFolder(tmp_path / "grid", {"model": "other"})  # nothing is finished yet
    folder.write(CELL, finished(folder))
    for settings, words in (
        ({**SETTINGS, "steps": 61}, r"holds results of other settings: steps is 60 there, 61 here; give another"),
        ({**SETTINGS, "model": "x", "steps": 1}, r'model is "lenet-5" there, "x" here; steps is 60 there, 1 here'),
        ({**SETTINGS, "rate": 0.5}, r"rate is null there, 0\.5 here"),
        ({"steps": 60, "preprocessing": {"size": 8}}, r'model is "lenet-5" there, null here'),
        ({**SETTINGS, "preprocessing": {"size": 8, "mean": [0.1] * 99}}, r"there, \{.{56}\.\.\. here"),
    ):
        with pytest.raises(UsageError, match=words):
            CellFolder(tmp_path / "grid", settings)
    assert CellFolder(tmp_path / "grid", dict(SETTINGS)).names() == {CELL.name}


def test_a_damaged_row_does_not_stand_in_the_way(folder: CellFolder, tmp_path: Path) -> None:
    """It is told of when it is read."""
    for name, text in (("a", "{"), ("b", "[]"), ("c", "{}"), ("d", '{"settings": 3}')):
        (tmp_path / "grid" / "cells" / f"{name}.json").write_text(text)
    assert CellFolder(tmp_path / "grid", SETTINGS).names() == {"a", "b", "c", "d"} == folder.names()


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="file is a file, expected a folder"):
        CellFolder(tmp_path / "file", SETTINGS)


HOLD = """
import json, sys
from pathlib import Path
from slt_compress.comparison.cells import CellFolder
from slt_compress.comparison.grid import Cell, Contender
folder = CellFolder(Path(sys.argv[1]), json.loads(sys.argv[2]))
cell = Cell(Contender("edge-popup", options={"scope": "global"}), 0.9, 3)
with folder.lock(cell, wait=sys.argv[3] == "wait") as free:
    print(free, flush=True)
    sys.stdin.read(1)
"""


def hold(folder: Path, how: str = "try") -> "subprocess.Popen[str]":
    """Start a process that locks the cell, says whether it got it, and holds it until it is told to end."""
    words = [sys.executable, "-c", HOLD, str(folder), json.dumps(SETTINGS), how]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def answer(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_cell_is_locked_against_other_processes_until_its_own_ends(folder: CellFolder, tmp_path: Path) -> None:
    for end in ("kill", "finish"):
        with hold(tmp_path / "grid") as process:
            assert answer(process) == "True"
            with folder.lock(CELL) as free:
                assert not free
            with folder.lock(DENSE) as free:  # another cell
                assert free
            if end == "kill":
                process.kill()  # SIGKILL
            else:
                process.communicate("x", timeout=60)
            process.wait(60)
        with folder.lock(CELL) as free:
            assert free
    with folder.lock(CELL) as free, hold(tmp_path / "grid") as process:
        assert free
        assert answer(process) == "False"
        process.communicate("x", timeout=60)


def test_a_lock_goes_with_an_error(folder: CellFolder) -> None:
    with pytest.raises(KeyboardInterrupt), folder.lock(CELL):
        raise KeyboardInterrupt
    with folder.lock(CELL) as free:
        assert free


def test_who_waits_gets_the_cell_when_it_is_free(folder: CellFolder, tmp_path: Path) -> None:
    """Either process may wait: the other one here, then this one."""
    with folder.lock(CELL):
        waiting = hold(tmp_path / "grid", "wait")
        assert waiting.stdout is not None
        time.sleep(0.2)
        assert waiting.poll() is None
    with waiting:
        assert answer(waiting) == "True"
        with folder.lock(CELL) as free:
            assert not free
        waiting.kill()
        with folder.lock(CELL, wait=True) as free:
            assert free


def test_locks_of_a_larger_grid_stay(folder: CellFolder, tmp_path: Path) -> None:
    other = replace(CELL, seed=CELL.seed + 1)
    with folder.lock(other):
        with folder.lock(CELL):
            pass
        folder.remove_locks([CELL])
        assert [path.name for path in (tmp_path / "grid" / "locks").iterdir()] == [f"{other.name}.lock"]


def test_locks_are_removed_and_can_be_taken_again(folder: CellFolder, tmp_path: Path) -> None:
    with folder.lock(CELL):
        pass
    folder.remove_locks([CELL])
    folder.remove_locks([CELL])
    assert sorted(path.name for path in (tmp_path / "grid").iterdir()) == ["cells", "tickets"]
    with folder.lock(CELL, wait=True) as free:  # as one who waited for another process does
        assert free
