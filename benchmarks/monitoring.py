"""How much of a change a monitor finds, how often it cries wolf, and how well it estimates the accuracy.

    python -m benchmarks.monitoring TICKET:DATA_DIR [TICKET:DATA_DIR …] [--draws N] [--images N] [--cache DIR]

Each ticket was made with `search --reference`, so its reference is of held-out training images. Windows are drawn from
the test images, without labels: as they are, or corrupted in five severities. Printed are two Markdown tables for each
ticket: the share of windows with an alarm, and the mean error of the estimated accuracy in points.

The corruptions are those of the usual benchmarks, on the images as the network takes them, with the parameters that
Hendrycks and Dietterich (2019) published for CIFAR-10-C where they have the kind: Gaussian noise and blur, less
contrast, rotation, images of the other ticket's data set among the others ("foreign", which have no right class), and
one class more often than before ("one class").

The network runs once on the images of each kind and severity; windows are draws from what it made of them. With
--cache, that is kept, and an interrupted run goes on.
"""

import argparse
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from slt_compress.data.splits import TensorSplit, resize
from slt_compress.monitoring.config import MonitorConfig
from slt_compress.monitoring.counts import Counts, Observations
from slt_compress.monitoring.judge import judge
from slt_compress.monitoring.observe import observe_split
from slt_compress.pipeline.images import images_for
from slt_compress.ticket.held_out import Classes, Reference
from slt_compress.ticket.record import NetworkRecord
from slt_compress.ticket.ticket import Ticket

SIZES = (100, 500, 2000)
SEVERITIES = range(5)
NOISE = (0.04, 0.06, 0.08, 0.09, 0.10)  # standard deviation, of pixels from 0 to 1
BLUR = (0.4, 0.6, 0.7, 0.8, 1.0)  # standard deviation in px
CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)  # what is left of it
ROTATION = (5, 10, 15, 20, 30)  # degrees, at most, to either side
FOREIGN = (0.02, 0.05, 0.1, 0.2, 0.4)  # share of the images
ONE_CLASS = (0.15, 0.2, 0.25, 0.3, 0.4)  # share of the first class, a tenth before

Images = torch.Tensor  # float32 (n, channels, size, size), from 0 to 1


def noise(images: Images, severity: int, generator: torch.Generator) -> Images:
    return images + NOISE[severity] * torch.randn(images.shape, generator=generator)


def blur(images: Images, severity: int, _: torch.Generator) -> Images:
    radius = math.ceil(4 * BLUR[severity])
    kernel = torch.exp(-(torch.arange(-radius, radius + 1) ** 2) / (2 * BLUR[severity] ** 2))
    kernel, channels = kernel / kernel.sum(), images.shape[1]
    padded = F.pad(images, (radius,) * 4, mode="replicate")
    across = F.conv2d(padded, kernel.view(1, 1, 1, -1).repeat(channels, 1, 1, 1), groups=channels)
    return F.conv2d(across, kernel.view(1, 1, -1, 1).repeat(channels, 1, 1, 1), groups=channels)


def contrast(images: Images, severity: int, _: torch.Generator) -> Images:
    mean = images.mean((2, 3), keepdim=True)
    return (images - mean) * CONTRAST[severity] + mean


def rotation(images: Images, severity: int, generator: torch.Generator) -> Images:
    angles = (2 * torch.rand(len(images), generator=generator) - 1) * math.radians(ROTATION[severity])
    rows = [angles.cos(), -angles.sin(), 0 * angles, angles.sin(), angles.cos(), 0 * angles]
    grid = F.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


CORRUPTIONS: dict[str, Callable[[Images, int, torch.Generator], Images]] = {
    "noise": noise,
    "blur": blur,
    "contrast": contrast,
    "rotation": rotation,
}


class Case:
    """A ticket with what it makes of test images."""

    def __init__(self, ticket: Path, data_dir: Path, most: int, cache: Path | None) -> None:
        self.name, self.ticket = ticket.stem, Ticket.load(ticket)
        self.record = NetworkRecord.of(self.ticket)
        split = images_for(self.record, None, data_dir, most=most)
        assert isinstance(split, TensorSplit)
        self.images, self.labels = split.inputs, split.targets
        self._module = self.ticket.restore()
        self._cache = cache

    @property
    def reference(self) -> Reference:
        assert self.record.held_out, f"{self.name} was not made with search --reference"
        return self.record.held_out

    def seen(self, what: str, images: Callable[[], torch.Tensor], labels: torch.Tensor) -> Observations:
        """Return what the network makes of uint8 images, from the cache if they have been seen."""
        file = self._cache and self._cache / f"{self.name}-{self.ticket.digest[:8]}-{what}-{len(labels)}.npz"
        if file and file.exists():
            with np.load(file) as kept:
                quantities = {name: kept[name] for name in kept.files if name not in ("predicted", "labels")}
                return Observations(quantities, kept["predicted"], kept["labels"])
        feed = self.record.preprocessing
        assert feed
        found = observe_split(self._module, TensorSplit(images(), labels), feed, torch.device("cpu"))
        if file:
            arrays: dict[str, Any] = {"predicted": found.predicted, "labels": found.labels, **found.quantities}
            np.savez(file, **arrays)
        return found

    def clean(self) -> Observations:
        return self.seen("clean", lambda: self.images, self.labels)

    def corrupted(self, kind: str, severity: int) -> Observations:
        def images() -> torch.Tensor:
            generator = torch.Generator().manual_seed(severity)
            changed = CORRUPTIONS[kind](self.images.float() / 255, severity, generator)
            return (changed.clamp(0, 1) * 255).round().to(torch.uint8)

        return self.seen(f"{kind}-{severity}", images, self.labels)

    def foreign(self, other: "Case") -> Observations:
        """Return what the network makes of the other data set, whose labels are none of its own."""

        def images() -> torch.Tensor:
            found = resize(other.images, self.images.shape[-1])
            found = found.float().mean(1, keepdim=True).round().to(torch.uint8)
            return found.expand(-1, self.images.shape[1], -1, -1)

        return self.seen(f"foreign-{other.name}", images, torch.full((len(other.images),), -2))


def draw(pool: Observations, places: Classes) -> Observations:
    quantities = {name: values[places] for name, values in pool.quantities.items()}
    return Observations(quantities, pool.predicted[places], pool.labels[places])


def windows(case: Case, other: Case, kind: str, severity: int, size: int, draws: int) -> Iterator[Observations]:
    """Yield draws of so many images, each image at most once in a window."""
    generator = np.random.default_rng([severity, size, len(kind)])
    clean = case.clean()
    pool = case.corrupted(kind, severity) if kind in CORRUPTIONS else clean
    strangers = case.foreign(other) if kind == "foreign" else clean
    first = np.flatnonzero(clean.labels == 0)
    rest = np.flatnonzero(clean.labels != 0)
    for _ in range(draws):
        if kind == "foreign":
            count = round(FOREIGN[severity] * size)
            found = draw(pool, generator.choice(len(pool), size - count, replace=False))
            added = draw(strangers, generator.choice(len(strangers), count, replace=False))
            yield Observations(
                {name: np.concatenate([found.quantities[name], added.quantities[name]]) for name in found.quantities},
                np.concatenate([found.predicted, added.predicted]),
                np.concatenate([found.labels, added.labels]),
            )
        elif kind == "one class":
            count = round(ONE_CLASS[severity] * size)
            chosen = generator.choice(first, count, replace=False), generator.choice(rest, size - count, replace=False)
            yield draw(pool, np.concatenate(chosen))
        else:
            yield draw(pool, generator.choice(len(pool), size, replace=False))


def judged(case: Case, found: Observations) -> tuple[bool, float, float, float]:
    """Return whether a window without labels raises an alarm, its accuracy, and its two estimates."""
    unknown = Observations(found.quantities, found.predicted, np.full_like(found.labels, -1))
    counts = Counts.of(unknown, case.reference, len(case.record.classes))
    window = judge(case.reference, counts, MonitorConfig())
    assert window.estimated_accuracy is not None
    assert window.calibrated_accuracy is not None
    accuracy = float((found.predicted == found.labels).mean())
    return bool(window.alarms), accuracy, window.estimated_accuracy, window.calibrated_accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tickets", nargs="+", metavar="TICKET:DATA_DIR")
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    if options.cache:
        options.cache.mkdir(parents=True, exist_ok=True)
    pairs = [text.partition(":") for text in options.tickets]
    cases = [Case(Path(ticket), Path(folder), options.images, options.cache) for ticket, _, folder in pairs]
    for place, case in enumerate(cases):
        other = cases[place - 1]
        kinds = [*CORRUPTIONS, *(["foreign"] if other is not case else []), "one class"]
        report(case, other, kinds, options.draws)


def report(case: Case, other: Case, kinds: list[str], draws: int) -> None:
    """Print the tables of a ticket."""
    accuracy = float((case.clean().predicted == case.clean().labels).mean())
    print(f"\n{case.name} on {case.record.dataset}: {accuracy:.2%} of {len(case.images):,} test images, ", end="")
    print(f"{case.reference.accuracy:.2%} of {case.reference.images:,} held-out ones\n")
    sizes = " | ".join(f"{size:,} images" for size in SIZES)
    errors = " | ".join(f"error, {size:,}" for size in SIZES)
    print(f"| images | severity | {sizes} | accuracy | estimated | {errors} | calibrated |")
    print("|---|---|" + "---|" * (2 * len(SIZES) + 3))
    for kind in ["clean", *kinds]:
        for severity in SEVERITIES if kind != "clean" else range(1):
            alarms, errors_of = [], []
            for size in SIZES:
                found = np.array([judged(case, one) for one in windows(case, other, kind, severity, size, draws)])
                alarms.append(f"{found[:, 0].mean():.0%}")
                errors_of.append(f"{100 * np.abs(found[:, 2] - found[:, 1]).mean():.1f}")
            _, right, estimated, calibrated = found.mean(0)
            cells = [kind, "–" if kind == "clean" else str(severity + 1), *alarms, f"{right:.1%}", f"{estimated:.1%}"]
            print("|", " | ".join([*cells, *errors_of, f"{calibrated:.1%}"]), "|", flush=True)


if __name__ == "__main__":
    main()
