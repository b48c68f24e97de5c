"""What reaches the terminal: results on stdout, the rest on stderr, text from files as plain text."""

import io
import json

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


def test_no_progress_away_from_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    printer = console.Printer()
    with printer.training_progress() as report, printer.counter("counting") as count:
        assert report is None
        assert count is None
    assert capsys.readouterr() == ("", "")


def test_a_grid_away_from_a_terminal_has_one_line_per_finished_cell(capsys: pytest.CaptureFixture[str]) -> None:
    for options, expected in (({}, "2/3 cells  b: fine\n"), ({"quiet": True}, ""), ({"json": True}, "")):
        with console.Printer(**options).grid_progress(3, 1, 10) as grid:
            grid.begin("b")
            grid.note("words of a single search")
            with grid.training_progress() as report, grid.counter("evaluating") as count:
                assert report is None
                assert count is None
            grid.finish("b: fine", 10)
        assert capsys.readouterr() == ("", expected)


def test_a_grid_on_a_terminal_shows_the_whole_and_the_running_cell() -> None:
    screen = io.StringIO()
    printer = console.Printer()
    printer._err = Console(file=screen, force_terminal=True, width=150, color_system=None)
    printer.shows_progress = True
    with printer.grid_progress(3, 1, 20) as grid:
        grid.begin("crbg-0.9-0")
        with grid.training_progress() as report:
            assert report is not None
            report(TrainingProgress(4, 10, 0.5, 0.25, 0.75, 1234))
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
