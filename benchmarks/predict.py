"""Images a second of `predict`, against a plain loop that reads the same files.

    python -m benchmarks.predict [--images 400] [--size 32,300]

The plain loop is what anyone would write for an exported file: open an image with Pillow, convert and resize it,
prepare it with numpy, run onnxruntime on it, one image after the other. `predict` does so with its own decoding, for
the ticket and for the exported file. JPEG files of random pixels, blurred, of each size in px; one thread; the three
take turns, and figures are medians of processor time over the turns.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image, ImageFilter

import slt_compress
from slt_compress.data.preprocessing import Preprocessing
from slt_compress.evaluation.networks import open_network
from slt_compress.ticket.sample import sample_ticket

TURNS = 7
MODELS = (("conv4", 32), ("resnet18", 32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--size", default="32,300")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | images | plain loop | `predict`, ONNX | ratio | `predict`, ticket | ratio |")
    print("|---|---|---|---|---|---|---|")
    for size in map(int, given.size.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            files = make_images(Path(folder), given.images, size)
            for model, side in MODELS:
                show(Path(folder), files, model, side, size)


def show(folder: Path, files: list[Path], model: str, side: int, size: int) -> None:
    ticket = sample_ticket(model, 0.1, input_size=side)
    slt_compress.export(ticket, folder / f"{model}.onnx")
    prepare = ticket.provenance.preprocessing
    assert prepare
    session = plain_session(folder / f"{model}.onnx")
    networks = [open_network(folder / f"{model}.onnx"), open_network(ticket)]
    runs: list[Callable[[], object]] = [lambda: plain_loop(session, files, prepare)]
    runs += [lambda network=network: list(slt_compress.predict(network, files)) for network in networks]  # type: ignore[misc]
    seconds: list[list[float]] = [[] for _ in runs]
    for run in runs:
        run()
    for _ in range(TURNS):
        for times, run in zip(seconds, runs, strict=True):
            start = time.process_time()
            run()
            times.append(time.process_time() - start)
    plain, onnx, own = (len(files) / statistics.median(times) for times in seconds)
    print(
        f"| {model}, {side} px | {len(files)} of {size} px | {plain:,.0f}/s | {onnx:,.0f}/s | {onnx / plain:.2f} "
        f"| {own:,.0f}/s | {own / plain:.2f} |"
    )


def plain_session(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def plain_loop(session: onnxruntime.InferenceSession, files: list[Path], prepare: Preprocessing) -> list[int]:
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (prepare.mean, prepare.std))
    name = session.get_inputs()[0].name
    found = []
    for file in files:
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("RGB").resize((prepare.size, prepare.size), Image.Resampling.BILINEAR))
        inputs = (pixels.transpose(2, 0, 1).astype(np.float32) / 255 - mean) / std
        found.append(int(session.run(None, {name: inputs[None]})[0].argmax()))
    return found


def make_images(folder: Path, count: int, size: int) -> list[Path]:
    generator = np.random.default_rng(0)
    files = [folder / f"{index}.jpg" for index in range(count)]
    for file in files:
        image = Image.fromarray(generator.integers(0, 256, (size, size, 3), dtype=np.uint8))
        image.filter(ImageFilter.GaussianBlur(2)).save(file, quality=90)
    return files


if __name__ == "__main__":
    main()
