"""A forged ticket, with a correct digest, leads to no code: whatever it names is neither imported nor run."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import slt_compress
from slt_compress.cli.main import app
from slt_compress.errors import SltError
from slt_compress.ticket.ticket import Ticket
from tests.support.documents import edited
from tests.support.process import run_cli

GOLDEN = Path(__file__).parent.parent / "golden" / "v2-restored.safetensors"
TRAP = "trap_of_a_forged_ticket"
CODE = """
from pathlib import Path
Path(__file__).with_name("it-ran").touch()

def make():
    Path(__file__).with_name("it-ran").touch()
"""
NAMED = {"classes": 10, "channels": 1, "input_size": 8, "small_input": False, "arguments": {}}
MODELS: list[dict[str, Any]] = [
    {"builder": "python", "name": f"{TRAP}:make"},
    {"builder": "python", "name": f"{TRAP}.py:make"},
    {"builder": "python", "name": TRAP},
    *({"builder": builder, "name": f"{TRAP}:make", **NAMED} for builder in ("slt", "timm", "torchvision")),
    *({"builder": builder, "name": TRAP, **NAMED} for builder in ("slt", "timm", "torchvision")),
]
COMMANDS = [
    ["inspect"],
    ["inspect", "--json"],
    ["verify"],
    ["evaluate"],
    ["evaluate", "--dataset", "digits"],
    ["export", "--weights", "dense", "--output", "x.onnx"],
]


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that appears once the code of the trap runs, which can be imported and lies in the working folder."""
    (tmp_path / f"{TRAP}.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "it-ran"


def forged(model: dict[str, Any]) -> bytes:
    """A ticket that names the trap wherever it names anything."""
    content = edited(GOLDEN.read_bytes(), ("model",), model)
    for place in (("library",), ("tool",), ("method", "name"), ("task", "loss"), ("task", "metric"), ("classes", 0)):
        content = edited(content, place, f"{TRAP}:make")
    return content


def test_the_trap_works(trap: Path) -> None:
    subprocess.run([sys.executable, "-c", f"import {TRAP}"], cwd=trap.parent, check=True)
    assert trap.exists()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model['builder']}-{model['name'][-8:]}")
def test_no_command_runs_what_a_ticket_names(model: dict[str, Any], trap: Path) -> None:
    Path("t.safetensors").write_bytes(forged(model))
    for command, *options in COMMANDS:
        done = CliRunner().invoke(app, [command, "t.safetensors", *options], catch_exceptions=False)
        assert done.exit_code in ((0,) if command == "inspect" else (2, 3)), (command, done.output)
        assert not trap.exists()
    assert TRAP not in sys.modules
    assert not list(trap.parent.glob("*.onnx"))


@pytest.mark.parametrize("command", ["verify", "evaluate"])
def test_no_command_runs_it_in_a_process_of_its_own(command: str, trap: Path) -> None:
    """`python -m` looks for modules in the working folder first."""
    Path("t.safetensors").write_bytes(forged(MODELS[0]))
    done = run_cli(command, "t.safetensors", cwd=trap.parent, PYTHONPATH=str(trap.parent))
    assert done.returncode == 3, done.stderr
    assert f"the network of this ticket is your own, {TRAP}:make" in done.stderr
    assert not trap.exists()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model['builder']}-{model['name'][-8:]}")
def test_no_function_runs_what_a_ticket_names(model: dict[str, Any], trap: Path) -> None:
    Path("t.safetensors").write_bytes(forged(model))
    ticket = Ticket.load("t.safetensors")
    ticket.check()
    for call in (
        ticket.restore,
        lambda: slt_compress.evaluate(ticket),
        lambda: slt_compress.evaluate("t.safetensors"),
        lambda: slt_compress.evaluate("t.safetensors", dataset="digits"),
        lambda: slt_compress.export("t.safetensors", "x.onnx", weights="dense"),
    ):
        with pytest.raises(SltError):
            call()
        assert not trap.exists()
    assert TRAP not in sys.modules


def test_a_network_that_is_given_leads_to_it_neither(trap: Path) -> None:
    """The ticket is applied to what the user gives, whatever name it has for that."""
    module = Ticket.load(GOLDEN).restore()
    ticket = Ticket.from_bytes(forged(MODELS[0]))
    assert ticket.apply_to(module).state_dict().keys() == module.state_dict().keys()
    assert not trap.exists()
