"""Figures of folders with onnxruntime-web, under Node.js, of tickets with random masks.

    python -m benchmarks.web DIST [NAME:SIZE:CHANNELS …] [--density D] [--rounds N] [--folder DIR]

DIST is the folder of that name in the npm package onnxruntime-web. Without names: lenet-5 at 28 px, resnet20 and
resnet18 at 32 px, vit_tiny_patch16_224 at 224 px. `make` is the time to make a session, without the start of the
runtime; `heap` the runtime's memory after that, `image` the time that one image takes then. All forms of a network take
turns, each time in a new process; figures are medians, ratios are to the dense form. DIR keeps the folders: served, the
page's `document.body.dataset.ready` is the time from the start of loading until it can answer, in ms.
"""

import argparse
import gzip
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from slt_compress.html_export import wasm
from slt_compress.ticket.sample import sample_ticket
from slt_compress.web_export import node, runtime
from slt_compress.web_export.export import WebExportConfig, export
from slt_compress.web_export.page import MODEL

DEFAULT = ("lenet-5:28:1", "resnet20:32:3", "resnet18:32:3", "vit_tiny_patch16_224:224:3")
FORMS = {"dense": WebExportConfig("dense"), "compact": WebExportConfig(), "portable": WebExportConfig(portable=True)}
CLASSES, IMAGES = 10, 5


def measured(site: Path, size: int, channels: int, used: runtime.Runtime) -> tuple[float, float, float]:
    """Return milliseconds for a session, megabytes of heap, and milliseconds for an image."""
    program = wasm.node()
    if not program:
        raise SystemExit("Node.js is not installed")
    image = torch.zeros((1, size, size, channels), dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(shutil.copy(site / MODEL, folder))
        with node.session(program, used, model, image.numel(), CLASSES) as session:
            session(image)
            start = time.perf_counter()
            for _ in range(IMAGES):
                session(image)
            latency = 1e3 * (time.perf_counter() - start) / IMAGES
            return session.milliseconds, session.heap_bytes / 1e6, latency


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dist", type=Path)
    parser.add_argument("cases", nargs="*", default=DEFAULT, metavar="NAME:SIZE:CHANNELS")
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keep the folders here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    used = runtime.read(arguments.dist)
    print(f"{'network':22} form          graph, gzip  make, ms  ratio  heap, MB  ratio  image, ms  ratio")
    with tempfile.TemporaryDirectory() as temporary:
        for case in arguments.cases:
            name, size, channels = case.split(":")
            ticket = sample_ticket(name, arguments.density, input_size=int(size), channels=int(channels))
            sites = {form: (arguments.folder or Path(temporary)) / f"{name}-{form}" for form in FORMS}
            for form, config in FORMS.items():
                export(ticket.restore(), ticket, sites[form], replace(config, runtime=arguments.dist))
            rounds = [
                {form: measured(site, int(size), int(channels), used) for form, site in sites.items()}
                for _ in range(arguments.rounds)
            ]
            for form, site in sites.items():
                content = (site / MODEL).read_bytes()
                line = f"{name:22} {form:8} {len(content):10,} {len(gzip.compress(content)):10,}"
                for index in range(3):
                    found = statistics.median(one[form][index] for one in rounds)
                    ratio = statistics.median(one[form][index] / one["dense"][index] for one in rounds)
                    line += f" {found:9.1f} {ratio:6.2f}"
                print(line, flush=True)
    print(f"onnxruntime-web {used.version}, one thread")


if __name__ == "__main__":
    main()
