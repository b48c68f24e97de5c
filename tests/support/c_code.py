"""Networks of a user's own for C code, their tickets, and what compiles their files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from slt_compress.c_export import proof
from slt_compress.c_export.text import Code
from slt_compress.masking.parameters import gated_names, scales, slopes, statistic_names
from slt_compress.models.registry import architecture_digest
from slt_compress.prng import SeedRecipe
from slt_compress.tasks.record import TaskRecord, TensorRecord
from slt_compress.ticket.assembly import CoatParts, LayerParts
from slt_compress.ticket.ticket import Ticket
from tests.support.documents import OWN

needs_compiler = pytest.mark.skipif(proof.compiler() is None, reason="there is no C compiler (cc, gcc or clang)")
SANITISED = ("-std=c99", "-O0", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-Wall", "-Werror")


class Everything(nn.Module):
    """Each kind of layer that C code has, on planes that are no squares."""

    shape = (3, 13, 10)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, (2, 1), (1, 2), bias=False), nn.BatchNorm2d(8), nn.LeakyReLU(0.1))
        self.apart = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.ReLU6())
        self.grouped = nn.Conv2d(8, 12, (3, 2), padding=(2, 0), dilation=(2, 1), groups=4)
        self.pool = nn.Sequential(nn.PReLU(), nn.MaxPool2d(3, 2, 1, ceil_mode=True))
        self.norm = nn.BatchNorm2d(12)
        self.branch = nn.Sequential(nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1))
        self.halve = nn.Conv2d(12, 20, 1, 2)
        self.mean = nn.AvgPool2d(2, 1, padding=1)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(20 * 3 * 4, 16), nn.Hardtanh(), nn.Linear(16, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.apart(self.stem(x))
        x = self.pool(self.grouped(x + torch.relu(x)))
        x = x + self.branch(self.norm(x))
        y: torch.Tensor = self.head(self.mean(torch.relu(self.halve(x) + shortcut(x, 20))))
        return y


def shortcut(x: torch.Tensor, channels: int) -> torch.Tensor:
    """Return every second pixel of an image, with channels of zeros behind."""
    padded: torch.Tensor = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, channels - x.shape[1]))
    return padded


class Sequence(nn.Module):
    """Convolutions along one axis, and a mean over all of it."""

    shape = (2, 40)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv1d(2, 6, 5, 2, 1), nn.BatchNorm1d(6), nn.ReLU(), nn.MaxPool1d(2)),
            *(nn.Conv1d(6, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layers(x)
        return y


class Sums(nn.Module):
    """A vector of numbers that several steps read, and a sum as the output."""

    shape = (12,)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(12, 12), nn.Linear(12, 12)
        self.norm = nn.BatchNorm1d(12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x) + x
        y: torch.Tensor = torch.relu(self.norm(hidden)) + self.second(torch.relu(hidden))
        return y


NETWORKS = (Everything, Sequence, Sums)


def ticket_of(
    module: nn.Module, shape: tuple[int, ...], initialiser: str = "signed-constant", *, closed: float = 0.0
) -> Ticket:
    """Return a ticket of a network of a user's, with random masks, statistics and biases.

    A share `closed` of the inputs of each layer is not read.
    """
    draw = np.random.default_rng(0)
    density = 0.4
    found = scales(module, initialiser, density)
    layers: list[LayerParts] = []
    for name in gated_names(module):
        mask = draw.random(module.get_parameter(name).shape) < density
        if closed and mask.shape[1] > 1 and layers:
            mask[:, draw.random(mask.shape[1]) < closed] = False
        layers.append(LayerParts(name, mask.shape, [CoatParts(mask, scale=found[name].value)]))
    statistics = {
        name: draw.random(module.get_buffer(name).shape).astype(np.float32) + 0.5 for name in statistic_names(module)
    }
    with torch.no_grad():
        outputs = tuple(module.eval()(torch.zeros(2, *shape)).shape[1:])
    provenance = replace(
        OWN,
        architecture=architecture_digest(module),
        inputs=(TensorRecord(shape),),
        outputs=(TensorRecord(outputs),),
        task=TaskRecord("regression", "mse", "r2"),
        rewind_steps=0,
        reference=(),
    )
    biases = {
        name: draw.standard_normal(parameter.shape).astype(np.float32) * np.float32(0.1)
        for name, parameter in module.named_parameters()
        if name.endswith("bias")
    }
    return Ticket.assemble(
        layers,
        provenance,
        origin=SeedRecipe(5, initialiser),
        statistics=statistics,
        parameters=biases,
        constants=slopes(module),
    )


def check_own(file: Path, folder: Path, restored: nn.Module, shape: tuple[int, ...]) -> None:
    """Check that a C file of a network of a user's computes what torch does, compiled with sanitisers in a folder."""
    inputs = torch.randn(5, *shape)
    with torch.no_grad():
        expected = restored(inputs).numpy()
    assert np.abs(expected).max() > 0.1
    found = compiled_file(file, folder, SANITISED).run(inputs.numpy())
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-4)


def compiled_file(file: Path, folder: Path, flags: tuple[str, ...] = proof.FLAGS) -> proof.Program:
    """Return the program of a C file, compiled in a folder."""
    header = file.with_suffix(".h").read_text()
    kind = "uint8_t" if "const uint8_t *input" in header else "float"
    outputs = int(header.partition("#define SLT_OUTPUTS ")[2].split()[0])
    folder.mkdir(exist_ok=True)
    return proof.compiled(Code(file.read_text(), header, 0, 0, 0), file.stem, kind, outputs, folder, flags)
