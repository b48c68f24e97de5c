"""What reaches the terminal: results on stdout, the rest on stderr, text from files as plain text."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

from slt_compress.cli import console
from slt_compress.progress import TrainingProgress


def test_results_go_to_stdout_and_notes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    printer = console.Printer()
    printer.note("working")
    printer.result({"a": 1}, [("one", "1"), ("twenty", "20")], advice="next: go")
    out, err = capsys.readouterr()
    assert out == "one     1\ntwenty  20\n\nnext: go\n"
    assert err == "working\n"


def test_a_note_names_flags_and_a_result_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    printer = console.Printer()
    printer.note("`resume` would continue")
    printer.result({}, [("class", "`resume`")])
    assert capsys.readouterr() == ("class  `resume`\n", "--resume would continue\n")


def test_json_is_exactly_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    printer = console.Printer(json=True)
    printer.note("working")
    printer.table(("a",), [("1",)])
    printer.result({"a": 1}, [("one", "1")], advice="next: go")
    out, err = capsys.readouterr()
    assert json.loads(out) == {"a": 1}
    assert err == ""


def test_text_from_a_file_is_neither_markup_nor_control(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "[red]x[/red] \x1b[2J \r \u202e end"
    console.Printer().result({}, [("class", hostile)])
    console.error(hostile)
    console.Printer().table(("name",), [(hostile,)])
    for text in capsys.readouterr():
        assert "[red]x[/red] \\x1b[2J \\r \\u202e end" in text


class Clock:
    """Time that stands still until it is told to pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(console, "time", found)
    return found


def progress(step: int, steps: int = 1000, accuracy: float | None = 0.75) -> TrainingProgress:
    return TrainingProgress(step, steps, 0.5, 0.25, accuracy, 1234)


STATE = "loss 0.500  sparsity 0.250  accuracy 0.750  1,234 images/s"


def test_away_from_a_terminal_a_line_comes_about_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    with console.Printer().training_progress() as report:
        assert report is not None
        shown = {}
        for step in range(100, 1001, 100):
            clock.now += 4
            report(progress(step))
            shown[step] = capsys.readouterr().err
    lines = {step: line for step, line in shown.items() if line}
    assert lines == {  # after 12, 24 and 36 seconds, of 40; the first report came after 4
        300: f"300/1000 steps  {STATE}  0:28 left\n",
        600: f"600/1000 steps  {STATE}  0:16 left\n",
        900: f"900/1000 steps  {STATE}  0:04 left\n",
    }


def test_no_line_before_ten_seconds_nor_for_the_last_step(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    with console.Printer().training_progress() as report:
        assert report is not None
        for step, second in ((1, 1000.5), (999, 1009.9), (1000, 2000.0)):
            clock.now = second
            report(progress(step))
    assert capsys.readouterr() == ("", "")


def test_a_single_report_says_nothing_of_the_time_left(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    """A speed needs two."""
    with console.Printer().training_progress() as report:
        assert report is not None
        clock.now += 60
        report(progress(100))
        assert capsys.readouterr().err == ""
        clock.now += 60
        report(progress(200))
    assert capsys.readouterr().err == f"200/1000 steps  {STATE}  8:00 left\n"


def test_the_time_left_of_a_resumed_run_is_judged_by_its_own_steps(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    with console.Printer().training_progress() as report:
        assert report is not None
        for step in (90_000, 90_001):
            clock.now += 10
            report(progress(step, 91_000))
    assert capsys.readouterr().err == f"90001/91000 steps  {STATE}  2:46:30 left\n"


def test_an_accuracy_that_is_not_known_is_not_shown(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    with console.Printer().training_progress() as report:
        assert report is not None
        for step in (10, 20):
            clock.now += 10
            report(progress(step, 100, accuracy=None))
    assert "sparsity 0.250  1,234 images/s" in capsys.readouterr().err


@pytest.mark.parametrize("options", [{"json": True}, {"quiet": True}])
def test_with_json_or_quiet_nothing_is_measured_unless_there_is_a_log(
    capsys: pytest.CaptureFixture[str], clock: Clock, options: dict[str, Any]
) -> None:
    printer = console.Printer(**options)
    with printer.training_progress() as report, printer.counter("counting") as count:
        assert report is None
        assert count is None
    logged: list[tuple[str, int]] = []
    printer.logs.append(lambda run, found: logged.append((run, found.step)))
    with printer.training_progress() as report:
        assert report is not None
        for step in (1, 2):
            clock.now += 100
            report(progress(step))
    assert logged == [("search", 1), ("search", 2)]
    assert capsys.readouterr() == ("", "")


def test_logs_are_told_of_every_report_beside_the_lines(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    printer, logged = console.Printer(), list[tuple[str, int]]()
    printer.logs += 2 * [lambda run, found: logged.append((run, found.step))]
    with printer.grid_progress(3, 1, 10) as grid:
        grid.begin("crbg-0.9-0")
        with grid.training_progress() as report:
            assert report is not None
            for step in (10, 20):
                clock.now += 10
                report(progress(step, 100))
    assert logged == [("crbg-0.9-0", 10)] * 2 + [("crbg-0.9-0", 20)] * 2
    assert capsys.readouterr().err == f"crbg-0.9-0: 20/100 steps  {STATE}  1:20 left\n"


def test_each_cell_of_a_grid_has_its_own_ten_seconds(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    with console.Printer().grid_progress(3, 0, 10) as grid:
        for cell in ("a", "b"):
            grid.begin(cell)
            with grid.training_progress() as report:
                assert report is not None
                for step in (1, 2, 3):
                    clock.now += 4
                    report(progress(step, 4))
            clock.now += 1000
    assert [line.partition(" ")[0] for line in capsys.readouterr().err.splitlines()] == ["a:", "b:"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (0.4, "0:00"),
        (9.6, "0:10"),
        (59.6, "1:00"),
        (61, "1:01"),
        (3599.7, "1:00:00"),
        (90_061, "25:01:01"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text


def test_a_grid_away_from_a_terminal_has_one_line_per_finished_cell(capsys: pytest.CaptureFixture[str]) -> None:
    kinds: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, "2/3 cells  b: fine\n"),
        ({"quiet": True}, ""),
        ({"json": True}, ""),
    )
    for options, expected in kinds:
        with console.Printer(**options).grid_progress(3, 1, 10) as grid:
            grid.begin("b")
            grid.note("words of a single search")
            with grid.training_progress() as report, grid.counter("evaluating") as count:
                assert (report is None) == bool(options)
                assert count is None
            grid.finish("b: fine", 10)
        assert capsys.readouterr() == ("", expected)


def test_a_grid_on_a_terminal_shows_the_whole_and_the_running_cell() -> None:
    screen = io.StringIO()
    printer = console.Printer()
    printer._err = Console(file=screen, force_terminal=True, width=150, color_system=None)
    printer.shows_progress = True
    logged = list[tuple[str, TrainingProgress]]()
    printer.logs.append(lambda *found: logged.append(found))
    with printer.grid_progress(3, 1, 20) as grid:
        grid.begin("crbg-0.9-0")
        with grid.training_progress() as report:
            assert report is not None
            report(progress(4, 10))
            assert logged == [("crbg-0.9-0", progress(4, 10))]
            (whole, cell) = grid._bar.tasks  # type: ignore[union-attr]
            assert (whole.completed, whole.total, whole.fields["state"]) == (4, 20, "1/3 cells")
            assert (cell.description, cell.completed, cell.total) == ("crbg-0.9-0", 4, 10)
        with grid.counter("evaluating on test images") as count:
            assert count is not None
            count(5, 50)
            assert cell.fields["state"] == "evaluating on test images 5/50"
        grid.finish("crbg-0.9-0: fine", 10)
        assert (whole.completed, whole.fields["state"]) == (10, "2/3 cells")
    assert "2/3 cells  crbg-0.9-0: fine\n" in screen.getvalue()


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1440, "1.44 KB"), (44_700_000, "44.7 MB"), (2e9, "2 GB")]
)
def test_sizes(count: int, text: str) -> None:
    assert console.size(count) == text
