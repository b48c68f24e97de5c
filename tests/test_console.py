"""What reaches the terminal: results on stdout, the rest on stderr, text from files as plain text."""

import json

import pytest

from slt_compress import console


def test_results_go_to_stdout_and_notes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    printer = console.Printer()
    printer.note("working")
    printer.result({"a": 1}, [("one", "1"), ("twenty", "20")], advice="next: go")
    out, err = capsys.readouterr()
    assert out == "one     1\ntwenty  20\n\nnext: go\n"
    assert err == "working\n"


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
    with printer.search_progress() as report, printer.counter("counting") as count:
        assert report is None
        assert count is None
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1440, "1.44 KB"), (44_700_000, "44.7 MB"), (2e9, "2 GB")]
)
def test_sizes(count: int, text: str) -> None:
    assert console.size(count) == text
