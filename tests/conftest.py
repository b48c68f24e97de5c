"""Shared helpers: a real ticket found on digits, random ones, and the command line as a user's shell runs it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from slt_compress import models
from slt_compress.network import FlatNetwork, statistic_names
from slt_compress.ranking import random_mask
from slt_compress.ticket import Freeze, Provenance, Ticket

Run = Callable[..., subprocess.CompletedProcess[str]]


def pytest_configure() -> None:
    torch.set_num_threads(1)  # tests run side by side, see pyproject.toml


def run_cli(*arguments: object, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run `slt-compress` in a process of its own, one thread, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "slt_compress", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def cli(tmp_path: Path) -> Run:
    """Run the command line in an empty folder."""

    def run(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
        return run_cli(*arguments, cwd=tmp_path, **environment)

    return run


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A ticket found by the command line on digits, and the JSON it printed."""
    folder = tmp_path_factory.mktemp("searched")
    arguments = ("search", "lenet-300-100", "--max-steps", 150, "--output", "t.safetensors", "--json")
    done = run_cli(*arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "t.safetensors", json.loads(done.stdout)


@pytest.fixture(scope="session")
def ticket(searched: tuple[Path, dict[str, Any]]) -> Ticket:
    return Ticket.load(searched[0])


@torch.no_grad()
def measure_statistics(module: nn.Module, channels: int, size: int) -> None:
    """Take the BatchNorm statistics from a few random pictures, so that signals reach the logits."""
    norms = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None
    if norms:
        module.train()(torch.randn(16, channels, size, size, generator=torch.Generator().manual_seed(0)))
    module.eval()


def make_ticket(
    name: str,
    density: float,
    *,
    size: int = 32,
    channels: int = 3,
    classes: int = 10,
    initialiser: str = "signed-constant",
    seed: int = 0,
    freeze: Freeze = Freeze(),
    codec: str = "auto",
) -> Ticket:
    """A random ticket of a network, without a search."""
    spec = models.resolve(name, classes=classes, channels=channels, input_size=size)
    network = FlatNetwork(models.build(spec), seed, density, torch.device("cpu"), initialiser, freeze)
    mask = random_mask(network, density, seed)
    network.set_gate(mask)
    measure_statistics(network.module, spec.channels, spec.input_size)
    masks = network.split(mask)
    return Ticket.pack(
        {slot.name: part.view(slot.shape).numpy() for slot, part in zip(network.slots, masks, strict=True)},
        {slot.name: slot.scale for slot in network.slots},
        {name: network.module.get_buffer(name).numpy() for name in statistic_names(network.module)},
        Provenance(
            model=spec.to_json(),
            library=models.library_version(spec),
            architecture=models.architecture_digest(network.module),
            dataset="imagefolder",
            classes=[f"class {index}" for index in range(classes)],
            preprocessing={
                "size": spec.input_size,
                "channels": channels,
                "mean": [0.5] * channels,
                "std": [0.25] * channels,
            },
            method={"name": "random", "steps": 0, "batch_size": 256, "settings": {}},
            metrics={"accuracy": 0.1, "loss": 2.3026, "validation_accuracy": 0.1},
        ),
        seed=seed,
        initialiser=initialiser,
        freeze=freeze,
        codec=codec,
    )
