"""The file of options: its forms, and every way in which one can be wrong."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from slt_compress.cli import config_file
from slt_compress.cli.config_file import COMMAS, MAX_BYTES, Key, keys_of, load, to_toml
from slt_compress.errors import UsageError


def run(
    file: Path,
    max_steps: Annotated[int | None, typer.Option(min=1, max=9)] = None,
    lr: Annotated[float, typer.Option(min=0.5)] = 1,
    rate: float = 1,
    count: int = 1,
    kind: Literal["a", "b"] = "a",
    quiet: bool = False,
    arg: list[str] | None = None,
    sizes: Annotated[str, typer.Option(), COMMAS] = "1",
) -> None:
    """Stand for a command."""


def other(depth: int = 1, quiet: bool = False) -> None:
    """Stand for another one."""


COMMANDS = {"run": keys_of(run), "other-one": keys_of(other)}


def loaded(tmp_path: Path, text: str | bytes, command: str = "run") -> dict[str, Any]:
    path = tmp_path / "c.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(path, command, COMMANDS)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("max_steps = 3", {"max_steps": 3}),
        ('"--max-steps" = 3', {"max_steps": 3}),
        ("max-steps = 3\n[run]\nmax_steps = 4", {"max_steps": 4}),
        ("[run]\nquiet = true\n[other-one]\nno = 'such key'", {"quiet": True}),
        ("depth = 'of another command'\nlr = 1", {"lr": 1.0}),
        ("sizes = [1, 0.5, 'x']", {"sizes": "1,0.5,x"}),
        ("sizes = '1,2'\narg = ['a', 'b,c']", {"sizes": "1,2", "arg": ["a", "b,c"]}),
        (
            "arg = []\nfile = 'x/y'\nkind = 'b'\nrate = inf",
            {"arg": [], "file": "x/y", "kind": "b", "rate": float("inf")},
        ),
    ],
)
def test_forms(tmp_path: Path, text: str, values: dict[str, Any]) -> None:
    assert loaded(tmp_path, text) == values


def test_a_table_may_be_spelled_with_underscores(tmp_path: Path) -> None:
    assert loaded(tmp_path, "[other_one]\ndepth = 2", "other-one") == {"depth": 2}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max-stps = 1", "c.toml has the unknown key max-stps; did you mean max-steps?"),
        ("[run]\nqiet = true", "has the unknown key qiet in [run]; did you mean quiet?"),
        ("[run]\ndepth = 1", "has the unknown key depth in [run]; known: file, max-steps, lr, rate, …"),
        ("config = 'c.toml'", "has the unknown key config; "),
        ("[runn]", "has the unknown table [runn]; did you mean [run]?"),
        ("[zzz]", "has the unknown table [zzz]; known: [run], [other-one]"),
        ("run = 1", "run is a command, expected a table [run], got 1"),
        ("[[run]]", "run is a command, expected a table [run], got [{}]"),
        ("max-steps = 1\nmax_steps = 1", "gives the same key twice: max-steps and max_steps"),
        ("[run]\nmax-steps = 'x'", "max-steps in [run] must be a whole number from 1 to 9, got 'x'"),
        ("max-steps = 10", "max-steps must be a whole number from 1 to 9, got 10"),
        ("max-steps = 2.0", "max-steps must be a whole number from 1 to 9, got 2.0"),
        ("max-steps = true", "max-steps must be a whole number from 1 to 9, got true"),
        ("lr = 0.1", "lr must be a number of at least 0.5, got 0.1"),
        ("lr = nan", "lr must be a number of at least 0.5, got nan"),
        ("rate = '1'", "rate must be a number, got '1'"),
        ("count = 1979-05-27", "count must be a whole number, got 1979-05-27"),
        ("kind = 'c'", "kind must be one of a, b, got 'c'"),
        ("kind = 1", "kind must be one of a, b, got 1"),
        ("quiet = 1", "quiet must be true or false, got 1"),
        ("file = 3", "file must be a string, got 3"),
        ("[run]\nfile = {a = 1}", "file in [run] must be a string, got a table"),
        ('file = "a\\u0000"', "file must be a string, got 'a\\x00'"),
        ("arg = 'a'", "arg must be a list, each a string, got 'a'"),
        ("arg = [1]", "arg must be a list, each a string, got [1]"),
        ("sizes = []", "sizes must be a string or a list, got []"),
        ("sizes = ['1,2']", "sizes must be a string or a list, got ['1,2']"),
        ("file = 3" + "0" * 99, f"got 3{'0' * 59}…"),
        ("a = ", "c.toml is no TOML: Invalid value (at end of document)"),
        ("a = 1\na = 2", "c.toml is no TOML: "),
        ("a = " + "[" * 100_000, "c.toml is no TOML: "),
        ("count = 1" + "0" * 5000, "c.toml is no TOML: "),
        (b"a = '\xff'", "c.toml is not UTF-8 at byte 5, expected a TOML file"),
        (b"\0" * MAX_BYTES + b"\0", "has more than 1,000,000 bytes, expected a TOML file of options"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        loaded(tmp_path, text)
    assert "c.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["none", ".", "none/c.toml", "a\0b", "x" * 300])
def test_files_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"^cannot read `config` .*; expected a TOML file$"):
        load(tmp_path / name, "run", COMMANDS)


@given(
    file=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
    lr=st.floats(0.5, allow_nan=False),
    count=st.integers(),
    arg=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))),
)
def test_every_value_comes_back(tmp_path_factory: pytest.TempPathFactory, **values: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "back.toml"
    path.write_text(to_toml("run", values, "written"), encoding="ascii")
    assert load(path, "run", COMMANDS) == values


def test_flags_of_a_message_are_looked_up_whole() -> None:
    config_file.note_taken(Path("c.toml"), [(Key(name, int), 1) for name in ("dense", "max_steps")])
    try:
        assert config_file.origin("--dense-lr and --max-steps or --max-steps") == "; c.toml sets --max-steps"
        assert config_file.origin("nothing") == ""
    finally:
        config_file.note_taken(None, ())
