"""Compare methods on a grid: methods × sparsities × seeds, and the dense network of each seed as the baseline.

A cell depends on its settings alone, never on the cells before it. So an interrupted comparison is resumed with the
same result, a cell that fails does not stop the others, and several processes can share the cells of one folder.
`cells` describes the folder; the tables beside its subfolders are written last:

    DIR/results.csv, results.json, results.md, accuracy-sparsity.png, accuracy-bytes.png
"""

import hashlib
import importlib.metadata
import json
import platform
import traceback
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from slt_compress import files
from slt_compress.comparison import plots
from slt_compress.comparison.cells import CellFolder, FinishedRun, to_json_bytes
from slt_compress.comparison.dense import train_dense
from slt_compress.comparison.grid import Cell, Plan
from slt_compress.comparison.results import DENSE, ComparisonResult, Row, to_csv
from slt_compress.comparison.tables import markdown, percent
from slt_compress.comparison.trained import prune_config
from slt_compress.config import SearchConfig
from slt_compress.data import places
from slt_compress.data.splits import count
from slt_compress.errors import OutputError, SltError, UsageError, first_line
from slt_compress.machine import processor_with
from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.masking.topk import count_to_open
from slt_compress.pipeline.find import SearchResult, UnmeasuredError, UnmeasuredInterrupt, find_ticket
from slt_compress.pipeline.prepare import Prepared, prepare, refuse_idle_batches
from slt_compress.progress import CellReporter, GridReporter
from slt_compress.pruning.prune import prune
from slt_compress.pruning.results import TrainedResult
from slt_compress.tasks.task import CLASSIFY
from slt_compress.training.checkpoint import Checkpoints
from slt_compress.training.recipes import DenseRecipe, recipe_for
from slt_compress.version import __version__

_OF_A_CELL = {
    "method",
    "options",
    "recipe",
    "sparsity",
    "max_bytes",
    "seed",
}  # fields of a config that differ within a grid
_PLANNED = {
    "data_dir",
    "workers",
    "skip_unreadable",
    "input_size",
    "epochs",
    "max_steps",
    "batch_size",
    "precision",
    "device",
    *("reference", "init_from", "teacher"),  # which no cell has
}
"""Fields that are recorded as what came of them, if anything."""
_FINGERPRINT_IMAGES = 100
TABLES = ("results.csv", "results.json", "results.md")
PLOTS = {"accuracy-sparsity.png": plots.accuracy_against_sparsity, "accuracy-bytes.png": plots.accuracy_against_bytes}
"""The files beside the cells, by their names in the folder."""


def compare(plan: Plan, folder: Path, command: str, reporter: GridReporter) -> ComparisonResult:
    """Run the cells that `folder` does not hold yet, and return what it holds then.

    Without a shard, write the tables of all cells; those that another process is busy with are waited for. With one,
    run only its cells and write no table. A cell that fails is in the result's `failed`; the others are run all the
    same.

    Raises UsageError if the folder holds cells of other settings, OutputError if it cannot be written.
    """
    files.check_folder(folder)
    files.check_apart(outputs(folder), places.inputs(plan.config.dataset, plan.config.data_dir))
    is_new = not any((folder / "cells").glob("*.json"))  # else such settings tell that they are the same as before
    if is_new:
        plan.refuse_idle(dict.fromkeys(plan.config.of_steps(), True))
    prepared = prepare(plan.model, plan.config, reporter)
    if is_new and not plan.optimises:
        refuse_idle_batches(prepared, plan.config)
    if prepared.run.task != CLASSIFY:
        raise UsageError(
            f"a comparison is one of accuracies; {plan.config.dataset} is for {prepared.run.task.record.name}"
        )
    settings = _settings(plan, prepared)
    store = CellFolder(folder, settings)
    cells = plan.cells()
    _check_writable(folder, store, cells)
    _check_sparsities(cells, plan.config, prepared)
    finished = {cell.name: run for cell in cells if (run := store.read(cell, reporter))}
    own = plan.of_shard(cells)
    missing = [cell for cell in own if cell.name not in finished]
    reporter.note(
        f"{prepared.source.name} on {plan.config.dataset}: {len(own)} cells, {len(own) - len(missing)} of them "
        f"finished, {prepared.run.budget.steps:,} steps of {prepared.run.budget.batch_size} on {prepared.device}"
    )
    if not own:
        reporter.note(f"shard {'/'.join(map(str, plan.shard or ()))} has none of the {len(cells)} cells")
    others = len(store.names() - {cell.name for cell in cells})
    if others:
        reporter.note(f"{others} finished cells in {folder} are not in this grid, and not part of the results")
    recipe = recipe_for(prepared.source.build())
    steps = sum(_steps(cell, prepared, recipe) for cell in missing)
    with reporter.grid_progress(len(own), len(own) - len(missing), steps) as progress:
        work = _Work(plan, prepared, recipe, store, progress)
        busy = [cell for cell in missing if not work.run(cell)]
        if busy:
            wait = "" if plan.shard else "; waiting for them"
            reporter.note(f"other processes are busy with {len(busy)} of the cells{wait}")
        if not plan.shard:
            for cell in busy:
                work.run(cell, wait=True)
    finished |= work.finished
    labels = [*(one.label for one in plan.contenders), DENSE]
    order = sorted(cells, key=lambda cell: (labels.index(cell.contender.label), *cell.target, cell.seed))
    done = [finished[cell.name] for cell in order if cell.name in finished]
    result = ComparisonResult(
        command=command,
        settings=settings,
        environments=_distinct([dict(one.environment) for one in done]),
        seeds=plan.seeds,
        dense_learning_rate=plan.dense_lr,
        dense_recipe=recipe.describe(plan.dense_lr),
        learning_rates=recipe.tried(plan.dense_lr),
        cells=len(cells),
        rows=tuple(one.row for one in done),
        failed=work.failed,
    )
    if result.rows and not plan.shard:
        _write_tables(folder, result)
        result = replace(result, undrawn=_draw(folder, result))
        if result.is_complete:
            store.remove_locks(cells)
    return result


def outputs(folder: Path) -> dict[str, Path]:
    """Return what a comparison writes beside its cells, by names for `files.check_apart`."""
    return {"`output`": folder, **{f"{name} in `output`": folder / name for name in (*TABLES, *PLOTS)}}


class _Work:
    """Runs cells one after the other, and remembers what came of them."""

    def __init__(
        self, plan: Plan, prepared: Prepared, recipe: DenseRecipe, store: CellFolder, progress: CellReporter
    ) -> None:
        self._plan = plan
        self._prepared = prepared
        self._recipe = recipe
        self._store = store
        self._progress = progress
        self.finished: dict[str, FinishedRun] = {}
        self.failed: dict[str, str] = {}

    def run(self, cell: Cell, *, wait: bool = False) -> bool:
        """Run a cell unless it is finished; return False if another process is busy with it, which `wait` waits for.

        A failure is remembered, and ends nothing but the cell. Only a folder that cannot be written ends all.
        """
        with self._store.lock(cell, wait=wait) as free:
            if not free:
                return False
            steps = _steps(cell, self._prepared, self._recipe)
            if there := self._store.read(cell, self._progress):  # another process has finished it meanwhile
                self.finished[cell.name] = there
                self._progress.finish(f"{cell.name}: finished by another process", steps)
                return True
            self._progress.begin(cell.name)
            self._store.remove_error(cell)
            try:
                row = self._train(cell) if cell.is_dense else self._search(cell)
            except OutputError:
                raise
            except Exception as error:  # a bug or a lack of memory in one cell says nothing about the others
                self._remember(cell, error)
                self._progress.finish(f"{cell.name}: failed, {self.failed[cell.name]}", steps)
                return True
            self.finished[cell.name] = FinishedRun(row, self._store.settings, _environment(self._prepared))
            self._store.write(cell, self.finished[cell.name])
            self._progress.finish(
                f"{cell.name}: {percent(row.accuracy)} % test, {percent(row.validation_accuracy)} % held-out, "
                f"{row.seconds:.1f} s",
                steps,
            )
            return True

    def _remember(self, cell: Cell, error: Exception) -> None:
        reason = first_line(error) or type(error).__name__
        if isinstance(error, SltError):
            self.failed[cell.name] = reason
        else:
            place = self._store.write_error(cell, "".join(traceback.format_exception(error)))
            self.failed[cell.name] = f"{type(error).__name__}: {reason} (traceback in {place})"

    def _search(self, cell: Cell) -> Row:
        path, checkpoints = self._store.ticket(cell), self._checkpoints(cell)
        try:
            result = self._prune(cell, checkpoints) if cell.is_pruned else self._find(cell, checkpoints)
        except UnmeasuredError as failure:
            files.write_or_rescue(path, failure.ticket.to_bytes())
            raise SltError(f"found {path}, but measuring it has failed: {failure.reason}") from failure
        except UnmeasuredInterrupt as interrupt:
            interrupt.ticket.save(path)
            raise
        files.write_or_rescue(path, result.ticket.to_bytes())
        if checkpoints:
            checkpoints.remove()
        return Row(
            method=cell.contender.method,
            recipe=cell.contender.recipe,
            options=cell.contender.options,
            target_sparsity=cell.sparsity,
            max_bytes=cell.max_bytes,
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
            learning_rate=result.learning_rate if cell.is_tuned and isinstance(result, TrainedResult) else None,
        )

    def _find(self, cell: Cell, checkpoints: Checkpoints | None) -> SearchResult:
        plan = self._plan
        config = cell.config(plan.config)
        return find_ticket(plan.model, config, self._progress, prepared=self._prepared, checkpoints=checkpoints)

    def _prune(self, cell: Cell, checkpoints: Checkpoints | None) -> SearchResult:
        plan, one = self._plan, cell.contender
        rates = self._recipe.tried(cell.learning_rate) if cell.is_tuned else None
        config = prune_config(one.recipe, one.options, cell.sparsity, cell.seed, plan.config, rates)
        return prune(plan.model, config, self._progress, prepared=self._prepared, checkpoints=checkpoints)

    def _checkpoints(self, cell: Cell) -> Checkpoints | None:
        """Return where the state of a cell's run is kept, None where it is not."""
        every = self._plan.checkpoint_every
        if every is None or not cell.optimises:
            return None
        return Checkpoints(self._store.checkpoints(cell), every, resume=True, automatic=True)

    def _train(self, cell: Cell) -> Row:
        checkpoints = self._checkpoints(cell)
        trained = train_dense(
            self._prepared,
            replace(self._plan.config, seed=cell.seed),
            self._progress,
            learning_rate=cell.learning_rate,
            checkpoints=checkpoints,
        )
        if checkpoints:
            checkpoints.remove()
        return Row(
            method=DENSE,
            learning_rate=trained.learning_rate,
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


def _check_sparsities(cells: Sequence[Cell], config: SearchConfig, prepared: Prepared) -> None:
    """Raise UnreachableError, before any cell is run, if the gates that a seed fixes rule a sparsity out."""
    targets = {(cell.seed, cell.sparsity) for cell in cells if not (cell.is_dense or cell.is_pruned or cell.max_bytes)}
    if config.freeze.ratio:
        for seed in {seed for seed, _ in targets}:
            network = FlatNetwork(prepared.source.build(), seed, 1.0, torch.device("cpu"), freeze=config.freeze)
            for sparsity in sorted(sparsity for of, sparsity in targets if of == seed):
                count_to_open(network, 1 - sparsity)


def _steps(cell: Cell, prepared: Prepared, recipe: DenseRecipe) -> int:
    """Return the optimiser steps of a cell, the unit in which progress over the grid is counted."""
    tried = len(recipe.tried(cell.learning_rate)) if cell.is_tuned else 1
    return prepared.run.budget.steps * tried if cell.optimises else 0


def _settings(plan: Plan, prepared: Prepared) -> dict[str, Any]:
    """Return what all cells share, as what came of the arguments: two ways to ask for the same are the same.

    There is no path in it: images are known by their counts, their classes and a digest of some of them.
    """
    run = prepared.run
    images, labels = next(iter(run.validation.batches(_FINGERPRINT_IMAGES)))
    digest = hashlib.sha256(images.cpu().numpy().tobytes() + labels.cpu().numpy().tobytes())
    shared = {name: value for name, value in asdict(plan.config).items() if name not in _OF_A_CELL | _PLANNED}
    if plan.config.granularity == SearchConfig.granularity:
        del shared["granularity"], shared["neuron_sparsity"]  # as in folders from before there was another
    document = {
        "model": prepared.source.name,
        **shared,
        "initialiser": plan.config.initialiser or "default",
        "tool": __version__,
        "classes": list(prepared.classes),
        "preprocessing": prepared.preprocessing.to_json() if prepared.preprocessing else None,
        "pictures": {
            "train": count(run.train),
            "validation": count(run.validation),
            "test": count(prepared.test),
            "sha256": digest.hexdigest(),
        },
        **vars(run.budget),
        "precision": run.precision,
        "device": prepared.device.type,
    }
    normalised: dict[str, Any] = json.loads(to_json_bytes(document))  # as it is read back: tuples are lists
    return normalised


def _check_writable(folder: Path, store: CellFolder, cells: Sequence[Cell]) -> None:
    """Raise OutputError, before any cell is run, for a file that could not be written after it."""
    for path in (*(folder / name for name in (*TABLES, *PLOTS)), *map(store.ticket, cells)):
        files.check_writable(path)


def _write_tables(folder: Path, result: ComparisonResult) -> None:
    contents = (
        to_csv(result.rows).encode(),
        to_json_bytes(result.to_json()),
        markdown(result).encode("utf-8", "backslashreplace"),
    )
    for name, content in zip(TABLES, contents, strict=True):
        files.write_atomically(folder / name, content)


def _draw(folder: Path, result: ComparisonResult) -> dict[str, str]:
    """Write the plots. Return why one could not be drawn, by its file, which then is deleted: it would be an old one.

    Nothing of matplotlib, its fonts or its configuration may cost the tables, which are written by then.
    """
    settings, undrawn = result.settings, {}
    title = f"{settings['model']} on {settings['dataset']}, {settings['epochs']:.3g} epochs"
    for name, draw in PLOTS.items():
        try:
            content = draw(result.summaries, title)
        except Exception as error:
            undrawn[name] = first_line(error) or type(error).__name__
            (folder / name).unlink(missing_ok=True)
        else:
            files.write_atomically(folder / name, content)
    return undrawn


def _distinct(environments: Sequence[dict[str, str]]) -> tuple[dict[str, str], ...]:
    return tuple(found for index, found in enumerate(environments) if found not in environments[:index])


def _environment(prepared: Prepared) -> dict[str, str]:
    """Return what a time and the last digits of a figure depend on; no name of the machine is in it."""
    machine = processor_with(torch.get_num_threads())
    if prepared.device.type == "cuda":
        machine = f"{torch.cuda.get_device_name(prepared.device)}, {machine}"
    return {
        "machine": machine,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": importlib.metadata.version("timm"),
    }
