"""Reporters: the silent one looks at nothing, and the console's is one of them."""

from slt_compress.cli.console import Printer
from slt_compress.progress import SILENT, GridReporter, ProgressReporter


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
