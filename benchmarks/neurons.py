"""Figures of tickets whose neurons are removed: accuracy, parameters, MACs, bytes and latency, beside their rivals.

    python -m benchmarks.neurons run FOLDER MODEL [MODEL …] --data-dir DIR
    python -m benchmarks.neurons table FOLDER

run     one JSON file a cell in FOLDER, see `benchmarks.cells`. The LeNets learn MNIST in DIR, all others CIFAR-10 at 16
        px in bf16, where DIR holds train and test, with a folder per class. --epochs N is of each run, 2 by default,
        --seeds N their number, --shares those of the neurons that are removed, --sparsity that of all weights that are
        zero.
table   mean ± std of the test accuracy in per cent over the seeds that are there, and the means of all else

Beside `crbg`, `edge-popup` and `random` at each share there are, for the ticket of `crbg`, "equal-bytes": a search of
gates of weights alone, whose file is not larger; and "dense-small": all weights trained of the network that is left,
from He's initialisation, with the best of three learning rates. Every run has the same images and steps. Ratios are to
the dense ONNX export of the whole network, in onnxruntime on one thread, at a batch of 1 and of 32.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import copy
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import slt_compress
from benchmarks.cells import per_cent, read, run_missing
from slt_compress.comparison.dense import train_dense
from slt_compress.config import SearchConfig
from slt_compress.models.architectures import BasicBlock
from slt_compress.pipeline.find import find_ticket
from slt_compress.pipeline.prepare import Prepared, prepare
from slt_compress.ticket.ticket import Ticket

SHARES = (0.0, 0.3, 0.5, 0.7)
METHODS = ("crbg", "edge-popup", "random", "equal-bytes", "dense-small")
BATCHES = (1, 32)


@dataclass(frozen=True)
class Cell:
    """A run.

    Attributes:
        model: a name of a network.
        method: one of `METHODS`.
        share: of the neurons, removed.
        seed: of the run.
    """

    model: str
    method: str
    share: float
    seed: int

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.model}_{self.method}_{self.share:g}_{self.seed}"


def cells(models: list[str], seeds: int, shares: list[float], methods: list[str]) -> Iterator[Cell]:
    """Yield all cells, those of the first seed first; what follows from a ticket of `crbg` comes after it."""
    for seed in range(seeds):
        for model in models:
            for share in shares:
                for method in methods:
                    if share or method != "equal-bytes":
                        yield Cell(model, method, share, seed)


def run_cell(cell: Cell, prepared: Prepared, config: SearchConfig, folder: Path) -> dict[str, Any]:
    """Return what is measured of a cell; tickets are kept beside its file."""
    run = replace(config, seed=cell.seed)
    leader = folder / f"{replace(cell, method='crbg').name}.safetensors"
    if cell.method == "dense-small":
        shapes = Ticket.load(leader).restore(compact=True).state_dict()
        module = shrunk(prepared.source.build(), shapes)
        dense = train_dense(prepare(lambda: copy.deepcopy(module), run), run)
        return {
            "accuracy": dense.test.accuracy,
            "seconds": dense.seconds,
            "learning_rate": dense.learning_rate,
            "parameters": _parameters(module),
            "bytes": dense.bytes,
        }
    if cell.method == "equal-bytes":
        result = find_ticket(cell.model, replace(run, max_bytes=leader.stat().st_size), prepared=prepared)
    else:
        both: dict[str, Any] = {"granularity": "neuron,weight", "neuron_sparsity": cell.share} if cell.share else {}
        chosen = replace(run, method=cell.method, **both)
        result = find_ticket(cell.model, chosen, prepared=prepared)
    path = folder / f"{cell.name}.safetensors"
    result.ticket.save(path)
    found = {"accuracy": result.accuracy, "seconds": result.seconds, "bytes": path.stat().st_size}
    return found | _measured(result.ticket, path) if cell.method == "crbg" else found


def shrunk(module: nn.Module, shapes: dict[str, torch.Tensor]) -> nn.Module:
    """Return a module whose tensors have the shapes of those of the same names; their values are of no use."""
    for path, layer in module.named_modules():
        own = dict([*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)])
        for name in own:
            found = shapes.get(f"{path}.{name}".strip("."))
            if found is not None:  # a count of batches is not there
                setattr(layer, name, nn.Parameter(found.clone()) if isinstance(own[name], nn.Parameter) else found)
        if isinstance(layer, BasicBlock):
            outputs, inputs = shapes[f"{path}.conv2.weight"], shapes[f"{path}.conv1.weight"]
            layer.new_channels = outputs.shape[0] - inputs.shape[1]
    return module


def _measured(ticket: Ticket, path: Path) -> dict[str, Any]:
    """Return what a ticket's compact export costs, and ratios to the dense one."""
    rows = slt_compress.bench([path], batch=BATCHES).rows[: len(BATCHES)]
    return {
        "parameters": _parameters(ticket.restore(compact=True)),
        "macs": rows[0].macs,
        "onnx_bytes": rows[0].bytes,
        "macs_ratio": rows[0].ratio["macs"],
        **{f"latency_ratio_{row.batch}": row.ratio["latency_seconds"] for row in rows},
    }


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def run_all(folder: Path, chosen: Iterator[Cell], data_dir: Path, *, epochs: int, sparsity: float) -> None:
    """Run all cells that are not there, and say so of each."""
    ready: dict[str, tuple[Prepared, SearchConfig]] = {}

    def measure(cell: Cell) -> dict[str, Any]:
        if cell.model not in ready:
            data: dict[str, Any] = {"dataset": "imagefolder", "input_size": 16, "precision": "bf16"}
            config = SearchConfig(
                **({"dataset": "mnist"} if cell.model.startswith("lenet") else data),
                data_dir=data_dir,
                epochs=epochs,
                batch_size=128,
                sparsity=sparsity,
            )
            ready[cell.model] = prepare(cell.model, config), config
        return run_cell(cell, *ready[cell.model], folder)

    run_missing(folder, chosen, measure, {"epochs": epochs, "sparsity": sparsity})


def table(folder: Path) -> str:
    """Return the figures of all cells in a folder as Markdown."""
    rows = read(folder)
    titles = ("model", "removed", *METHODS, "parameters", "MACs", "ticket", "compact ONNX", "batch 1", "batch 32")
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    for model, share in sorted({(row["model"], row["share"]) for row in rows}):
        same = [row for row in rows if (row["model"], row["share"]) == (model, share)]
        accuracies = (_accuracy(same, method) for method in METHODS)
        leader = [row for row in same if row["method"] == "crbg"]
        kilobytes = (f"{_mean(leader, name) / 1000:,.1f} KB" for name in ("bytes", "onnx_bytes"))
        ratios = (f"{_mean(leader, f'latency_ratio_{batch}'):.2f}×" for batch in BATCHES)
        costs = (f"{_mean(leader, 'parameters'):,.0f}", f"{_mean(leader, 'macs') / 1e6:.2f} M", *kilobytes, *ratios)
        lines.append(f"| {model} | {100 * share:g} % | {' | '.join((*accuracies, *costs))} |")
    return "\n".join(lines)


def _accuracy(rows: list[dict[str, Any]], method: str) -> str:
    found = [row["accuracy"] for row in rows if row["method"] == method]
    return per_cent(found) if found else "–"


def _mean(rows: list[dict[str, Any]], name: str) -> float:
    return statistics.mean(row[name] for row in rows) if rows else float("nan")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="*", default=[])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--sparsity", type=float, default=0.95)
    parser.add_argument("--shares", nargs="+", type=float, default=list(SHARES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    chosen = parser.parse_args()
    if chosen.what == "table":
        print(table(chosen.folder))
        return
    if not chosen.models or not chosen.data_dir:
        parser.error("run needs the networks to run and --data-dir")
    todo = cells(chosen.models, chosen.seeds, chosen.shares, chosen.methods)
    run_all(chosen.folder, todo, chosen.data_dir, epochs=chosen.epochs, sparsity=chosen.sparsity)


if __name__ == "__main__":
    main()
