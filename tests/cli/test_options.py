"""Options: the same in every command that has them, with the choices that the library knows, and those of methods."""

import re
from typing import Any, get_args

import pytest
import typer
from typer.testing import CliRunner

from slt_compress import prng
from slt_compress.cli import evaluate, export, search
from slt_compress.cli import options as shared
from slt_compress.cli.main import app
from slt_compress.config import CHOICES
from slt_compress.data.datasets import DATASET_NAMES
from slt_compress.masking import codecs
from slt_compress.methods import registry
from slt_compress.methods.registry import MethodEntry, Option, Recipe
from slt_compress.training.device import BF16, FP32
from tests.support.commands import commands, options


def choices(kind: object) -> set[str]:
    return set(get_args(kind))


def test_choices_are_those_the_library_knows() -> None:
    from slt_compress.onnx_export.forms import FORMS

    assert choices(shared.MethodName) == set(registry.METHODS)
    assert choices(shared.RecipeName) == set(registry.recipes())
    assert choices(shared.InitialiserName) == set(CHOICES["initialiser"]) == set(prng.INITIALISERS)
    assert choices(shared.AugmentName) == set(CHOICES["augment"])
    assert choices(shared.PrecisionName) == set(CHOICES["precision"]) == {"auto", BF16, FP32}
    assert choices(search.CodecName) == set(CHOICES["codec"]) == {"auto", *codecs.CODECS}
    assert choices(search.StatisticsName) == set(CHOICES["statistics"])
    assert choices(export.FormName) == set(FORMS)
    assert choices(evaluate.BackendName) == {"torch", "onnxruntime"}
    assert set(re.split(r", | or ", shared.DATASETS)) == set(DATASET_NAMES)


def test_search_and_compare_say_the_same_about_every_option_they_share() -> None:
    one, other = options("search"), options("compare")
    common = (set(one) & set(other)) - {"--output"}  # a file there, a folder here
    assert common == {
        *("--dataset", "--data-dir", "--input-size", "--freeze-ratio", "--lock-ratio", "--init", "--epochs"),
        *("--max-steps", "--batch-size", "--augment", "--precision", "--device", "--json", "--quiet"),
        *("--log", "--tensorboard", "--workers", "--skip-unreadable"),
    }
    for flag in common:
        for attribute in ("help", "rich_help_panel", "default", "metavar"):
            assert getattr(one[flag], attribute) == getattr(other[flag], attribute), (flag, attribute)
    model, same = (commands()[name].params[0] for name in ("search", "compare"))
    assert model.name == same.name
    assert model.help == f"{same.help} Or a function of yours that builds a torch module."


@pytest.mark.parametrize("flag", ["--data-dir", "--device", "--json", "--quiet", "--workers", "--skip-unreadable"])
def test_an_option_of_several_commands_has_one_help_text(flag: str) -> None:
    texts = [options(name)[flag].help for name in commands() if flag in options(name)]
    assert len(texts) >= 2
    assert len(set(texts)) == 1


@pytest.mark.parametrize("name", commands())
def test_every_option_is_explained_and_every_command_has_an_example(name: str) -> None:
    command = commands()[name]
    assert command.help
    assert f"slt-compress {name}" in command.epilog
    for flag, option in options(name).items():
        assert option.help, flag


def test_search_has_an_option_for_each_that_a_method_understands() -> None:
    found = options("search")
    for option in registry.options().values():
        parameter = found[f"--{option.name}"]
        assert parameter.help == option.help.replace("[", r"\[")
        assert parameter.default is None
        assert parameter.rich_help_panel == "Gates"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a command with the options of methods is called with; another method has been registered."""
    entry = MethodEntry(
        {"default": Recipe("nowhere:Nothing")},
        (
            Option("depth", int, "A number."),
            Option("rate", float, "Another."),
            Option("mode", str, "A", ("up", "down")),
        ),
    )
    monkeypatch.setitem(registry.METHODS, "another", entry)
    return {}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {}),
        (["--depth", "3"], {"depth": 3}),
        (["--rate", "0", "--mode", "down", "--scope", "layer"], {"rate": 0.0, "mode": "down", "scope": "layer"}),
    ],
)
def test_a_command_gets_the_options_that_were_given(
    seen: dict[str, Any], words: list[str], expected: dict[str, Any]
) -> None:
    def command(name: str, flag: bool = False, *, options: dict[str, Any]) -> None:
        """Say what it does."""
        seen.update(name=name, flag=flag, options=options)

    app = typer.Typer()
    app.command()(shared.with_method_options(command))
    done = CliRunner().invoke(app, ["x", "--flag", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert seen == {"name": "x", "flag": True, "options": expected}
    shown = CliRunner().invoke(app, ["--help"]).output
    for word in ("Say what it does.", "--depth", "--rate", "--mode", "--scope"):
        assert word in shown


@pytest.mark.parametrize("words", [["--depth", "x"], ["--mode", "left"], ["--rate", ""]])
def test_values_of_another_type_or_choice_are_refused(seen: dict[str, Any], words: list[str]) -> None:
    def command(*, options: dict[str, Any]) -> None:
        seen.update(options=options)

    app = typer.Typer()
    app.command()(shared.with_method_options(command))
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert words[0] in done.stderr
    assert seen == {}


@pytest.mark.parametrize("name", sorted(commands()))
def test_the_help_shows_every_default_that_its_texts_tell(name: str) -> None:
    """Markup between brackets would be swallowed."""
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "400", "TERMINAL_WIDTH": "400"}).stdout
    told = [
        text for option in commands()[name].params for text in re.findall(r"\[default: ([^]]+)\]", option.help or "")
    ]
    for text in told:
        assert f"[default: {text}]" in " ".join(shown.split())
