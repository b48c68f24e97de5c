"""Figures of exported files, by `slt-compress bench`, of tickets with random masks.

    python -m benchmarks.onnx [NAME:SIZE:DENSITY[,DENSITY…] …] [--weights compact,int2,int8] [--rounds N] [--folder DIR]

Without names: resnet18 at 32 px and deit_tiny_patch16_224, densities .5 .1 .05. Masks are random, which changes neither
bytes nor speed. Ratios are to the dense export of the same ticket. `peak` is the memory while a session is made.
"""

import argparse
import tempfile
from pathlib import Path

import torch

import slt_compress
from slt_compress.benchmark.results import Row
from slt_compress.data.splits import TensorSplit
from slt_compress.onnx_export.export import ExportConfig, export
from slt_compress.ticket.sample import sample_ticket

DEFAULT = ("resnet18:32:0.5,0.1,0.05", "deit_tiny_patch16_224:224:0.5,0.1,0.05")
BATCHES = (1, 32)


def write(name: str, size: int, density: float, kinds: list[str], folder: Path) -> tuple[int, dict[str, Path]]:
    """Return the bytes of a ticket, and its exports by kind."""
    ticket = sample_ticket(name, density, input_size=size)
    module = ticket.restore()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(256, (32, 3, size, size), dtype=torch.uint8, generator=generator)
    images = TensorSplit(noise, torch.zeros(32, dtype=torch.int64))
    paths = {}
    for kind in kinds:
        paths[kind] = folder / f"{name}-{density}-{kind}.onnx"
        config = ExportConfig(weights=kind, max_accuracy_drop=1 if kind == "int8" else None)
        export(module, ticket, paths[kind], config, test=images, calibration=images)
    return len(ticket.to_bytes()), paths


def line(one: Row, many: Row, ticket_bytes: int) -> str:
    """Return the figures of a file at both batch sizes."""

    def ratio(row: Row, name: str) -> str:
        value = row.ratio[name]
        return "     –" if value is None else f"{value:6.2f}"

    peak = "       –" if one.session_peak_bytes is None else f"{one.session_peak_bytes / 1e6:8.0f}"
    return (
        f"{one.bytes:11,} {one.bytes / ticket_bytes:8.3f} "
        f"{1e3 * one.latency_seconds:7.2f} {ratio(one, 'latency_seconds')} "
        f"{1e3 * many.latency_seconds:8.1f} {ratio(many, 'latency_seconds')} "
        f"{1e3 * one.session_seconds:8.0f} {peak} {ratio(one, 'session_peak_bytes')}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=DEFAULT, metavar="NAME:SIZE:DENSITIES")
    parser.add_argument("--weights", default="compact")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keep the files here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kinds = ["dense", *arguments.weights.split(",")]
    print(
        f"{'network':22} density {'weights':8} {'bytes':>11} /ticket  b1, ms  ratio  b32, ms  ratio  make, ms  peak, MB"
        " ratio"
    )
    with tempfile.TemporaryDirectory() as temporary:
        for case in arguments.cases:
            name, size, densities = case.split(":")
            for density in densities.split(","):
                folder = arguments.folder or Path(temporary)
                ticket_bytes, paths = write(name, int(size), float(density), kinds, folder)
                found = slt_compress.bench(list(paths.values()), batch=BATCHES, rounds=arguments.rounds)
                for kind, one, many in zip(paths, found.rows[::2], found.rows[1::2], strict=True):
                    print(f"{name:22} {density:>7} {kind:8} {line(one, many, ticket_bytes)}", flush=True)
    print(f"{found.machine}, {found.versions}, one thread")


if __name__ == "__main__":
    main()
