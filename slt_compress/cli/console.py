"""The sole printer: results on stdout, everything else on stderr, one JSON document with --json."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from slt_compress.cli import streams
from slt_compress.cli.flags import as_flags
from slt_compress.errors import OutputError, one_line

if TYPE_CHECKING:
    from slt_compress.progress import ReportCount, ReportTraining, TrainingLog, TrainingProgress

_PATIENCE = 2.0  # seconds before a progress bar appears
_TABLE_WIDTH = 1_000  # characters that a table may take; it takes what its columns need
_LINE_EVERY = 10.0  # seconds between two lines about a run, away from a terminal


class _Call:
    """What a failure must know of the running call, wherever it occurs.

    Attributes:
        json: whether it is to be answered with a JSON document.
        answered: whether that has been printed. There is never a second one.
        results: descriptor of the stdout that results go to where `cli.source` keeps it apart; None: `sys.stdout`.
    """

    def __init__(self, json: bool = False) -> None:
        self.json = json
        self.answered = False
        self.results: int | None = None


_call = _Call()


class _Screen(Console):
    """A console that leaves a reader that has gone to `_delivering`, as any other failure of a stream."""

    def on_broken_pipe(self) -> None:
        raise  # rich calls this while it handles the error


class Printer:
    """Prints for one command. With `json` or `quiet` it prints no progress.

    Attributes:
        run: name of the search in logs.
        logs: called at every report of a search or a dense training, with `json` and `quiet` too.
    """

    def __init__(
        self, *, json: bool = False, quiet: bool = False, run: str = "search", results: TextIO | None = None
    ) -> None:
        self._results = results or sys.stdout
        self._json = json
        self.run = run
        self.logs: list[TrainingLog] = []
        self._out: Console = _Screen(file=results, highlight=False, soft_wrap=True)
        self._err: Console = _Screen(stderr=True, highlight=False, soft_wrap=True)
        self.shows_progress = self._err.is_terminal and not (json or quiet)
        self._talks = not (json or quiet)

    def note(self, text: str) -> None:
        """Say what happens next, on stderr."""
        if self._talks:
            self._err.print(plain(as_flags(text)), style="dim")

    def warn(self, text: str) -> None:
        """Say on stderr what must not be missed, with `json` and `quiet` too."""
        self._err.print(plain(as_flags(text)))

    def result(self, document: Mapping[str, Any], lines: Sequence[tuple[str, str]], advice: str = "") -> None:
        """Print a result: the JSON document with `json`, else one line per (label, value), then the next command.

        Raises OutputError if stdout cannot be written.
        """
        with _delivering(self._results, "; files that were written stay"):
            if self._json:
                self._results.write(json.dumps(document, allow_nan=False) + "\n")
                _call.answered = True
                return
            width = max(len(label) for label, _ in lines)
            for label, value in lines:
                self._out.print(f"[bold]{escape(label.ljust(width))}[/bold]  {plain(value)}")
            if advice:
                self._out.print(f"\n{plain(advice)}")

    def document(self, document: Mapping[str, Any], text: str) -> None:
        """Print a result that is a text of its own, or with `json` its document."""
        if self._json:
            self.result(document, ())
        else:
            self.line(text)

    def text(self, text: str) -> None:
        """Print a line for people between tables; nothing with JSON."""
        if not self._json:
            self.line(f"{text}\n")

    def line(self, text: str) -> None:
        """Print a line that another program may read, which brings its end along, as it is."""
        with _delivering(self._results):
            self._results.write(text)

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table, its first column to the left and the others to the right; nothing with JSON."""
        if self._json:
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for index, heading in enumerate(headings):
            table.add_column(heading, justify="left" if index == 0 else "right", no_wrap=True)
        for row in rows:
            table.add_row(*map(plain, row))
        # A table never wraps its rows: piped into a file it would lose its columns.
        with _delivering(self._results):
            _Screen(file=self._results, highlight=False, width=_TABLE_WIDTH).print(table)

    @contextlib.contextmanager
    def training_progress(self) -> Iterator["ReportTraining | None"]:
        """Show a search or dense training: loss, sparsity, accuracy of the hard mask, speed, time left.

        On a terminal that is a bar. Elsewhere it is a plain line at a report, at most every ten seconds.
        """
        if not self.shows_progress:
            yield _together(self.plain_lines(), *(partial(log, self.run) for log in self.logs))
            return
        columns = (
            TextColumn("training"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._err, transient=True) as bar:
            task = bar.add_task("", total=None, state="")

            def show(progress: "TrainingProgress") -> None:
                bar.update(task, completed=progress.step, total=progress.steps, state=_training_state(progress))

            yield _together(show, *(partial(log, self.run) for log in self.logs))

    def plain_lines(self, run: str = "") -> "ReportTraining | None":
        """Return what prints a line at a report, at most every ten seconds; None with `json` or `quiet`."""
        if not self._talks:
            return None
        last = time.monotonic()
        first: tuple[float, int] | None = None  # time and step of the first report, which a resumed run makes late

        def show(progress: "TrainingProgress") -> None:
            nonlocal last, first
            now = time.monotonic()
            first = first or (now, progress.step)
            if now - last >= _LINE_EVERY and first[1] < progress.step < progress.steps:
                last = now
                left = (now - first[0]) / (progress.step - first[1]) * (progress.steps - progress.step)
                self.note(f"{run}{_training_state(progress)}  {duration(left)} left")

        return show

    @contextlib.contextmanager
    def counter(self, what: str) -> Iterator["ReportCount | None"]:
        """Show how many of a total are done, once it has taken two seconds."""
        if not self.shows_progress:
            yield None
            return
        columns = (TextColumn(what), BarColumn(bar_width=24), TextColumn("{task.completed}/{task.total}"))
        with Progress(*columns, TimeRemainingColumn(), console=self._err, transient=True) as bar:
            task = bar.add_task("", total=None, visible=False)
            start = time.monotonic()

            def show(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total, visible=time.monotonic() - start > _PATIENCE)

            yield show

    @contextlib.contextmanager
    def grid_progress(self, cells: int, finished: int, steps: int) -> Iterator["GridProgress"]:
        """Show a running comparison: cells finished of all, time left for `steps` more, the running cell beneath."""
        if not self.shows_progress:
            yield GridProgress(self, None, cells, finished, steps)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
        )
        # Cells of one grid differ in speed: the time left is judged by the whole run, not by the last seconds.
        with Progress(*columns, console=self._err, transient=True, speed_estimate_period=86_400) as bar:
            yield GridProgress(self, bar, cells, finished, steps)


class GridProgress:
    """Progress over a grid of runs; each run tells it how it goes.

    Away from a terminal it prints one line per finished cell, and plain lines about long ones.
    """

    def __init__(self, printer: Printer, bar: Progress | None, cells: int, finished: int, steps: int) -> None:
        self._printer = printer
        self._bar = bar
        self._cells, self._finished, self._steps_done = cells, finished, 0
        self._cell = ""
        if bar:
            self._grid = bar.add_task("comparing", total=steps, state=self._state())
            self._run = bar.add_task("", total=None, state="")

    def _state(self) -> str:
        return f"{self._finished}/{self._cells} cells"

    def begin(self, cell: str) -> None:
        self._cell = cell
        if self._bar:
            self._bar.reset(self._run, total=None, description=plain(cell), state="")

    def finish(self, result: str, steps: int) -> None:
        """Count a cell of so many optimiser steps as finished and say what came of it."""
        self._finished += 1
        self._steps_done += steps
        if self._bar:
            self._bar.update(self._grid, completed=self._steps_done, state=self._state())
        self._printer.note(f"{self._state()}  {result}")

    def note(self, text: str) -> None:
        """Print nothing: a finished run gets its own line."""

    @contextlib.contextmanager
    def counter(self, what: str) -> Iterator["ReportCount | None"]:
        """Show what the running cell does beside searching, such as evaluating."""
        bar = self._bar
        if bar is None:
            yield None
            return
        yield lambda done, total: bar.update(self._run, completed=done, total=total, state=f"{what} {done}/{total}")

    @contextlib.contextmanager
    def training_progress(self) -> Iterator["ReportTraining | None"]:
        bar = self._bar
        logs = [partial(log, self._cell) for log in self._printer.logs]
        if bar is None:
            yield _together(self._printer.plain_lines(f"{self._cell}: "), *logs)
            return

        def show(progress: "TrainingProgress") -> None:
            bar.update(self._run, completed=progress.step, total=progress.steps, state=_training_state(progress))
            bar.update(self._grid, completed=self._steps_done + progress.step)

        yield _together(show, *logs)


def _together(*reports: "ReportTraining | None") -> "ReportTraining | None":
    """Return one callback that calls all of these, or None if there are none."""
    chosen = [report for report in reports if report]
    if not chosen:
        return None

    def report(progress: "TrainingProgress") -> None:
        for each in chosen:
            each(progress)

    return report


def _training_state(progress: "TrainingProgress") -> str:
    metric = "" if progress.metric is None else f"{progress.metric_name} {progress.metric:.3f}  "
    return (
        f"{progress.step}/{progress.steps} steps  loss {progress.loss:.3f}  sparsity {progress.sparsity:.3f}  "
        f"{metric}{progress.images_per_second:,.0f} images/s"
    )


def duration(seconds: float) -> str:
    """Return a time as a person reads it: h:mm:ss, or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def begin(*, json: bool) -> None:
    """Note that a call of the command line begins, and whether a failure is to be answered with JSON."""
    global _call  # a process runs one call at a time
    if _call.results is not None:
        os.close(_call.results)
    _call = _Call(json)


def want_json() -> None:
    """Note that a failure of the running call is to be answered with JSON, as a file of options says."""
    _call.json = True


def keep_stdout(descriptor: int) -> None:
    """Note where stdout was before other output was led away from it. The descriptor is copied."""
    _call.results = os.dup(descriptor)


def error(text: str, exit_code: int = 1) -> None:
    """Print one failure on stderr, and with `--json` its document on stdout."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[bold red]error:[/bold red] {plain(text)}")
    answer(text, exit_code)


def answer(text: str, exit_code: int) -> None:
    """Print the JSON document of a failure on stdout, if it is wanted and no document has been printed."""
    leads = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun has started, one answers
    if not _call.json or _call.answered or not leads:
        return
    _call.answered = True
    line = json.dumps({"error": text, "exit_code": exit_code}) + "\n"
    with contextlib.suppress(OSError):
        if _call.results is not None:
            os.write(_call.results, line.encode())
            return
        sys.stdout.write(line)
        sys.stdout.flush()


def finish(failure: OSError | None = None) -> int:
    """Write what stdout still holds. Return 0, or the exit code if that fails, or has failed, which is told then."""
    try:
        with _delivering(sys.stdout):
            if failure:
                raise failure
    except OutputError as told:
        error(str(told), told.exit_code)
        return told.exit_code
    return 0


@contextlib.contextmanager
def _delivering(stream: TextIO, addition: str = "") -> Iterator[None]:
    """Raise OutputError, with an addition, if what is printed in the block, or before, cannot be written."""
    try:
        yield
        stream.flush()
    except OSError as failure:
        streams.silence(stream)
        raise OutputError(f"cannot write to standard output: {failure.strerror or failure}{addition}") from failure


def plain(text: str) -> str:
    """Make text from a file or a user safe for a terminal: no markup, one line, control characters as escapes."""
    return escape(one_line(text))


def size(count: int) -> str:
    """Return a number of bytes as a person reads it, powers of 1000."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}" if count < 1000 * factor else f"{count / factor:.0f} {unit}"
    return f"{count} bytes"
