"""Accuracy at a given size on CIFAR-10: runs of several networks at fixed bytes, beside what has been published.

    python -m benchmarks.frontier run FOLDER DATA_DIR [OPTIONS OF compare]
    python -m benchmarks.frontier page FOLDER PAGE

run   `slt-compress compare` of the fastnets at 30, 70, 100 and 150 KB, in bf16, 16 epochs of 128, with checkpoints.
      Options that follow replace these, such as `--models fastnet --bytes 100KB --epochs 30 --device cuda`. Finished
      runs are kept, and what was killed goes on: give the same command again
page  writes PAGE, a table of all that is finished in FOLDER and of the published points, and a plot beside it

DATA_DIR holds the images as a folder per class, `train` and `test`.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slt_compress.plotting.figures import new_figure, own_settings, to_png

SETTINGS = {
    "--models": "fastnet-32-128-128,fastnet,fastnet-96-384-384",
    "--bytes": "30KB,70KB,100KB,150KB",
    "--methods": "crbg,edge-popup,random",
    "--seeds": "1",
    "--epochs": "16",
    "--batch-size": "128",
    "--precision": "bf16",
    "--augment": "shift-flip",
    "--checkpoint-every": "300",
}


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


def run(folder: Path, data_dir: Path, options: list[str]) -> int:
    """Run the comparison, and return its exit code."""
    given = dict(zip(options[::2], options[1::2], strict=True))
    settings = {"--dataset": "imagefolder", "--data-dir": str(data_dir), "--output": str(folder), **SETTINGS, **given}
    words = [word for pair in settings.items() for word in pair]
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    return subprocess.run(
        [sys.executable, "-m", "slt_compress", "compare", *words, "--no-dense"], env=environment, check=False
    ).returncode


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Return all finished runs below a folder, with their networks and settings."""
    found = []
    for path in sorted(folder.glob("**/cells/*.json")):
        document = json.loads(path.read_bytes())
        settings = document["settings"]
        found.append({**document["row"], "model": settings["model"], "epochs": settings["epochs"]})
    return found


def page(folder: Path, target: Path) -> None:
    """Write the page and its plot."""
    rows = sorted(rows_of(folder), key=lambda row: (row["asked_bytes"] or 0, row["bytes"], row["method"]))
    if not rows:
        raise SystemExit(f"{folder} has no finished run; make some with: python -m benchmarks.frontier run")
    lines = ["| at most | network | method | epochs | seed | sparsity | KB | held-out | test |", "|---" * 9 + "|"]
    for row in rows:
        asked = f"{row['asked_bytes'] / 1000:g} KB" if row["asked_bytes"] else "–"
        lines.append(
            f"| {asked} | `{row['model']}` | `{row['method']}` | {row['epochs']:.3g} | {row['seed']} "
            f"| {100 * row['sparsity']:.2f} % | {row['bytes'] / 1000:,.1f} "
            f"| {100 * row['validation_accuracy']:.2f} | {100 * row['accuracy']:.2f} |"
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
    picture.write_bytes(draw(rows))


def draw(rows: list[dict[str, Any]]) -> bytes:
    """Return a plot of accuracy against bytes as PNG."""
    with own_settings():
        from matplotlib.ticker import FuncFormatter

        figure = new_figure((7.5, 5))
        axes = figure.subplots()
        axes.set_xscale("log")
        for number, model in enumerate(dict.fromkeys(row["model"] for row in rows)):
            for method, marker in (("crbg", "o"), ("edge-popup", "s"), ("dense", "*")):
                points = [row for row in rows if (row["model"], row["method"]) == (model, method)]
                if points:
                    positions = [row["bytes"] / 1000 for row in points]
                    heights = [100 * row["accuracy"] for row in points]
                    axes.plot(positions, heights, marker, color=f"C{number}", label=f"{model}, {method}")
        for trained, marker in ((False, "x"), (True, "+")):
            others = [one for one in PUBLISHED if one.trained == trained]
            label = "published, trained weights" if trained else "published, random weights"
            positions, heights = [one.kilobytes for one in others], [one.accuracy for one in others]
            axes.plot(positions, heights, marker, color="0.4", label=label)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
        axes.set_xlabel("file in KB (published: estimated from densities)")
        axes.set_ylabel("test accuracy in per cent")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
        return to_png(figure)


def main(words: list[str]) -> int:
    """Run what the command line asks for."""
    match words:
        case ["run", folder, data_dir, *options] if len(options) % 2 == 0:
            return run(Path(folder), Path(data_dir), options)
        case ["page", folder, target]:
            page(Path(folder), Path(target))
            return 0
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
