"""`--config` and `--print-config` of every command, whatever its options are."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from slt_compress.cli import config_file, main
from slt_compress.cli.config_file import Key
from tests.support.commands import commands, document, options
from tests.support.process import Run

KEYS = main.app.keys
TEXT = 'a "b" \\ é\t\x7f😀 [c] # d'


def words(command: str, values: dict[str, Any]) -> list[str]:
    """Return values as the command line has them; arguments come last."""
    flags = options(command)
    first, last = [], []
    for name, value in values.items():
        for one in value if isinstance(value, list) else [value]:
            if f"--{name}" not in flags:
                last.append(str(one))
            elif isinstance(one, bool):
                first += [f"--{name}"] if one else [f"--no-{name}"]
            else:
                first += [f"--{name}", str(one)]
    return [*first, "--", *last] if last else first


def sample(key: Key, default: Any) -> Any:
    """Return a value of a key that is not its default."""
    if key.several:
        return [TEXT, "b=2"]
    if key.kind is bool:
        return not default
    if key.choices:
        return next(choice for choice in key.choices if choice != default)
    if key.kind in (int, float):
        value = 2**63 + 1 if key.maximum > 2**63 else min(key.maximum, max(key.minimum, 7))
        return value if key.kind is int else value / 8 + 1e-5
    return TEXT


def defaults(command: str) -> dict[str, Any]:
    return {parameter.name: parameter.default for parameter in commands()[command].params}


def required(command: str) -> dict[str, Any]:
    missing = [parameter.name for parameter in commands()[command].params if parameter.required]
    return {name: sample(KEYS[command][name], None) for name in missing}


def printed(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    return done.stdout


@pytest.mark.parametrize("command", sorted(commands()))
def test_what_is_printed_runs_the_same(invoke: Run, tmp_path: Path, command: str) -> None:
    """With no option, and with a value for every one: command line → file → file is a fixed point."""
    keys, default = KEYS[command], defaults(command)
    assert set(keys) == {parameter.name for parameter in commands()[command].params} - {"config", "print_config"}
    file = tmp_path / "run.toml"
    every = {name: sample(key, default[name]) for name, key in keys.items() if name != "json"}  # see below
    for values in (required(command), every):
        given = {keys[each].shown: value for each, value in values.items()}
        first = printed(invoke(command, "--print-config", *words(command, given)))
        shown = tomllib.loads(first)[command]
        assert {key: shown[key] for key in given} == given
        unset = {key.shown for key in keys.values()} - set(shown)
        assert all(f"\n# {key} is not set\n" in first for key in unset)
        assert all(default[key.replace("-", "_")] is None for key in unset)
        file.write_text(first)
        assert printed(invoke(command, "--config", file, "--print-config")) == first
        spelled = config_file.spelled_out([command, "--config", str(file), "--print-config"])
        assert not {"--config", str(file)} & set(spelled)
        assert printed(invoke(*spelled)) == first
    assert [path.name for path in tmp_path.iterdir()] == ["run.toml"]


def test_json_gives_the_same_as_a_document(invoke: Run, tmp_path: Path) -> None:
    text = printed(invoke("models", "--print-config", "--classes", 5))
    file = tmp_path / "run.toml"
    file.write_text(text.replace("json = false", "json = true"))
    found = document(invoke("models", "--config", file, "--print-config"))
    assert found == document(invoke("models", "--print-config", "--classes", 5, "--json"))
    assert {key: value for key, value in found["models"].items() if value is not None} == {
        **tomllib.loads(text)["models"],
        "json": True,
    }
    found = document(invoke("search", "x", "--sparsity", "nan", "--print-config", "--json"))
    assert found["search"]["sparsity"] == "nan"


def test_a_file_serves_several_commands_and_the_command_line_wins(invoke: Run, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(
        'model = "lenet-5"\nmax-steps = 3\nseed = 1\noutput = "o"\n'
        "[search]\nseed = 2\nmodel_arg = ['a=1']\n[compare]\nsparsities = [0.5, 0.98]\nmethods = ['random']\n"
    )

    def shown(command: str, *more: object) -> dict[str, Any]:
        text = printed(invoke(command, *more, "--config", "run.toml", "--print-config"))
        return dict(tomllib.loads(text)[command])

    found = shown("search")
    assert (found["model"], found["max-steps"], found["seed"], found["model-arg"]) == ("lenet-5", 3, 2, ["a=1"])
    found = shown("search", "conv2", "--seed", 0, "--model-arg", "b=2")  # 0 and the default are said all the same
    assert (found["model"], found["seed"], found["model-arg"]) == ("conv2", 0, ["b=2"])
    found = shown("compare")
    assert (found["sparsities"], found["methods"], found["output"]) == ("0.5,0.98", "random", "o")


def test_a_failure_says_which_options_come_from_the_file(invoke: Run, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('model = "lenet-5"\nsparsity = 3\njson = true\n')
    answer = document(invoke("search", "--config", "run.toml"), 2)
    assert answer["error"] == "--sparsity must be at least 0 and below 1, got 3; run.toml sets --sparsity"
    answer = document(invoke("search", "--config", "run.toml", "--sparsity", 4), 2)
    assert answer["error"] == "--sparsity must be at least 0 and below 1, got 4"
    assert "run.toml" not in invoke("search", "lenet-5", "--sparsity", 3).stderr


@pytest.mark.parametrize("name", ["run.toml", "./link", "sub/../run.toml"])
def test_the_file_is_never_written_over(invoke: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "run.toml").write_text('model = "lenet-5"\nmax-steps = 2\n')
    (tmp_path / "link").symlink_to("run.toml")
    done = invoke("search", "--config", "run.toml", "--output", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--config and --output are the same file" in done.stderr
    assert (tmp_path / "run.toml").read_text().startswith("model")


@pytest.mark.parametrize("form", [["--config", "run.toml"], ["--config=run.toml"]])
def test_a_call_is_spelled_out_for_who_keeps_it(invoke: Run, tmp_path: Path, form: list[str]) -> None:
    (tmp_path / "run.toml").write_text(
        "model = 'lenet-5'\nseeds = 2\nquiet = true\ndense = false\nmethods = ['random']\n"
    )
    words = ["compare", "--output", "grid", *form, "--seeds", "3", "--print-config"]
    shown = printed(invoke(*words))
    expected = "compare lenet-5 --quiet --no-dense --methods random --output grid --seeds 3 --print-config"
    assert " ".join(config_file.spelled_out(words)) == expected
    assert printed(invoke(*expected.split())) == shown
    assert config_file.spelled_out(["search", "x"]) == ["search", "x"]


def test_a_file_really_runs_a_command(invoke: Run, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('pattern = "conv2"\n[models]\nclasses = 3\njson = true\n')
    found = document(invoke("models", "--config", "run.toml"))
    assert (found["classes"], [entry["name"] for entry in found["models"]]) == (3, ["conv2"])


@pytest.mark.parametrize("flag", ["--config", "--print-config"])
def test_help_comes_first(invoke: Run, flag: str) -> None:
    assert "Usage: " in invoke("search", "--help", flag, *(["none"] if flag == "--config" else [])).stdout


def test_a_name_that_is_no_text_is_refused_in_one_line(invoke: Run) -> None:
    done = invoke("verify", "\udcff", "--print-config")
    assert (done.returncode, done.stdout) == (2, "")
    assert "is no text that a TOML file can hold" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_readme_shows_a_file_that_works(invoke: Run, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "README.md").read_text()
    [block] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "run.toml").write_text(block)
    for command in ("search", "compare"):
        assert 'dataset = "cifar10"\n' in printed(invoke(command, "--config", "run.toml", "--print-config"))
