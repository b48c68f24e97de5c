"""Figures of trained tickets: accuracy and bytes of pruned networks beside strong tickets and the dense network.

    python -m benchmarks.pruning run FOLDER [lenet|narrow|found|cost|resnet20|vgg16-quarter …] --data-dir DIR
    python -m benchmarks.pruning table FOLDER
    python -m benchmarks.pruning plot FOLDER FILE.png

run     one JSON file a cell in FOLDER, written at once and as a whole; a cell that is there is not run again, so that
        the command can be killed and repeated. `found` are ticket searches with rewinding, trained with their
        controls, `cost` such searches of three lengths, and `narrow` dense networks of the shape of LeNet-300-100 with
        fewer hidden units: MNIST in DIR. The other networks learn CIFAR-10, where DIR holds train and test, with a
        folder per class; `vgg16` is VGG-16 with BatchNorm and one linear layer, `vgg16-quarter` has a quarter of its
        channels, and `resnet20-w2` sees images of 16 px. --epochs N is of each run, 12 by default, --seeds N their
        number, --sparsities and --methods choose among the cells. With --rates a network is pruned at each of these
        learning rates, each for the whole budget, and the one that is best on held-out images counts, as for the dense
        network.
plot    test accuracy against bytes, of the parts `lenet` and `narrow`
table   mean ± std of the test accuracy in per cent over the seeds that are there, and the mean bytes

One thread. A pruned network is trained once; its weights are then rounded to each form of values, with its statistics
measured again. Cells are in the order of the seeds, so that a part of them is a smaller experiment.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

import slt_compress
from benchmarks.cells import per_cent, read, run_missing
from slt_compress.comparison.dense import train_dense
from slt_compress.config import SearchConfig
from slt_compress.files import write_atomically
from slt_compress.pipeline.find import find_ticket
from slt_compress.pipeline.prepare import Prepared, prepare
from slt_compress.plotting.figures import new_figure, own_settings, show_accuracies, show_kilobytes, to_png
from slt_compress.progress import SILENT
from slt_compress.pruning.config import FindConfig, PruneConfig, TrainConfig
from slt_compress.pruning.finish import Job, Trained, finish, measured
from slt_compress.pruning.names import METHODS, VALUES
from slt_compress.pruning.prune import prune
from slt_compress.pruning.retrain import train_ticket
from slt_compress.pruning.rounds import find
from slt_compress.pruning.under_mask import ticket_start

SPARSITIES = (0.8, 0.9, 0.95, 0.98, 0.99)
REWOUND = 200  # steps, about an epoch of MNIST
_SMALL: dict[str, Any] = {"input_size": 16, "batch_size": 128, "precision": "bf16"}  # as in results/resnet20-w2-cifar10
_CIFAR: dict[str, Any] = {**_SMALL, "input_size": 32, "augment": "shift-flip"}


def vgg16(share: float) -> nn.Module:
    """Return VGG-16 (Simonyan & Zisserman 2015, arXiv:1409.1556) for images of 32 px, with BatchNorm and one linear
    layer, and a share of its channels.
    """
    layers: list[nn.Module] = []
    channels = 3
    for repeats, width in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(repeats):
            outputs = round(width * share)
            layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            channels = outputs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels, 10))


# name of a part -> network, data set, settings of its runs
MODELS: dict[str, tuple[str | Callable[[], nn.Module], str, dict[str, Any]]] = {
    "lenet": ("lenet-300-100", "mnist", {}),
    "narrow": ("lenet-300-100", "mnist", {}),
    "found": ("lenet-300-100", "mnist", {}),
    "cost": ("lenet-300-100", "mnist", {}),
    "resnet20": ("resnet20", "imagefolder", _CIFAR),
    "resnet20-w2": ("resnet20-w2", "imagefolder", _SMALL),
    "vgg16": (lambda: vgg16(1), "imagefolder", _CIFAR),
    "vgg16-quarter": (lambda: vgg16(1 / 4), "imagefolder", _CIFAR),
}
COST_EPOCHS, COST_SPARSITIES = (4, 8, 16), (0.9, 0.95, 0.98)  # of a search, and what it is asked for
NARROW = ((300, 100), (150, 50), (75, 25), (40, 20), (20, 10), (10, 10))  # hidden units
TICKS = (0.95, 0.96, 0.97, 0.98, 0.985, 0.987)  # accuracies, of the plot


@dataclass(frozen=True)
class Cell:
    """A run: what is done with which network, and how its result is found.

    Attributes:
        part: a key of `MODELS`.
        method: of pruning, "strong", "dense", METHOD-from-STEPS of a search with rewinding or METHOD-in-EPOCHS.
        sparsity: asked for; 0 where that is several.
        seed: of the run.
    """

    part: str
    method: str
    sparsity: float
    seed: int

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.part}_{self.method}_{self.sparsity:g}_{self.seed}"


def cells(parts: list[str], seeds: int, sparsities: list[float], methods: list[str]) -> Iterator[Cell]:
    """Yield all cells, those of the first seed first."""
    for seed in range(seeds):
        for part in parts:
            if part == "found":
                for method in ("magnitude", "continuous-sparsification"):
                    for steps in (0, REWOUND):
                        yield from (Cell(part, f"{method}-from-{steps}", one, seed) for one in sparsities)
                continue
            if part == "cost":
                for method in ("magnitude", "continuous-sparsification"):
                    yield from (Cell(part, f"{method}-in-{one}", 0.0, seed) for one in COST_EPOCHS)
                continue
            if part == "narrow":
                yield from (Cell(part, f"dense-{first}-{second}", 0.0, seed) for first, second in NARROW)
                continue
            if "dense" in methods:
                yield Cell(part, "dense", 0.0, seed)
            for sparsity in sparsities:
                yield from (Cell(part, method, sparsity, seed) for method in methods if method != "dense")


def run_cell(cell: Cell, prepared: Prepared, config: SearchConfig, rates: list[float]) -> dict[str, Any]:
    """Return what is measured of a cell; a network is pruned at these learning rates, or at the default one."""
    run = replace(config, seed=cell.seed)
    model = MODELS[cell.part][0]
    if cell.method == "dense":
        dense = train_dense(prepared, run)
        return {"accuracy": dense.test.accuracy, "bytes": {"fp32": dense.bytes}, "seconds": dense.seconds}
    if cell.method == "strong":
        strong = find_ticket(model, replace(run, sparsity=cell.sparsity, initialiser=None), prepared=prepared)
        return {
            "accuracy": strong.accuracy,
            "bytes": {"seed": len(strong.ticket.to_bytes())},
            "seconds": strong.seconds,
        }
    if cell.part == "found":
        return _found(cell, prepared, run)
    if cell.part == "cost":
        return _cost(cell, prepared, run)
    if cell.part == "narrow":
        first, second = map(int, cell.method.split("-")[1:])
        prepared = prepare(lambda: _lenet(first, second), run)
        cell = replace(cell, method="magnitude")  # which removes nothing at sparsity 0
    chosen = PruneConfig(
        run=run, method=cell.method, sparsity=cell.sparsity, values="fp32", learning_rate=rates or None
    )
    result = prune(model, chosen, prepared=prepared)
    job = Job.of(prepared, run, SILENT)
    accuracies, sizes = {"fp32": result.accuracy}, {"fp32": len(result.ticket.to_bytes())}
    trained = Trained(result.seconds, ())
    for values in VALUES[1:]:
        start = ticket_start(result.ticket, job)
        rounded = measured(job, finish(job, start.network, trained, values, cell.method, {}))
        accuracies[values], sizes[values] = rounded.accuracy, len(rounded.ticket.to_bytes())
    found = {"accuracy": result.accuracy, "accuracies": accuracies, "bytes": sizes, "seconds": result.seconds}
    found["learning_rate"] = result.learning_rate
    return {**found, "layers": {layer.name: layer.kept / layer.size for layer in result.ticket.layers}}


def _lenet(first: int, second: int) -> nn.Module:
    """Return LeNet-300-100 with other numbers of hidden units."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in ((28 * 28, first), (first, second)):
        layers += [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs, affine=False), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(second, 10, bias=False), nn.BatchNorm1d(10, affine=False))


def _found(cell: Cell, prepared: Prepared, run: SearchConfig) -> dict[str, Any]:
    """Return what a found ticket and its controls come to."""
    method, _, steps = cell.method.rpartition("-from-")
    chosen = FindConfig(run=run, method=method, sparsity=cell.sparsity, rewind_steps=int(steps))
    (found,) = find("", chosen, prepared=prepared).tickets
    result = train_ticket(found.ticket, TrainConfig(run=run, controls=True), prepared=prepared)
    controls = {control.name: control.test.accuracy for control in result.controls}
    sizes = {"seed": len(found.ticket.to_bytes()), "fp16": len(result.ticket.to_bytes())}
    return {"accuracy": result.accuracy, "accuracies": controls, "bytes": sizes, "seconds": result.seconds}


def _cost(cell: Cell, prepared: Prepared, run: SearchConfig) -> dict[str, Any]:
    """Return what tickets of a search of its own length come to, trained for the epochs of `run`."""
    method, _, epochs = cell.method.rpartition("-in-")
    longer = replace(run, epochs=int(epochs))
    chosen = FindConfig(run=longer, method=method, sparsity=COST_SPARSITIES, rewind_steps=0)
    tickets = [one.ticket for one in find("", chosen, prepared=prepare(MODELS[cell.part][0], longer)).tickets]
    trained = [train_ticket(ticket, TrainConfig(run=run), prepared=prepared) for ticket in tickets]
    return {
        "accuracy": trained[-1].accuracy,
        "accuracies": {f"{sparsity:g}": one.accuracy for sparsity, one in zip(COST_SPARSITIES, trained, strict=True)},
        "bytes": {"seed": len(tickets[-1].to_bytes())},
        "seconds": sum(one.seconds for one in trained),
    }


def run_all(folder: Path, chosen: Iterator[Cell], data_dir: Path, *, epochs: int, rates: list[float]) -> None:
    """Run all cells that are not there, and say so of each."""
    ready: dict[str, tuple[Prepared, SearchConfig]] = {}

    def measure(cell: Cell) -> dict[str, Any]:
        if cell.part not in ready:
            model, dataset, settings = MODELS[cell.part]
            config = SearchConfig(
                dataset=dataset, data_dir=data_dir, epochs=epochs, initialiser="kaiming-normal", **settings
            )
            ready[cell.part] = prepare(model, config), config
        return run_cell(cell, *ready[cell.part], rates)

    run_missing(folder, chosen, measure, {"epochs": epochs})


def table(folder: Path) -> str:
    """Return the figures of all cells in a folder as Markdown."""
    rows = read(folder)
    lines = ["| part | method | sparsity | seeds | accuracy | others | bytes |", "|---|---|---|---|---|---|---|"]
    keys = sorted({(row["part"], row["sparsity"], row["method"]) for row in rows})
    for part, sparsity, method in keys:
        same = [row for row in rows if (row["part"], row["sparsity"], row["method"]) == (part, sparsity, method)]
        others = _over(same, lambda row: row.get("accuracies", {}), per_cent)
        sizes = _over(same, lambda row: row["bytes"], lambda found: f"{statistics.mean(found):,.0f}")
        accuracy = per_cent([row["accuracy"] for row in same])
        lines.append(f"| {part} | {method} | {sparsity:g} | {len(same)} | {accuracy} | {others} | {sizes} |")
    return "\n".join(lines)


def plot(folder: Path) -> bytes:
    """Return test errors against bytes as PNG: means over the seeds that are there, both axes logarithmic."""
    lines: dict[str, dict[tuple[str, float], list[tuple[int, float]]]] = {}
    for row in read(folder):
        for label, point in _points(row).items():
            lines.setdefault(label, {}).setdefault((row["method"], row["sparsity"]), []).append(point)
    with own_settings():
        figure = new_figure((7.5, 5))
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        for label, places in sorted(lines.items(), key=lambda line: not line[0].startswith("strong")):
            points = sorted(
                (statistics.mean(size for size, _ in found), 1 - statistics.mean(one for _, one in found))
                for found in places.values()
            )
            style = {"strong": "o-", "dense ": "k^:"}.get(label[:6], "s--")
            axes.plot([size / 1000 for size, _ in points], [errors for _, errors in points], style, label=label)
        show_accuracies(axes, TICKS)
        show_kilobytes(axes, "file in KB")
        axes.set_title("LeNet-300-100 on MNIST, 12 epochs: accuracy against bytes")
        axes.legend(fontsize="small")
        return to_png(figure)


def _points(row: dict[str, Any]) -> dict[str, tuple[int, float]]:
    """Return the bytes and the accuracy of a cell, by the line that it is a point of."""
    sizes = row["bytes"]
    if row["part"] == "narrow":
        return {"dense networks of several widths, int8": (sizes["int8"], row["accuracies"]["int8"])}
    if row["part"] == "lenet" and row["method"] == "strong":
        return {"strong crbg ticket: seed and mask": (sizes["seed"], row["accuracy"])}
    if row["part"] == "lenet" and row["method"] in METHODS:
        kinds = [values for values in VALUES if row["method"] == "crbg" or values == "int8"]
        return {f"pruned by {row['method']}, {kind}": (sizes[kind], row["accuracies"][kind]) for kind in kinds}
    return {}


def _over(
    rows: list[dict[str, Any]], pick: Callable[[dict[str, Any]], dict[str, float]], show: Callable[[list[float]], str]
) -> str:
    """Return named figures over rows as a text."""
    names = list(dict.fromkeys(name for row in rows for name in pick(row)))
    return ", ".join(f"{name} {show([pick(row)[name] for row in rows if name in pick(row)])}" for name in names)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table", "plot"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("parts", nargs="*", default=[], help=f"of {', '.join(MODELS)}; for a plot, its file")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--sparsities", nargs="+", type=float, default=list(SPARSITIES))
    parser.add_argument("--rates", nargs="+", type=float, default=[])
    known = ["dense", *METHODS, "strong"]
    parser.add_argument("--methods", nargs="+", choices=known, default=known)
    chosen = parser.parse_args()
    if chosen.what == "table":
        print(table(chosen.folder))
        return
    if chosen.what == "plot":
        write_atomically(Path(*chosen.parts), plot(chosen.folder))
        return
    if unknown := set(chosen.parts) - set(MODELS):
        parser.error(f"unknown parts {', '.join(unknown)}; known: {', '.join(MODELS)}")
    if not chosen.parts or not chosen.data_dir:
        parser.error("run needs the parts to run and --data-dir")
    todo = cells(chosen.parts, chosen.seeds, chosen.sparsities, chosen.methods)
    run_all(chosen.folder, todo, chosen.data_dir, epochs=chosen.epochs, rates=chosen.rates)


if __name__ == "__main__":
    slt_compress.__version__  # noqa: B018, the package, before torch
    main()
