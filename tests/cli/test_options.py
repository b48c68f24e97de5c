"""Options: the same in every command that has them, with the choices that the library knows, and those of methods."""

import re
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from typer.testing import CliRunner

from slt_compress import prng
from slt_compress.cli import evaluate, export
from slt_compress.cli import options as shared
from slt_compress.cli.main import app
from slt_compress.comparison import run
from slt_compress.config import CHOICES
from slt_compress.data.datasets import DATASET_NAMES
from slt_compress.errors import UsageError
from slt_compress.masking import codecs
from slt_compress.methods import registry
from slt_compress.methods.registry import MethodEntry, Option, Recipe
from slt_compress.training import loop
from slt_compress.training.checkpoint import Checkpoints
from slt_compress.training.device import BF16, FP32
from tests.support.commands import Searched, commands, options
from tests.support.process import Run


def choices(kind: object) -> set[str]:
    return set(get_args(kind))


def test_choices_are_those_the_library_knows() -> None:
    from slt_compress.onnx_export.forms import FORMS

    assert choices(shared.MethodName) == set(registry.METHODS)
    assert choices(shared.RecipeName) == set(registry.recipes())
    assert choices(shared.InitialiserName) == set(CHOICES["initialiser"]) == set(prng.INITIALISERS)
    assert choices(shared.AugmentName) == set(CHOICES["augment"])
    assert choices(shared.PrecisionName) == set(CHOICES["precision"]) == {"auto", BF16, FP32}
    assert choices(shared.CodecName) == set(CHOICES["codec"]) == {"auto", *codecs.CODECS}
    assert choices(shared.StatisticsName) == set(CHOICES["statistics"])
    assert choices(export.FormName) == set(FORMS)
    assert choices(evaluate.BackendName) == {"torch", "onnxruntime"}
    assert set(re.split(r", | or ", shared.DATASETS)) == set(DATASET_NAMES)


def test_search_and_compare_say_the_same_about_every_option_they_share() -> None:
    one, other = options("search"), options("compare")
    common = (set(one) & set(other)) - {"--output"}  # a file there, a folder here
    assert common == {
        *(
            "--dataset",
            "--data-dir",
            "--workers",
            "--skip-unreadable",
            "--input-size",
            "--model-arg",
            "--granularity",
            "--neuron-sparsity",
            "--freeze-ratio",
            "--lock-ratio",
            "--init",
            "--epochs",
        ),
        *("--max-steps", "--batch-size", "--augment", "--precision", "--device", "--json", "--quiet"),
        *("--log", "--tensorboard", "--workers", "--skip-unreadable", "--checkpoint-every"),
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
        parameter = found[f"--{option.name.replace('_', '-')}"]
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


# Of each command: what it may be told that decides what other options mean, and a value of every option.
_OF_BOTH = {
    "--dataset": "mnist",  # is not there
    "--data-dir": ".",
    "--input-size": 12,
    "--model-arg": "depth=3",
    "--workers": 1,
    "--skip-unreadable": None,
    "--granularity": "neuron",
    "--neuron-sparsity": 0.3,
    "--freeze-ratio": 0.4,
    "--lock-ratio": 0.1,
    "--init": "kaiming-normal",
    "--epochs": 1,
    "--max-steps": 3,
    "--batch-size": 32,
    "--augment": "crop",
    "--precision": "bf16",
    "--device": "cpu",
    "--log": "log.jsonl",
    "--tensorboard": "board",
    "--json": None,
    "--quiet": None,
}
_OF_SEARCHED_GATES = {"--granularity", "--neuron-sparsity", "--freeze-ratio", "--lock-ratio"}
_OF_TRAINING = {
    **{flag: value for flag, value in _OF_BOTH.items() if flag not in _OF_SEARCHED_GATES},
    "--init": "uniform",
    "--seed": 1,
    "--lr": 0.5,
    "--codec": "raw",
    "--statistics": "fp32",
    "--output": "other.safetensors",
    "--checkpoint-every": 1,
}
PAIRS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "prune": (
        ["lenet-300-100 --max-steps 2", "lenet-300-100 --max-steps 4 --method magnitude"],
        {
            **_OF_TRAINING,
            "--weights": "t.safetensors",
            "--method": "crbg",
            "--recipe": "paper",
            "--sparsity": 0.5,
            "--scope": "layer",
            "--rounds": 2,
            "--round-ratio": 0.5,
            "--initial-score": 0.1,
            "--penalty": 0.1,
            "--finish": 0.5,
            "--values": "int8",
            "--store-weights": None,
            "--reference": None,
        },
    ),
    "find-ticket": (
        ["lenet-300-100 --max-steps 8", "lenet-300-100 --max-steps 8 --method magnitude"],
        {
            **_OF_TRAINING,
            "--method": "magnitude",
            "--recipe": "paper",
            "--sparsity": 0.5,
            "--rewind-steps": 2,
            "--rounds": 2,
            "--scope": "layer",
            "--store-weights": None,
        },
    ),
    "train": (
        ["t.safetensors --max-steps 2"],
        {
            **_OF_TRAINING,
            "--mask": "t.safetensors",
            "--source": "net.py:build",
            "--teacher": "t.safetensors",
            "--controls": None,
            "--values": "int8",
            "--reference": None,
        },
    ),
    "search": (
        ["lenet-300-100 --max-steps 2", "lenet-300-100 --method random"],
        {
            **_OF_BOTH,
            "--method": "continuous-sparsification",
            "--recipe": "paper",
            "--scope": "layer",
            "--sparsity": 0.5,
            "--max-bytes": "5KB",
            "--head-start": 0.1,
            "--init-from": "t.safetensors",
            "--teacher": "t.safetensors",
            "--seed": 1,
            "--lr": 0.5,
            "--codec": "raw",
            "--statistics": "fp32",
            "--output": "other.safetensors",
            "--checkpoint-every": 1,
            "--resume": None,
            "--reference": None,
        },
    ),
    "compare": (
        [
            "lenet-300-100 --methods random --no-dense --seeds 1 --sparsities 0.9 --output grid",
            "lenet-300-100 --methods crbg --max-steps 2 --no-dense --seeds 1 --sparsities 0.9 --output grid",
            "lenet-300-100 --methods random --max-steps 2 --seeds 1 --sparsities 0.9 --output grid",
        ],
        {
            **_OF_BOTH,
            "--methods": "edge-popup",
            "--sparsities": 0.5,
            "--checkpoint-every": 1,
            "--bytes": "5KB",
            "--models": "lenet-5",
            "--seeds": 2,
            "--dense": None,
            "--dense-lr": 0.01,
            "--shard": "1/2",
            "--output": "other",
        },
    ),
    "evaluate": (
        ["t.safetensors", "t.onnx"],
        {
            "--dataset": "mnist",
            "--data-dir": ".",
            "--workers": 1,
            "--skip-unreadable": None,
            "--backend": "torch",
            "--min-accuracy": 1,
            "--per-class": None,
            "--confusion-matrix": "other.png",
            "--save-predictions": "log.csv",
            "--device": "cpu",
            "--source": "net.py:build",
            "--json": None,
        },
    ),
    "export": (
        ["t.safetensors", "t.safetensors --weights int8"],
        {
            "--output": "other.onnx",
            "--format": "c",
            "--weights": "dense",
            "--opset": 19,
            "--include-preprocessing": None,
            "--portable": None,
            "--keep-structure": None,
            "--layout": "gap",
            "--arithmetic": "fixed",
            "--main": None,
            "--title": "Digits",
            "--runtime": "dist",
            "--dataset": "mnist",
            "--data-dir": ".",
            "--workers": 1,
            "--skip-unreadable": None,
            "--max-accuracy-drop": 0.0,
            "--source": "net.py:build",
            "--json": None,
        },
    ),
    "verify": (["t.safetensors"], {"--source": "net.py:build", "--json": None}),
    "inspect": (["t.safetensors"], {"--json": None}),
    "models": (["conv4"], {"--classes": 3, "--channels": 1, "--input-size": 16, "--max-bytes": "10KB", "--json": None}),
}
# What these ask for would have happened anyway.
SATISFIED = {
    *(("--device", "cpu"), ("--backend", "torch"), ("--max-accuracy-drop", 0.0), ("--dense", None)),
    ("--keep-structure", None),  # this ticket has next to no dead neurons
}
ALWAYS = {("prune", "--store-weights")}  # what is done without being asked for
TIMES = re.compile(rb"[0-9.,]+ images/s|[0-9]+:[0-9]+ left|[0-9.]+ s\\b|\"(images_per_second|seconds)\": [0-9.e-]+")


@pytest.fixture(scope="session")
def exported(searched: Searched, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of the ticket."""
    path = tmp_path_factory.mktemp("exported") / "t.onnx"
    assert CliRunner().invoke(app, ["export", str(searched[0]), "--output", str(path)]).exit_code == 0
    return path


@pytest.mark.parametrize(("name", "base"), [(name, base) for name, (bases, _) in PAIRS.items() for base in bases])
def test_every_option_has_an_effect_or_is_refused(
    name: str,
    base: str,
    invoke: Run,
    searched: Searched,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saved: list[int] = []
    monkeypatch.setattr(Checkpoints, "save", lambda *arguments: saved.append(arguments[2]))
    monkeypatch.setattr(run, "PLOTS", {})  # which would take longer than all else, as would 1,000 steps
    monkeypatch.setattr(loop, "MIN_STEPS", 2)
    monkeypatch.setattr(loop, "DEFAULT_EPOCHS", 2)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")

    def observed(*words: object) -> tuple[int, str, object]:
        """Run it in an empty folder; return its exit code, its words on stderr, and all that came of it."""
        for path in tmp_path.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (tmp_path / "net.py").write_text("def build():\n    raise RuntimeError\n")
        for source in (searched[0], exported):
            shutil.copy(source, tmp_path)
        saved.clear()
        done = invoke(name, *base.split(), *words)
        written = {
            str(path.relative_to(tmp_path)): TIMES.sub(b"", path.read_bytes())
            for path in sorted(tmp_path.rglob("*"))
            if path.is_file() and path.suffix in (".safetensors", ".onnx", ".json")
        }
        names = [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*")) if "tfevents" not in path.name]
        out, err = (TIMES.sub(b"", text.encode()) for text in (done.stdout, done.stderr))
        return done.returncode, done.stderr, (out, err, written, names, list(saved))

    samples = PAIRS[name][1]
    assert set(samples) == set(options(name))
    code, err, usual = observed()
    assert code == 0, err
    for flag, value in samples.items():
        if f"{flag} {value}" in base or (flag, value) in SATISFIED or (name, flag) in ALWAYS:
            continue
        code, err, found = observed(flag, *([] if value is None else [value]))
        if code == 0:
            assert found != usual, flag
        else:
            assert (flag in err and code == 2) or re.search(rf"{value}|net\w*:build", err), (flag, code, err)
        assert "Traceback" not in err


NUMBERS = ("model_arguments", "NAME=NUMBER, such as depth=6")


def test_arguments_of_a_network_are_names_with_numbers() -> None:
    assert shared.numbers([], *NUMBERS) == {}
    assert shared.numbers(["depth=6", "embed_dim=-1"], *NUMBERS) == {"depth": 6, "embed_dim": -1}


@pytest.mark.parametrize(
    "pair", ["depth", "=6", "depth=", "depth=6.0", "depth=six", "depth==6", "depth=1_000", "depth= 6"]
)
def test_other_arguments_of_a_network_are_refused(pair: str) -> None:
    with pytest.raises(UsageError, match=rf"^`model_arguments` takes NAME=NUMBER, such as depth=6, got '{pair}'$"):
        shared.numbers([pair], *NUMBERS)


def test_an_argument_of_a_network_is_given_once() -> None:
    with pytest.raises(UsageError, match="`model_arguments` has depth twice: 6 and 7"):
        shared.numbers(["depth=6", "depth=7"], *NUMBERS)
