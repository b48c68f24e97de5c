"""FILE.py:FUNCTION on the command line: run because the user names it, its prints kept away from the results."""

import json
from pathlib import Path

import pytest

import slt_compress
from slt_compress.cli.source import load, names_code
from slt_compress.errors import UsageError
from tests.support.process import run_cli, run_here

NETWORK = """
import os, sys
from torch import nn
from helper import WIDTH

print("running my_net")

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        print("building")
        self.first, self.norm, self.last = nn.Linear(64, WIDTH), nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x):
        print("forward")
        os.write(1, b"below Python\\n")
        return self.last(self.norm(self.first(x.flatten(1))).relu())

def build():
    return Net()

size = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_net.py").write_text(NETWORK)
    (tmp_path / "helper.py").write_text("WIDTH = 30\n")
    return tmp_path


def test_a_network_of_ones_own_takes_every_command(folder: Path) -> None:
    """Its prints, of every step, go to stderr: stdout is one JSON document."""
    own = ("--source", "my_net.py:build")
    found = run_cli("search", "my_net.py:build", "--dataset", "digits", "--max-steps", "60", "--json", cwd=folder)
    assert found.returncode == 0, found.stderr
    searched = json.loads(found.stdout)
    assert found.stderr.count("forward") > 60
    assert "below Python" in found.stderr
    ticket = searched["artifact"]
    assert ticket == "my_net-build-digits-0.9-0.safetensors"
    assert searched["model"] == "my_net.py:build"
    measured = json.loads(run_cli("evaluate", ticket, *own, "--json", cwd=folder).stdout)
    assert measured["accuracy"] == searched["accuracy"]
    assert json.loads(run_cli("verify", ticket, *own, "--json", cwd=folder).stdout)["verified"]
    exported = json.loads(run_cli("export", ticket, *own, "--json", cwd=folder).stdout)
    assert exported["bit_identical_to_dense"]
    assert exported["predictions_equal"] == 360
    network = json.loads(run_here("evaluate", exported["onnx"], "--json", cwd=folder).stdout)
    assert network["accuracy"] == searched["accuracy"]


def test_python_and_the_command_line_find_the_same_ticket(folder: Path) -> None:
    source = (folder / "my_net.py").rename(folder / "twin_net.py")
    found = run_cli(
        *("search", "twin_net.py:build", "--dataset", "digits", "--sparsity", "0.8", "--max-steps", "20"),
        *("--seed", "7", "--method", "edge-popup", "--output", "t.safetensors"),
        cwd=folder,
    )
    assert found.returncode == 0, found.stderr
    network = load(f"{source}:build")
    result = slt_compress.search(network, "digits", sparsity=0.8, max_steps=20, seed=7, method="edge-popup")
    assert result.ticket.to_bytes() == (folder / "t.safetensors").read_bytes()


def test_the_next_command_works_and_without_the_source_it_says_what_it_needs_and_runs_nothing(folder: Path) -> None:
    found = run_cli(
        *("search", "my_net.py:build", "--dataset", "digits", "--max-steps", "5"),
        *("--output", "t.safetensors"),
        cwd=folder,
    )
    advice = found.stdout.strip().splitlines()[-1]
    assert advice == "next: slt-compress export t.safetensors --source my_net.py:build"
    assert run_cli(*advice.split()[2:], cwd=folder).returncode == 0
    for command in ("export", "verify"):
        found = run_here(command, "t.safetensors", cwd=folder)
        assert found.returncode == 3
        assert "your own, my_net:build: give the function that builds it (--source)" in found.stderr
        assert "running my_net" not in found.stderr


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("absent.py:build", "absent.py does not exist, expected a file with the function build"),
        ("my_net.py:absent", "my_net.py has no function absent; it has Net, build"),
        ("my_net.py:size", "my_net.py has no function size; it has Net, build"),
        ("my_net.py", "expected FILE.py:FUNCTION, a function that builds the network, got 'my_net.py'"),
        ("my_net.py:", "expected FILE.py:FUNCTION"),
        ("my_net.py:os.system", "expected FILE.py:FUNCTION"),
        ("wrong.py:build", "wrong.py cannot be run: line 2: ZeroDivisionError: division by zero"),
        ("syntax.py:build", "syntax.py cannot be run: SyntaxError"),
        ("leaves.py:build", "leaves.py cannot be run: line 1: SystemExit: 5"),
    ],
)
def test_code_that_cannot_be_run_is_refused_with_its_place(
    source: str, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "wrong.py").write_text("x = 0\ny = 1 / x\n")
    (folder / "syntax.py").write_text("def build(:\n")
    (folder / "leaves.py").write_text("raise SystemExit(5)\n")
    monkeypatch.chdir(folder)
    with pytest.raises(UsageError) as failure:
        load(source)
    assert message in str(failure.value)


def test_a_file_has_the_name_of_an_installed_package(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("def build():\n    return 7\n")
    assert load(f"{tmp_path}/json.py:build")() == 7
    assert json.loads("[1]") == [1]


def test_a_source_for_what_needs_none_is_refused(folder: Path) -> None:
    for words in ("search lenet-300-100 --max-steps 5 --output t.safetensors", "export t.safetensors"):
        assert run_here(*words.split(), cwd=folder).returncode == 0
    found = run_cli("evaluate", "t.onnx", "--source", "my_net.py:build", cwd=folder)
    assert found.returncode == 2
    assert "t.onnx has its network within it: it needs no --source" in found.stderr


def test_names_of_models_are_no_code() -> None:
    assert [names_code(name) for name in ("resnet18", "torchvision/resnet18", "a.py:b", "a.py")] == [
        False,
        False,
        True,
        True,
    ]
    with pytest.raises(UsageError, match=r"expected FILE.py:FUNCTION"):
        load("resnet18")
