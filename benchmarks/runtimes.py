"""Exported files in other runtimes: whether they compute what they should, and how long they take.

    python -m benchmarks.runtimes [NAME:SIZE:DENSITY …] [--forms NAME,…] [--runtimes NAME,…] [--folder DIR]
        [--values fp32|fp16|int8|int4]

With `--values`, kept weights are stored as this type, as if they were trained; then `int2` and `ternary8` are left out.
Without names: lenet-5 at 28 px and resnet20 at 32 px, densities .05 and .1. pip installs each runtime, without its
dependencies, into a folder of its own, where it stays. Each file is read in a fresh process by each runtime, and
examples/edge/check.py runs the file's probes there. Times are medians of five runs of one image on one thread.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import torch

from slt_compress.onnx_export.export import ExportConfig, export
from slt_compress.ticket.sample import sample_ticket, with_values
from slt_compress.ticket.stored import WEIGHT_TYPES

DEFAULT = ("lenet-5:28:0.05", "resnet20:32:0.1")
FORMS = {
    "compact": ExportConfig(),
    "portable": ExportConfig(portable=True),
    "int2": ExportConfig("int2"),
    "ternary8": ExportConfig("ternary8"),
    "dense": ExportConfig("dense"),
}
RUNS = 5
EDGE = Path(__file__).parents[1] / "examples" / "edge"

# Runtime -> what pip installs, and the code that turns `path` into `run(images) -> logits`.
_ONNXRUNTIME = """
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 4
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
run = lambda images: session.run(None, {"images": images})[0]
"""
RUNTIMES: dict[str, tuple[tuple[str, ...], str]] = {
    "onnxruntime (installed)": ((), _ONNXRUNTIME),
    "onnxruntime 1.20": (("onnxruntime==1.20.1",), _ONNXRUNTIME),
    "onnxruntime 1.17": (("onnxruntime==1.17.3", "numpy<2"), _ONNXRUNTIME),
    "onnxruntime 1.16": (("onnxruntime==1.16.3", "numpy<2"), _ONNXRUNTIME),
    "onnx ReferenceEvaluator": (
        (),
        """
        from onnx.reference import ReferenceEvaluator
        session = ReferenceEvaluator(path)
        run = lambda images: session.run(None, {"images": images})[0]
        """,
    ),
    "OpenVINO": (
        ("openvino",),
        """
        import openvino
        exact = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
        model = openvino.Core().compile_model(path, "CPU", exact | {"INFERENCE_NUM_THREADS": 1})
        run = lambda images: model([images])[model.output(0)]
        """,
    ),
    "OpenCV": (
        ("opencv-python-headless",),
        """
        import cv2
        cv2.setNumThreads(1)
        network = cv2.dnn.readNetFromONNX(path)
        def run(images):
            network.setInput(images)
            return network.forward()
        """,
    ),
    "tract": (
        ("tract",),
        """
        import tract
        model = tract.onnx().load(path)
        model.set_input_fact(0, f"1,{','.join(map(str, images.shape[1:]))},f32")
        model = model.into_model().into_runnable()
        run = lambda images: model.run([images])[0].to_numpy()
        """,
    ),
    "MNN": (
        ("MNN",),
        """
        import contextlib, subprocess
        convert = "from MNN.tools import mnnconvert; mnnconvert.main()"
        command = [sys.executable, "-c", convert, "-f", "ONNX", "--modelFile", path, "--MNNModel", path + ".mnn"]
        report = subprocess.run([*command, "--bizCode", "x"], capture_output=True, text=True).stdout
        import MNN.expr, MNN.nn
        if not os.path.exists(path + ".mnn"):
            raise RuntimeError(next((line for line in report.splitlines() if "failed" in line), report[-200:]))
        model = MNN.nn.load_module_from_file(path + ".mnn", ["images"], ["logits"])
        def run(images):
            given = MNN.expr.const(images.ravel().tolist(), list(images.shape), MNN.expr.NCHW)
            return numpy.array(MNN.expr.convert(model.forward(given), MNN.expr.NCHW).read())
        """,
    ),
    "onnx2torch": (
        ("onnx2torch",),
        """
        import onnx2torch, torch
        torch.set_num_threads(1)
        module = onnx2torch.convert(path).eval()
        run = lambda images: module(torch.from_numpy(images)).detach().numpy()
        """,
    ),
}

_PROGRAM = """
import json, os, sys, time
import numpy
path, edge = sys.argv[1:]
sys.path.insert(0, edge)
import check
images = next(check.inputs(check.metadata(path)))[0]
try:
    start = time.perf_counter()
{load}
    loaded = time.perf_counter() - start
    verdict = str(check.check(lambda inputs: run(inputs[0]), path))
except Exception as error:
    print(json.dumps(f"{{type(error).__name__}}: {{str(error).strip()}}"))
    sys.exit()
times = []
for _ in range({runs}):
    start = time.perf_counter()
    run(images)
    times.append(time.perf_counter() - start)
print(json.dumps({{"verdict": verdict, "load": loaded, "run": sorted(times)[len(times) // 2]}}))
"""


def install(name: str, packages: tuple[str, ...], folder: Path) -> Path:
    """Return the folder of a runtime, installed there unless it is."""
    place = folder / "".join(letter if letter.isalnum() or letter == "." else "-" for letter in name)
    if packages and not place.exists():
        with tempfile.TemporaryDirectory(
            dir=folder
        ) as half:  # an interrupted installation is not taken for a whole one
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", f"{half}/new"]
            subprocess.run([*command, *packages], check=True)
            Path(half, "new").rename(place)
    return place


def attempt(load: str, place: Path, path: Path) -> dict[str, Any] | str:
    """Return the verdict, loading time and running time in seconds, or why there are none."""
    program = _PROGRAM.format(load=textwrap.indent(textwrap.dedent(load).strip(), "    "), runs=RUNS)
    environment = os.environ | {"PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program, str(path), str(EDGE)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    if done.returncode < 0:
        return f"crashes with signal {-done.returncode}"
    if done.returncode:
        return f"fails: {done.stderr.strip().splitlines()[-1][:120]}"
    found: dict[str, Any] | str = json.loads(done.stdout.splitlines()[-1])
    return f"refuses: {' '.join(found.split())[:120]}" if isinstance(found, str) else found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=DEFAULT)
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--runtimes", default=",".join(RUNTIMES))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "slt-compress-runtimes")
    parser.add_argument("--values", choices=WEIGHT_TYPES)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    print("network | form | bytes | runtime | result | load, s | an image, ms")
    for network in arguments.networks:
        name, size, density = network.split(":")
        channels = 1 if name.startswith("lenet") else 3
        ticket = sample_ticket(name, float(density), input_size=int(size), channels=channels)
        ticket = with_values(ticket, arguments.values) if arguments.values else ticket
        with tempfile.TemporaryDirectory() as folder:
            for form in arguments.forms.split(","):
                if arguments.values and form in ("int2", "ternary8"):
                    continue
                path = Path(folder, f"{form}.onnx")
                size_of_file = export(ticket.restore(), ticket, path, FORMS[form]).bytes
                for runtime in arguments.runtimes.split(","):
                    packages, load = RUNTIMES[runtime]
                    place = install(runtime, packages, arguments.folder)
                    found = attempt(load, place, path)
                    start = f"{name} | {form} | {size_of_file:,} | {runtime} |"
                    if isinstance(found, str):
                        print(start, found, "| – | –", flush=True)
                        continue
                    print(start, f"{found['verdict']} | {found['load']:.2f} | {1000 * found['run']:.2f}", flush=True)


if __name__ == "__main__":
    main()
