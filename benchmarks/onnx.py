"""Figures of exported files: bytes, latency, session creation and memory, against the dense export of the same ticket.

    python -m benchmarks.onnx [NAME:SIZE:DENSITY[,DENSITY…] …] [--weights compact,int2,int8] [--folder DIR]

Without names: resnet18 at 32 px and deit_tiny_patch16_224, densities .5 .1 .05. Each file is loaded by onnxruntime in a
fresh process of its own, on one thread of the CPU. The processes of one ticket then stay, and take turns to run one
batch: the figures are medians over the turns, and no file is favoured by what else the machine does. Memory is the peak
resident memory above what the process held after its imports, while the session is made, and `steady` what is left of
it. Masks are random, which changes neither bytes nor speed. `--memory` sets the environment variable of glibc that
returns memory to the system as soon as it is free.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import onnxruntime
import torch

from slt_compress.data.splits import TensorSplit
from slt_compress.onnx_export.export import ExportConfig, export
from slt_compress.ticket.sample import sample_ticket

DEFAULT = ("resnet18:32:0.5,0.1,0.05", "deit_tiny_patch16_224:224:0.5,0.1,0.05")
BATCHES = {1: 41, 32: 7}  # images a run -> turns
SESSIONS = 5  # fresh processes per file that only make a session

_SERVER = """
import json, re, sys, time
import numpy, onnxruntime

def memory():  # kB: resident now, and its peak
    status = open("/proc/self/status").read()
    return [int(re.search(key + r":\\s+(\\d+)", status)[1]) for key in ("VmRSS", "VmHWM")]

path = sys.argv[1]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.log_severity_level = 3
open("/proc/self/clear_refs", "w").write("5")  # sets the peak to what is resident now
before, _ = memory()
start = time.perf_counter()
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
made = time.perf_counter() - start
resident, peak = memory()
print(json.dumps({"made": made, "peak": (peak - before) / 1024, "steady": (resident - before) / 1024}), flush=True)
(entry,) = session.get_inputs()
for line in sys.stdin:
    images = numpy.random.default_rng(0).standard_normal((int(line), *entry.shape[1:]), numpy.float32)
    start = time.perf_counter()
    session.run(None, {entry.name: images})
    print(time.perf_counter() - start, flush=True)
"""


class Server:
    """A process with one session, that runs a batch when it is asked to."""

    def __init__(self, path: Path, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment, "OMP_NUM_THREADS": "1"},
        )
        self.made: dict[str, float] = json.loads(self._line())

    def run(self, batch: int) -> float:
        assert self.process.stdin
        self.process.stdin.write(f"{batch}\n")
        self.process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()

    def _line(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the process has ended"
        return line


def measure(paths: dict[str, Path], environment: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return by kind of file: seconds and MB of making a session, seconds of a run by batch; medians."""
    sessions: dict[str, list[dict[str, float]]] = {kind: [] for kind in paths}
    for turn in range(SESSIONS):
        servers = {kind: Server(path, environment) for kind, path in paths.items()}
        for kind, server in servers.items():
            sessions[kind].append(server.made)
            if turn < SESSIONS - 1:
                server.close()
    found: dict[str, dict[str, Any]] = {
        kind: {key: statistics.median(each[key] for each in made) for key in made[0]} for kind, made in sessions.items()
    }
    for batch, turns in BATCHES.items():
        seconds: dict[str, list[float]] = {kind: [] for kind in paths}
        for turn in range(turns + 1):
            for kind, server in servers.items():
                lasted = server.run(batch)
                if turn:  # the first run allocates
                    seconds[kind].append(lasted)
        for kind in paths:
            found[kind][f"b{batch}"] = statistics.median(seconds[kind])
    for server in servers.values():
        server.close()
    return found


def show(name: str, size: int, density: float, kinds: list[str], folder: Path, environment: dict[str, str]) -> None:
    ticket = sample_ticket(name, density, input_size=size)
    module = ticket.restore()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(256, (32, 3, size, size), dtype=torch.uint8, generator=generator)
    images = TensorSplit(noise, torch.zeros(32, dtype=torch.int64))
    paths, exported = {}, {}
    for kind in ("dense", *kinds):
        paths[kind] = folder / f"{name}-{density}-{kind}.onnx"
        exported[kind] = export(
            module,
            ticket,
            paths[kind],
            ExportConfig(weights=kind, max_accuracy_drop=1 if kind == "int8" else None),
            test=images,
            calibration=images,
        )
    found = measure(paths, environment)
    base = found["dense"]
    for kind in paths:
        row = found[kind]
        size_ratio = exported[kind].bytes / len(ticket.to_bytes())
        print(
            f"{name:22} {density:7} {kind:8} {exported[kind].bytes:11,} {size_ratio:8.3f} "
            f"{1e3 * row['b1']:7.2f} {row['b1'] / base['b1']:6.2f} "
            f"{1e3 * row['b32']:8.1f} {row['b32'] / base['b32']:6.2f} "
            f"{1e3 * row['made']:8.0f} {row['peak']:8.0f} {row['peak'] / base['peak']:6.2f} {row['steady']:7.0f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=DEFAULT, metavar="NAME:SIZE:DENSITIES")
    parser.add_argument("--weights", default="compact")
    parser.add_argument("--folder", type=Path, help="keep the files here")
    parser.add_argument("--memory", action="store_true")
    arguments = parser.parse_args()
    environment = {"MALLOC_MMAP_THRESHOLD_": "100000"} if arguments.memory else {}
    torch.set_num_threads(1)
    print(
        f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"onnxruntime {onnxruntime.__version__}, one thread"
    )
    print(
        f"{'network':22} density {'weights':8} {'bytes':>11} /ticket  b1, ms  ratio  b32, ms  ratio  make, ms  peak, MB"
        " ratio  steady"
    )
    with tempfile.TemporaryDirectory() as temporary:
        for case in arguments.cases:
            name, size, densities = case.split(":")
            for density in densities.split(","):
                folder = arguments.folder or Path(temporary)
                show(name, int(size), float(density), arguments.weights.split(","), folder, environment)


if __name__ == "__main__":
    main()
