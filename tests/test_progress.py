"""Reporters: the silent one looks at nothing, and the console's is one of them."""

import pytest

from slt_compress.cli.console import Printer
from slt_compress.progress import SILENT, GridReporter, ProgressReporter, warn
from tests.support.reporters import RecordingReporter


def test_nobody_looks_at_a_silent_job() -> None:
    SILENT.note("said to nobody")
    with SILENT.counter("reading") as report:
        assert report is None
    with SILENT.training_progress() as report_training:
        assert report_training is None


def test_the_console_is_a_reporter() -> None:
    of_a_grid: GridReporter = Printer(quiet=True)
    reporter: ProgressReporter = of_a_grid
    with reporter.counter("reading") as report:
        assert report is None
    with of_a_grid.grid_progress(2, 1, 10) as of_a_cell, of_a_cell.training_progress() as report_training:
        assert report_training is None


def test_what_must_not_be_missed_is_shown_by_quiet_reporters_too(capsys: pytest.CaptureFixture[str]) -> None:
    for reporter in (SILENT, Printer(quiet=True)):
        warn(reporter, "half of it is left out")
    assert capsys.readouterr().err == "half of it is left out\n"
    plain = RecordingReporter()
    warn(plain, "half of it is left out")
    assert plain.notes == ["half of it is left out"]
