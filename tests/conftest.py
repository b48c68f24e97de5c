"""Fixtures: a real ticket found on digits, and the command line in an empty folder.

Tests run side by side, see pyproject.toml: each has one thread, and so has each process that it starts.
"""

import functools
import gc
import importlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slt_compress.ticket.ticket import Ticket
from tests.support.hub_server import TOKEN, Hub, point_to, running
from tests.support.process import Run, run_cli, run_here

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so a shell starts what runs in its background
    signal.signal(signal.SIGINT, signal.default_int_handler)
importlib.import_module("tests.support.traces").remember()  # before a test imports `trace`


@pytest.fixture
def cli(tmp_path: Path) -> Run:
    """Run the command line in an empty folder, in a process of its own."""
    return functools.partial(run_cli, cwd=tmp_path)


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line in an empty folder, in this process; a bug is raised."""
    monkeypatch.chdir(tmp_path)
    return functools.partial(run_here, cwd=tmp_path)


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A ticket found by the command line on digits, and the JSON it printed."""
    folder = tmp_path_factory.mktemp("searched")
    arguments = ("search", "lenet-300-100", "--max-steps", 150, "--output", "t.safetensors", "--json")
    done = run_here(*arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "t.safetensors", json.loads(done.stdout)


@pytest.fixture(scope="session")
def ticket(searched: tuple[Path, dict[str, Any]]) -> Ticket:
    return Ticket.load(searched[0])


@pytest.fixture
def hub(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A stand-in for the Hugging Face hub, which this process uses, logged in, with an empty cache."""
    with running() as found:
        point_to(found, tmp_path_factory.mktemp("cache"), monkeypatch, TOKEN)
        yield found


@pytest.fixture(scope="session", autouse=True)
def one_table_of_operators() -> None:
    """torch's exporter makes its table of operators anew for each export, which takes as long as a small export; and it
    asks for all composite ones sixty times.
    """
    import torch
    from torch._export import utils
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    known: list[str] = []
    materialise = utils._materialize_cpp_cia_ops

    def materialise_new() -> None:
        found = torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd")
        if found != known:
            materialise()
            known[:] = found

    utils._materialize_cpp_cia_ops = materialise_new
    ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))  # type: ignore


@pytest.fixture(scope="session", autouse=True)
def few_collections(one_table_of_operators: None) -> None:  # noqa: ARG001
    """Keep the garbage collector from the million objects of libraries: a seventh of an export went into them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
