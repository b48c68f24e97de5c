"""Compare methods on a grid: methods × sparsities × seeds, and the dense network of each seed as the baseline.

    DIR/tickets/CELL.safetensors    the ticket of a cell
    DIR/cells/CELL.json             its row, written after the ticket: a cell with a row is finished
    DIR/results.csv, results.json, results.md, accuracy-sparsity.png, accuracy-bytes.png

A cell depends on its settings alone, never on the cells before it: an interrupted comparison is resumed with the same
result. Rows of other settings are never mixed with these.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from slt_compress import files
from slt_compress.comparison import plots
from slt_compress.comparison.dense import train_dense
from slt_compress.comparison.grid import Cell, Plan
from slt_compress.comparison.results import DENSE, Row, markdown, percent, summarise, to_csv
from slt_compress.config import SearchConfig
from slt_compress.errors import SltError, UsageError
from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.masking.topk import count_to_open
from slt_compress.models.registry import build_model
from slt_compress.pipeline import Prepared, find_ticket, prepare
from slt_compress.progress import GridReporter, ProgressReporter
from slt_compress.ticket.ticket import Ticket
from slt_compress.version import __version__

_OF_A_CELL = {"method", "options", "recipe", "sparsity", "seed"}  # fields of a config that differ within a grid
_PLANNED = {"data_dir", "input_size", "epochs", "max_steps", "batch_size", "precision", "device"}
"""Fields that are recorded as what came of them."""
_FINGERPRINT_IMAGES = 100


def compare(plan: Plan, folder: Path, command: str, reporter: GridReporter) -> dict[str, Any]:
    """Run the cells that `folder` does not hold yet, write the results of all, and return their JSON document.

    Raises UsageError if the folder holds cells of other settings, OutputError if it cannot be written.
    """
    files.check_folder(folder)
    prepared = prepare(plan.model, plan.config, reporter)
    settings = _settings(plan, prepared)
    _refuse_other_settings(folder, settings)
    for path in (folder / "cells", folder / "tickets"):
        files.make_folder(path)
    cells = plan.cells()
    _check_sparsities(cells, plan.config, prepared)
    finished = {cell.name: document for cell in cells if (document := _read(folder, cell, reporter))}
    missing = [cell for cell in cells if cell.name not in finished]
    reporter.note(
        f"{settings['model']} on {settings['dataset']}: {len(cells)} cells, {len(finished)} of them finished, "
        f"{settings['steps']:,} steps of {settings['batch_size']} on {prepared.device}"
    )
    unasked = len({path.stem for path in (folder / "cells").glob("*.json")} - {cell.name for cell in cells})
    if unasked:
        reporter.note(f"{unasked} finished cells in {folder} are not in this grid, and not part of the results")
    with reporter.grid_progress(len(cells), len(finished), sum(_steps(cell, prepared) for cell in missing)) as progress:
        for cell in missing:
            progress.begin(cell.name)
            row = (
                _train(cell, plan, prepared, progress)
                if cell.is_dense
                else _search(cell, plan, prepared, folder, progress)
            )
            document = finished[cell.name] = {
                "settings": settings,
                "environment": _environment(prepared),
                "row": row.to_json(),
            }
            files.write_atomically(folder / "cells" / f"{cell.name}.json", _json(document))
            progress.finish(
                f"{cell.name}: {percent(row.accuracy)} % test, {percent(row.validation_accuracy)} % held-out, "
                f"{row.seconds:.1f} s",
                _steps(cell, prepared),
            )
    labels = [*(one.label for one in plan.contenders), DENSE]
    cells.sort(key=lambda cell: (labels.index(cell.contender.label), cell.sparsity, cell.seed))
    return _write(folder, plan, command, [finished[cell.name] for cell in cells])


def _check_sparsities(cells: Sequence[Cell], config: SearchConfig, prepared: Prepared) -> None:
    """Raise UnreachableError, before any cell is run, if the gates that a seed fixes rule a sparsity out."""
    targets = {(cell.seed, cell.sparsity) for cell in cells if not cell.is_dense}
    if config.freeze.ratio:
        for seed in {seed for seed, _ in targets}:
            network = FlatNetwork(build_model(prepared.spec), seed, 1.0, torch.device("cpu"), freeze=config.freeze)
            for sparsity in sorted(sparsity for of, sparsity in targets if of == seed):
                count_to_open(network, 1 - sparsity)


def _steps(cell: Cell, prepared: Prepared) -> int:
    """Return the optimiser steps of a cell, the unit in which progress over the grid is counted."""
    return prepared.run.budget.steps if cell.optimises else 0


def _ticket(folder: Path, cell: Cell) -> Path:
    return folder / "tickets" / f"{cell.name}.safetensors"


def _search(cell: Cell, plan: Plan, prepared: Prepared, folder: Path, reporter: ProgressReporter) -> Row:
    result = find_ticket(plan.model, cell.config(plan.config), reporter, prepared=prepared)
    path = _ticket(folder, cell)
    result.ticket.save(path)
    return Row(
        method=cell.contender.method,
        recipe=cell.contender.recipe,
        options=cell.contender.options,
        target_sparsity=cell.sparsity,
        sparsity=result.ticket.sparsity,
        seed=cell.seed,
        accuracy=result.test.accuracy,
        validation_accuracy=result.validation.accuracy,
        loss=result.test.finite_loss,
        bytes=path.stat().st_size,
        mask_bytes=result.ticket.mask_bytes,
        seconds=result.seconds,
        images_per_second=result.images_per_second,
        ticket=f"tickets/{path.name}",
        digest=result.ticket.digest,
    )


def _train(cell: Cell, plan: Plan, prepared: Prepared, reporter: ProgressReporter) -> Row:
    trained = train_dense(prepared, cell.seed, reporter, plan.config.augment)
    return Row(
        method=DENSE,
        target_sparsity=0.0,
        sparsity=0.0,
        seed=cell.seed,
        accuracy=trained.test.accuracy,
        validation_accuracy=trained.validation.accuracy,
        loss=trained.test.finite_loss,
        bytes=trained.bytes,
        mask_bytes=None,
        seconds=trained.seconds,
        images_per_second=trained.images_per_second,
        ticket=None,
        digest=None,
    )


def _settings(plan: Plan, prepared: Prepared) -> dict[str, Any]:
    """Return what all cells share, as what came of the arguments: two ways to ask for the same are the same.

    There is no path in it: images are known by their counts, their classes and a digest of some of them.
    """
    run = prepared.run
    images, labels = next(run.validation.batches(_FINGERPRINT_IMAGES))
    digest = hashlib.sha256(images.cpu().numpy().tobytes() + labels.cpu().numpy().tobytes())
    shared = {name: value for name, value in asdict(plan.config).items() if name not in _OF_A_CELL | _PLANNED}
    document = {
        "model": plan.model,
        **shared,
        "initialiser": plan.config.initialiser or "default",
        "tool": __version__,
        "classes": list(prepared.dataset.classes),
        "preprocessing": run.preprocessing.to_json(),
        "pictures": {
            "train": len(run.train),
            "validation": len(run.validation),
            "test": len(prepared.test),
            "sha256": digest.hexdigest(),
        },
        **vars(run.budget),
        "precision": run.precision,
        "device": prepared.device.type,
    }
    normalised: dict[str, Any] = json.loads(_json(document))  # as it is read back: tuples are lists
    return normalised


def _refuse_other_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    for path in sorted((folder / "cells").glob("*.json")):
        there = (_load(path) or {}).get("settings")
        if isinstance(there, dict) and there != settings:
            names = [name for name in settings if there.get(name) != settings[name]] or sorted(there.keys() - settings)
            differences = (
                f"{name} is {_short(there.get(name))} there, {_short(settings.get(name))} here" for name in names
            )
            raise UsageError(
                f"{folder} holds results of other settings: {'; '.join(differences)}; give another `output` folder"
            )


def _read(folder: Path, cell: Cell, reporter: ProgressReporter) -> dict[str, Any] | None:
    """Return the document of a finished cell, None if there is none or it or its ticket is damaged."""
    path = folder / "cells" / f"{cell.name}.json"
    if not path.exists():
        return None
    document = _load(path)
    try:
        if document is None:
            raise ValueError("not a JSON document")
        row = Row.from_json(document["row"])
        if (row.label, row.target_sparsity, row.seed) != (cell.contender.label, cell.sparsity, cell.seed):
            raise ValueError(f"it holds {row.label}, sparsity {row.target_sparsity}, seed {row.seed}")
        if {"machine", "python", "torch", "timm"} - set(document["environment"]) or "settings" not in document:
            raise KeyError("settings or environment")
        if not cell.is_dense and Ticket.load(_ticket(folder, cell)).digest != row.digest:
            raise ValueError(f"{_ticket(folder, cell)} is not the ticket that was measured")
    except (KeyError, TypeError, ValueError, OSError, SltError) as error:
        reporter.note(f"{path} is damaged ({error}); this cell is run again")
        return None
    return document


def _write(folder: Path, plan: Plan, command: str, finished: Sequence[dict[str, Any]]) -> dict[str, Any]:
    rows = [Row.from_json(document["row"]) for document in finished]
    summaries = summarise(rows)
    settings = finished[0]["settings"]
    environments = [document["environment"] for document in finished]
    result = {
        "command": command,
        "settings": settings,
        "environments": [found for index, found in enumerate(environments) if found not in environments[:index]],
        "seeds": plan.seeds,
        "summary": [summary.to_json() for summary in summaries],
        "rows": [row.to_json() for row in rows],
    }
    title = f"{settings['model']} on {settings['dataset']}, {settings['epochs']:.3g} epochs"
    for name, content in {
        "results.csv": to_csv(rows).encode(),
        "results.json": _json(result),
        "results.md": markdown(result, summaries).encode(),
        "accuracy-sparsity.png": plots.accuracy_against_sparsity(summaries, title),
        "accuracy-bytes.png": plots.accuracy_against_bytes(summaries, title),
    }.items():
        files.write_atomically(folder / name, content)
    return result


def _environment(prepared: Prepared) -> dict[str, str]:
    """Return what a time and the last digits of a figure depend on; no name of the machine is in it."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # Linux alone tells the model
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), processor)
    threads = torch.get_num_threads()
    machine = f"{processor}, {threads} thread{'s' if threads > 1 else ''}"
    if prepared.device.type == "cuda":
        machine = f"{torch.cuda.get_device_name(prepared.device)}, {machine}"
    return {
        "machine": machine,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": importlib.metadata.version("timm"),
    }


def _load(path: Path) -> dict[str, Any] | None:
    """Return the JSON document in a file, None if there is none."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
