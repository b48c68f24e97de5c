"""Cells of long measurements: one JSON file each, written at once and as a whole.

A cell that is there is not run again, so that a measurement can be killed and repeated.
"""

import json
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from slt_compress.files import write_atomically
from slt_compress.machine import processor
from slt_compress.version import __version__


class Cell(Protocol):
    """A dataclass that says what is run."""

    @property
    def name(self) -> str:
        """The name of its file, without `.json`."""


C = TypeVar("C", bound=Cell)


def run_missing(
    folder: Path, chosen: Iterable[C], measure: Callable[[C], dict[str, Any]], said: dict[str, Any]
) -> None:
    """Run all cells that are not in a folder, on one thread, and print a line of each.

    `measure` returns at least "accuracy" and "seconds". A file holds that, the fields of the cell, what is `said` of
    all, the machine and the versions.
    """
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    said = {"version": __version__, "torch": torch.__version__, "machine": processor(), **said}
    for cell in chosen:
        path = folder / f"{cell.name}.json"
        if path.exists():
            continue
        found = measure(cell)
        write_atomically(path, json.dumps({**vars(cell), **found, **said}, indent=1).encode())
        print(f"{cell.name}: {found['accuracy']:.4f} in {found['seconds']:.0f} s", flush=True)


def read(folder: Path) -> list[dict[str, Any]]:
    """Return what the files of a folder hold."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def per_cent(found: list[float]) -> str:
    """Return the mean of shares in per cent, with their sample standard deviation where there are several."""
    spread = f" ± {100 * statistics.stdev(found):.2f}" if len(found) > 1 else ""
    return f"{100 * statistics.mean(found):.2f}{spread}"
