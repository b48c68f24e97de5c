"""The finished runs of a comparison in its folder, which several processes may fill at the same time.

    DIR/tickets/CELL.safetensors    the ticket of a run
    DIR/cells/CELL.json             its row, written after the ticket: a run with a row is finished
    DIR/cells/CELL.error.txt        traceback of an unexpected failure of it
    DIR/locks/CELL.lock             held by the process that is busy with it
    DIR/checkpoints/CELL/           the state of a run that has not ended, where that is kept

A lock is the operating system's, so it goes with its process, however that ends. Several machines can share a folder if
its file system has locks, as NFS has.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from slt_compress import files
from slt_compress.comparison.grid import Cell
from slt_compress.comparison.results import Row
from slt_compress.errors import OutputError, SltError, UsageError
from slt_compress.progress import ProgressReporter
from slt_compress.ticket.ticket import Ticket

_ENVIRONMENT = {"machine", "python", "torch", "timm"}


@dataclass(frozen=True)
class FinishedRun:
    """A run, and where it was made.

    Attributes:
        row: what was measured.
        settings: what all runs of the grid share.
        environment: the machine and the versions of libraries.
    """

    row: Row
    settings: Mapping[str, Any]
    environment: Mapping[str, str]


class CellFolder:
    """The runs in a folder. All of them have the same settings: what all runs of a grid share, as a JSON object."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Raises UsageError if the folder holds runs of other settings, OutputError if it cannot be written."""
        self._folder = folder
        self.settings = settings
        self._refuse_other_settings()
        for name in ("cells", "tickets", "locks"):
            files.make_folder(folder / name)

    def ticket(self, cell: Cell) -> Path:
        return self._folder / "tickets" / f"{cell.name}.safetensors"

    def checkpoints(self, cell: Cell) -> Path:
        return self._folder / "checkpoints" / cell.name

    def names(self) -> set[str]:
        """Return the names of all cells that are finished."""
        return {path.stem for path in (self._folder / "cells").glob("*.json")}

    def read(self, cell: Cell, reporter: ProgressReporter) -> FinishedRun | None:
        """Return a finished run, None if it is not finished, or it or its ticket is damaged."""
        path = self._row(cell)
        if not path.exists():
            return None
        document = _load(path)
        try:
            if document is None:
                raise ValueError("not a JSON document")
            row = Row.from_json(document["row"])
            there = row.label, row.target_sparsity, row.max_bytes, row.seed
            if there != (cell.contender.label, cell.sparsity, cell.max_bytes, cell.seed):
                raise ValueError(f"it holds {row.label}, sparsity {row.target_sparsity}, seed {row.seed}")
            if _ENVIRONMENT - set(document["environment"]):
                raise KeyError("environment")
            if not cell.is_dense and Ticket.load(self.ticket(cell)).digest != row.digest:
                raise ValueError(f"{self.ticket(cell)} is not the ticket that was measured")
            return FinishedRun(row, document["settings"], document["environment"])
        except (KeyError, TypeError, ValueError, OSError, SltError) as error:
            reporter.note(f"{path} is damaged ({error}); this cell is run again")
            return None

    def write(self, cell: Cell, run: FinishedRun) -> None:
        """Store a run; its ticket must be there already."""
        document = {"settings": run.settings, "environment": run.environment, "row": run.row.to_json()}
        files.write_atomically(self._row(cell), to_json_bytes(document))

    def write_error(self, cell: Cell, text: str) -> Path:
        """Store why a run failed, and return the file."""
        path = self._error(cell)
        files.write_atomically(path, text.encode())
        return path

    def remove_error(self, cell: Cell) -> None:
        """Delete what an earlier try has left."""
        self._error(cell).unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self, cell: Cell, *, wait: bool = False) -> Iterator[bool]:
        """Keep other processes off a cell; yield False if one of them is busy with it. `wait` waits until it is not."""
        lock = FileLock(self._lock(cell))
        try:
            lock.acquire(blocking=wait)
        except Timeout:
            yield False
            return
        except (OSError, NotImplementedError) as error:  # a file system without locks, or files of another user
            raise OutputError(f"cannot lock {self._lock(cell)}: {error}") from error
        try:
            yield True
        finally:
            lock.release()

    def remove_locks(self, cells: Sequence[Cell]) -> None:
        """Delete the locks of finished cells; those of cells outside this grid stay."""
        for cell in cells:
            with contextlib.suppress(OSError):
                self._lock(cell).unlink(missing_ok=True)
        for name in ("locks", "checkpoints"):
            with contextlib.suppress(OSError):
                (self._folder / name).rmdir()

    def _lock(self, cell: Cell) -> Path:
        return self._folder / "locks" / f"{cell.name}.lock"

    def _row(self, cell: Cell) -> Path:
        return self._folder / "cells" / f"{cell.name}.json"

    def _error(self, cell: Cell) -> Path:
        return self._folder / "cells" / f"{cell.name}.error.txt"

    def _refuse_other_settings(self) -> None:
        wanted = self.settings
        for path in sorted((self._folder / "cells").glob("*.json")):
            there = (_load(path) or {}).get("settings")
            if isinstance(there, dict) and there != wanted:
                names = [name for name in wanted if there.get(name) != wanted[name]] or sorted(there.keys() - wanted)
                differences = (
                    f"{name} is {_short(there.get(name))} there, {_short(wanted.get(name))} here" for name in names
                )
                raise UsageError(
                    f"{self._folder} holds results of other settings: {'; '.join(differences)}; give another `output` "
                    "folder"
                )


def to_json_bytes(document: Mapping[str, Any]) -> bytes:
    """Return a JSON document as a file holds it."""
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def _load(path: Path) -> dict[str, Any] | None:
    """Return the JSON document in a file, None if there is none."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
