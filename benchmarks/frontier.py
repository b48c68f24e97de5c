"""Accuracy at a given size on CIFAR-10: runs of several networks at fixed bytes, beside what has been published.

    python -m benchmarks.frontier run FOLDER DATA_DIR [OPTIONS OF compare]
    python -m benchmarks.frontier dense FOLDER DATA_DIR [OPTIONS OF compare]
    python -m benchmarks.frontier page FOLDER PAGE

run    `slt-compress compare` of the fastnets at 30, 70, 100 and 150 KB, in bf16, 16 epochs of 128, with checkpoints.
       Options that follow replace these, such as `--models fastnet --bytes 100KB --epochs 30 --device cuda`. Each
       number of epochs has a folder of its own, as FOLDER/16-epochs. Finished runs are kept, and what was killed goes
       on: give the same command again
dense  likewise the same networks with all weights trained and stored in int8; `--dense-lr` gives the learning rate
       instead of a choice among three, each tried for the whole budget
page   writes PAGE, a table of all that is finished in FOLDER and of the published points, and a plot beside it

DATA_DIR holds the images as a folder per class, `train` and `test`.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slt_compress.comparison.results import Row, Summary, summarise
from slt_compress.comparison.tables import percent, target_name
from slt_compress.plotting.figures import new_figure, own_settings, show_accuracies, show_kilobytes, to_png

DENSE = "prune:magnitude:int8"  # at sparsity 0, where nothing is pruned
SEARCHED = {"--methods": "crbg,edge-popup,random", "--bytes": "30KB,70KB,100KB,150KB"}
TRAINED = {"--methods": DENSE, "--sparsities": "0"}
SETTINGS = {
    "--models": "fastnet-32-128-128,fastnet,fastnet-96-384-384",
    "--seeds": "1",
    "--epochs": "16",
    "--batch-size": "128",
    "--precision": "bf16",
    "--augment": "shift-flip",
    "--checkpoint-every": "300",
}
TICKS = (0.1, 0.5, 0.7, 0.8, 0.85, 0.88, 0.9, 0.92, 0.94, 0.95)  # of the plot
NAMES = {DENSE: "dense, int8"}
MARKERS = {"crbg": "o", "edge-popup": "s", "random": "d", DENSE: "*"}


@dataclass(frozen=True)
class Published:
    """A figure of somebody else, on the original pixels of CIFAR-10.

    Attributes:
        name: method and network.
        accuracy: of the test images, in per cent.
        kilobytes: of a file, where that is given, or of the masks by their Shannon bound.
        trained: whether weights were trained.
    """

    name: str
    accuracy: float
    kilobytes: float
    trained: bool = False


# Sizes are worked out from the densities and numbers of weights that the papers give: none of them wrote such a file.
PUBLISHED = (
    Published("Gem-Miner, MobileNetV2 1.4 % (Sreenivasan et al. 2022)", 84.6, 30),
    Published("signed supermask, ResNet-20 (Koster et al. 2022)", 81.7, 30),
    Published("signed supermask, ResNet-20 ×3 (Koster et al. 2022)", 84.9, 79),
    Published("biprop, VGG-small 5 % (Diffenderfer & Kailkhura 2021)", 91.5, 165),
    Published("biprop, ResNet-18 20 % (Diffenderfer & Kailkhura 2021)", 94.7, 1_000),
    Published("trained, pruned and entropy-coded, small", 86.5, 11.4, trained=True),
    Published("trained, pruned and entropy-coded, medium", 91.5, 66, trained=True),
    Published("trained, pruned and entropy-coded, large", 94.6, 98, trained=True),
)


def run(folder: Path, data_dir: Path, cells: dict[str, str], options: list[str]) -> int:
    """Run the comparison of such cells, and return its exit code."""
    given = dict(zip(options[::2], options[1::2], strict=True))
    settings = {"--dataset": "imagefolder", "--data-dir": str(data_dir), **SETTINGS, **cells, **given}
    settings["--output"] = str(folder / f"{settings['--epochs']}-epochs")
    words = [word for pair in settings.items() for word in pair]
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    return subprocess.run(
        [sys.executable, "-m", "slt_compress", "compare", *words, "--no-dense"], env=environment, check=False
    ).returncode


@dataclass(frozen=True)
class Point:
    """What runs of one method on one network come to, which differ in their seeds alone.

    Attributes:
        model: the network.
        epochs: of the searches.
        seeds: of the runs.
        summary: their means.
    """

    model: str
    epochs: float
    seeds: Sequence[int]
    summary: Summary


def points_of(folder: Path) -> list[Point]:
    """Return all finished runs below a folder, the smallest files first."""
    found: dict[tuple[str, float], list[Row]] = {}
    for path in sorted(folder.glob("**/cells/*.json")):
        document = json.loads(path.read_bytes())
        settings = document["settings"]
        found.setdefault((settings["model"], settings["epochs"]), []).append(Row.from_json(document["row"]))
    points = [
        Point(*key, sorted(row.seed for row in rows if (row.label, row.max_bytes) == (one.label, one.max_bytes)), one)
        for key, rows in found.items()
        for one in summarise(rows)
    ]
    return sorted(points, key=lambda p: (p.summary.max_bytes or math.inf, p.summary.bytes, p.epochs, p.summary.label))


def page(folder: Path, target: Path) -> None:
    """Write the page and its plot."""
    points = points_of(folder)
    if not points:
        raise SystemExit(f"{folder} has no finished run; make some with: python -m benchmarks.frontier run")
    lines = ["| at most | network | method | epochs | seeds | sparsity | KB | held-out | test |", "|---" * 9 + "|"]
    for point in points:
        summary = point.summary
        asked = target_name(summary) if summary.max_bytes else "–"
        name = NAMES.get(summary.label, f"`{summary.label}`")
        lines.append(
            f"| {asked} | `{point.model}` | {name} | {point.epochs:.3g} | {', '.join(map(str, point.seeds))} "
            f"| {percent(summary.sparsity)} % | {summary.bytes / 1000:,.1f} "
            f"| {percent(summary.validation_accuracy, summary.validation_accuracy_std)} "
            f"| {percent(summary.accuracy, summary.accuracy_std)} |"
        )
    lines += ["", "| published, on original pixels | weights | KB | test |", "|---|---|---|---|"]
    for one in PUBLISHED:
        kind = "trained" if one.trained else "random"
        lines.append(f"| {one.name} | {kind} | about {one.kilobytes:g} | {one.accuracy:g} |")
    begin, end = "<!-- figures -->", "<!-- end of figures -->"
    text = target.read_text() if target.exists() else f"# The frontier\n\n{begin}\n{end}\n"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    picture = target.with_suffix(".png")
    shown = f"![accuracy against bytes]({picture.name})"
    target.write_text("\n".join([before + begin, "", *lines, "", shown, "", end + after]))
    picture.write_bytes(draw(points))


def draw(points: list[Point]) -> bytes:
    """Return a plot of test errors against bytes as PNG: a colour for each network, a marker for each method."""
    with own_settings():
        figure = new_figure((7.5, 5))
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        lines: dict[tuple[str, str], list[Point]] = {}
        for point in points:
            lines.setdefault((point.model, point.summary.label), []).append(point)
        models = list(dict.fromkeys(model for model, _ in lines))
        for (model, label), same in sorted(lines.items()):
            axes.plot(
                [point.summary.bytes / 1000 for point in same],
                [1 - point.summary.accuracy for point in same],
                MARKERS.get(label, "v"),
                color=f"C{models.index(model)}",
                label=f"{model}, {NAMES.get(label, label)}",
            )
        for trained, marker in ((False, "x"), (True, "+")):
            others = [one for one in PUBLISHED if one.trained == trained]
            label = "published, trained weights" if trained else "published, random weights"
            positions, errors = [one.kilobytes for one in others], [1 - one.accuracy / 100 for one in others]
            axes.plot(positions, errors, marker, color="0.4", label=label)
        for point in points:
            place = point.summary.bytes / 1000, 1 - point.summary.accuracy
            axes.annotate(f" {point.epochs:g}", place, fontsize="x-small", va="center")
        show_accuracies(axes, TICKS)
        show_kilobytes(axes, "file in KB (published: estimated from densities)")
        axes.set_title("CIFAR-10: accuracy against bytes; beside our points, their epochs")
        axes.legend(fontsize="small")
        return to_png(figure)


def main(words: list[str]) -> int:
    """Run what the command line asks for."""
    match words:
        case ["run" | "dense" as what, folder, data_dir, *options] if len(options) % 2 == 0:
            return run(Path(folder), Path(data_dir), TRAINED if what == "dense" else SEARCHED, options)
        case ["page", folder, target]:
            page(Path(folder), Path(target))
            return 0
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
