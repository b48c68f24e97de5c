"""The command line as a user meets it: help without anything heavy, and the whole road in real processes."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from slt_compress.version import __version__
from tests.support.commands import Searched, commands, document, options
from tests.support.process import Run, run_cli

HEAVY = (
    *("torch", "torchvision", "timm", "numpy", "onnx", "onnxruntime", "onnxscript"),
    *("sklearn", "safetensors", "PIL", "matplotlib"),
)


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_application_loads_nothing_heavy() -> None:
    code = f"import sys, slt_compress.cli.main\nprint(sorted(set({HEAVY}) & set(sys.modules)))"
    assert run_python(code) == "[]"


def test_every_help_works_where_nothing_heavy_can_be_imported() -> None:
    calls = [["--help"], ["-h"], ["--version"], *([name, flag] for name in commands() for flag in ("--help", "-h"))]
    code = (
        f"import sys\nsys.modules.update(dict.fromkeys({HEAVY}))\n"
        "from typer.testing import CliRunner\nfrom slt_compress.cli.main import app\n"
        f"for words in {calls}:\n"
        "    done = CliRunner().invoke(app, words, catch_exceptions=False)\n"
        "    assert done.exit_code == 0, (words, done.output)\n"
        "print('fine')"
    )
    assert run_python(code) == "fine"


def test_help_names_every_command_and_option(invoke: Run) -> None:
    overview = invoke("--help").stdout
    assert set(commands()) == {
        *("search", "evaluate", "export", "bench", "inspect", "verify", "compare", "models", "doctor"),
        *("push", "predict", "assess", "monitor", "prune", "find-ticket", "train"),
    }
    for name, command in commands().items():
        assert command.help.splitlines()[0] in overview
        shown = invoke(name, "-h").stdout
        for flag in options(name):
            assert flag in shown, (name, flag)
        assert f"slt-compress {name}" in shown  # an example


def test_without_a_command_there_is_help_and_with_version_a_version(invoke: Run) -> None:
    assert "Usage: " in invoke().stdout
    assert invoke("--version").stdout == f"slt-compress {__version__}\n"


def test_messages_and_codes_reach_the_shell(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "t.safetensors").write_bytes(b"noise")
    for arguments, code, words in (
        (("search", "lenet-5", "--output", "no/t.safetensors"), 1, "error: cannot write no/t.safetensors"),
        (("search", "lenet-5", "--sparsity", 1), 2, "error: --sparsity must be at least 0 and below 1, got 1"),
        (("inspect", "t.safetensors"), 3, "error: t.safetensors is not a valid ticket"),
    ):
        done = cli(*arguments)
        assert done.returncode == code
        assert done.stderr.startswith(words)
        assert done.stdout == ""


def test_the_whole_road_agrees(searched: Searched, tmp_path: Path) -> None:
    path, found = searched
    torch_result = document(run_cli("evaluate", path, "--json", cwd=tmp_path))
    exported = document(run_cli("export", path, "--output", "t.onnx", "--json", cwd=tmp_path))
    onnx_result = document(run_cli("evaluate", "t.onnx", "--json", cwd=tmp_path))
    assert torch_result["accuracy"] == found["accuracy"] == onnx_result["accuracy"]
    assert torch_result["loss"] == pytest.approx(found["loss"])
    assert (torch_result["backend"], onnx_result["backend"]) == ("torch", "onnxruntime")
    assert torch_result["samples"] == 360
    assert torch_result["sparsity"] == onnx_result["sparsity"] == found["sparsity"]
    assert exported["bytes"] == onnx_result["bytes"] == (tmp_path / "t.onnx").stat().st_size
    assert exported["max_abs_difference"] < 1e-4
    assert exported["bit_identical_to_dense"]
    assert exported["pictures"] == exported["predictions_equal"] == 360


def test_a_ticket_with_fixed_gates_goes_the_whole_road(invoke: Run) -> None:
    options = ("--method", "edge-popup", "--scope", "global", "--recipe", "paper", "--max-steps", 20)
    fixed = ("--freeze-ratio", 0.7, "--lock-ratio", 0.1, "--sparsity", 0.8)
    found = document(invoke("search", "lenet-300-100", *options, *fixed, "--output", "t.safetensors", "--json"))
    assert found["sparsity"] == pytest.approx(0.8, abs=0.0005)
    shown = document(invoke("inspect", "t.safetensors", "--json"))
    assert (shown["freeze_ratio"], shown["lock_ratio"]) == (0.7, 0.1)
    assert shown["method"]["settings"]["scope"] == "global"
    assert shown["method"]["settings"]["recipe"] == "paper"
    assert "70.0% of the mask by the seed: 10.0% kept, 60.0% dropped" in invoke("inspect", "t.safetensors").stdout
    assert invoke("verify", "t.safetensors").returncode == 0
    assert invoke("export", "t.safetensors", "--output", "t.onnx").returncode == 0
    for name in ("t.safetensors", "t.onnx"):
        assert document(invoke("evaluate", name, "--json"))["accuracy"] == found["accuracy"]


def test_resnet18_on_a_folder_of_images(invoke: Run, tmp_path: Path) -> None:
    """The whole road for a timm network: 11 M weights at one bit each, 1.4 MB."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 4)):
        for label, name in enumerate(("dark", "light")):
            (tmp_path / "images" / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 128, (16, 16, 3)) + 127 * label
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "images" / part / name / f"{index}.png")
    folder = ("--dataset", "imagefolder", "--data-dir", "images")
    options = ("--max-steps", 4, "--codec", "raw", "--output", "t.safetensors")
    found = document(invoke("search", "resnet18", *folder, *options, "--json"))
    assert found["sparsity"] == pytest.approx(0.9, abs=0.0005)
    assert found["bytes"] == pytest.approx(11_164_352 / 8, rel=0.05)
    assert found["dense_bytes"] == pytest.approx(44.7e6, rel=0.01)
    dense = document(
        invoke("export", "t.safetensors", "--weights", "dense", "--opset", 20, "--output", "dense.onnx", "--json")
    )
    assert dense["bytes"] == pytest.approx(44.7e6, rel=0.01)
    exported = document(invoke("export", "t.safetensors", "--json"))
    assert exported["bit_identical_to_dense"] is True
    assert exported["bytes"] < 0.6 * found["bytes"]  # the masks of a raw ticket travel in the shorter code
    results = [
        document(invoke("evaluate", name, "--data-dir", "images", "--json")) for name in ("t.safetensors", "t.onnx")
    ]
    assert results[0]["accuracy"] == results[1]["accuracy"] == found["accuracy"]


@pytest.mark.parametrize("home", ["", "file/home"])
def test_commands_need_no_home_folder(searched: Searched, tmp_path: Path, home: str) -> None:
    """As in a container whose user the system does not know; or with one that cannot be made, not even by root."""
    (tmp_path / "file").write_bytes(b"")
    home = home and str(tmp_path / home)
    code = (
        "import os, pwd, sys\n"
        "def unknown(user):\n    raise KeyError(f'getpwuid(): uid not found: {user}')\n"
        "pwd.getpwuid = unknown\n"
        "for name in ('HOME', 'USER', 'LOGNAME', 'LNAME', 'USERNAME'):\n    os.environ.pop(name, None)\n"
        f"os.environ.update({{'HOME': {home!r}}} if {home!r} else {{}})\n"
        "from slt_compress.cli.main import app\n"
        "for line in sys.argv[1:]:\n"
        "    try:\n        app(line.split())\n"
        "    except SystemExit as ending:\n        print('code', ending.code)\n"
    )
    grid = "compare lenet-300-100 --methods random --sparsities 0.9 --seeds 1 --no-dense --quiet --output grid"
    works = grid if home else f"export {searched[0]} --output t.onnx"
    command = [sys.executable, "-c", code, works, "search lenet-5 --dataset mnist"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert re.findall(r"^code (.*)", done.stdout, re.MULTILINE) == ["0", "1"], done.stderr
    assert "give --data-dir" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "~").exists()
