"""Logs on disk: what was reported is in them, and a disk that is full ends a log, not the run."""

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from slt_compress.errors import MissingPackageError, OutputError
from slt_compress.progress import TrainingProgress
from slt_compress.training.logs import JsonLines, TensorBoard, fields_of

PROGRESS = TrainingProgress(4, 10, 0.5, 0.25, 0.75, 1234.0)
FIELDS = {
    "step": 4,
    "steps": 10,
    "loss": 0.5,
    "sparsity": 0.25,
    "validation_accuracy": 0.75,
    "images_per_second": 1234.0,
}


def closed(log: JsonLines) -> None:
    assert log._file
    log._file.close()


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_report_has_its_fields() -> None:
    assert fields_of(PROGRESS) == FIELDS
    assert fields_of(replace(PROGRESS, metric=None))["validation_accuracy"] is None
    assert fields_of(replace(PROGRESS, metric_name="f1"))["validation_f1"] == 0.75


def test_json_lines_are_there_at_once_and_a_second_run_appends(tmp_path: Path) -> None:
    path, notes = tmp_path / "log.jsonl", list[str]()
    for turn in range(2):
        log = JsonLines(path, notes.append)
        log("search", PROGRESS)
        assert len(read(path)) == 2 * turn + 1
        log("crbg-0.9-0", replace(PROGRESS, step=5))
        closed(log)
    assert read(path) == 2 * [{"run": "search", **FIELDS}, {"run": "crbg-0.9-0", **FIELDS, "step": 5}]
    assert path.read_text().endswith("}\n")
    assert notes == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_not_finite_is_null(tmp_path: Path, value: float) -> None:
    log = JsonLines(tmp_path / "log.jsonl", pytest.fail)
    log("search", replace(PROGRESS, loss=value, images_per_second=value))
    closed(log)
    assert read(tmp_path / "log.jsonl") == [{"run": "search", **FIELDS, "loss": None, "images_per_second": None}]


def test_a_file_that_cannot_be_opened_is_told_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*no/log\.jsonl: the folder .*no does not exist"):
        JsonLines(tmp_path / "no" / "log.jsonl", pytest.fail)
    with pytest.raises(OutputError, match="it is a folder, expected a file name"):
        JsonLines(tmp_path, pytest.fail)
    (tmp_path / "link").symlink_to(tmp_path / "no" / "log.jsonl")
    with pytest.raises(OutputError, match=r"cannot write .*link: the folder .*no does not exist"):
        JsonLines(tmp_path / "link", pytest.fail)


class Full:
    """A file on a disk without space."""

    def __init__(self) -> None:
        self.tries = 0

    def write(self, _: str) -> None:
        self.tries += 1
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_noted_once_and_does_not_end_the_run(tmp_path: Path) -> None:
    notes = list[str]()
    log = JsonLines(tmp_path / "log.jsonl", notes.append)
    assert not (tmp_path / "log.jsonl").exists()  # before there is something to be told
    log._file = full = Full()  # type: ignore[assignment]
    for _ in range(3):
        log("search", PROGRESS)
    expected = f"cannot write {tmp_path / 'log.jsonl'} any more (No space left on device); continuing without it"
    assert notes == [expected]
    assert full.tries == 1


@pytest.fixture
def board(tmp_path: Path) -> Iterator[tuple[TensorBoard, list[str]]]:
    """A log for TensorBoard in the folder `board`, and what it notes."""
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    notes = list[str]()
    log = TensorBoard(tmp_path / "new" / "board", notes.append)
    yield log, notes
    for writer in log._writers.values():
        writer.close()


def test_tensorboard_has_a_folder_for_each_run(board: tuple[TensorBoard, list[str]], tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    log, notes = board
    for step in (4, 5):
        for run in ("crbg-0.9-0", "dense-0"):
            log(run, replace(PROGRESS, step=step, loss=math.nan if step == 5 else 0.5))
    folder = tmp_path / "new" / "board"
    assert sorted(path.name for path in folder.iterdir()) == ["crbg-0.9-0", "dense-0"]
    for place in folder.iterdir():
        (path,) = place.glob("events.out.tfevents.*")
        found = EventAccumulator(str(path)).Reload()
        assert set(found.Tags()["scalars"]) == set(FIELDS) - {"step", "steps"}
        assert [(one.step, one.value) for one in found.Scalars("sparsity")] == [(4, 0.25), (5, 0.25)]
        assert [(one.step, one.value) for one in found.Scalars("loss")] == [(4, 0.5)]
    assert notes == []


def test_a_folder_of_tensorboard_that_fails_is_noted_once(board: tuple[TensorBoard, list[str]], tmp_path: Path) -> None:
    log, notes = board
    (tmp_path / "new" / "board").mkdir(parents=True)
    (tmp_path / "new" / "board" / "search").write_bytes(b"")  # where the folder of the run would be
    for _ in range(3):
        log("search", PROGRESS)
    (note,) = notes
    assert note.startswith(f"cannot write into {tmp_path / 'new' / 'board'} any more (")
    assert note.endswith("); continuing without it")


def test_a_place_that_is_no_folder_is_told_before_the_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="file is a file, expected a folder"):
        TensorBoard(tmp_path / "file", pytest.fail)


def test_without_tensorboard_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingPackageError, match=r"need the package tensorboard, .*pip install tensor"):
        TensorBoard(tmp_path / "board", pytest.fail)
    assert list(tmp_path.iterdir()) == []
