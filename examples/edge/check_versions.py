"""Load exported files with several releases of onnxruntime, and compare what they compute.

    python check_versions.py ticket.onnx … [--versions 1.20.1,1.22.1,latest] [--folder DIR]

Each release is installed with pip into a folder of its own, under --folder or a temporary one, and run in a process of
its own. A file agrees if all releases put random images into the same classes, with logits that differ by no more
than kernels of another release round differently. Exits with 1 if one does not load or agree.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

TOLERANCE = 1e-3  # of the largest logit

_RUN = """
import json, sys, time
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
start = time.perf_counter()
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
made = time.perf_counter() - start
(entry,) = session.get_inputs()
random = numpy.random.default_rng(0)
if "uint8" in entry.type:
    images = random.integers(0, 256, (8, *entry.shape[1:]), numpy.uint8)
else:
    images = random.standard_normal((8, *entry.shape[1:]), numpy.float32)
logits = session.run(None, {entry.name: images})[0]
print(json.dumps({"version": onnxruntime.__version__, "seconds": made, "logits": logits.tolist()}))
"""


def install(version: str, folder: Path) -> Path:
    """Install a release into a folder of its own, unless it is there, and return the folder."""
    target = folder / f"onnxruntime-{version}"
    if not target.is_dir():
        name = "onnxruntime" if version == "latest" else f"onnxruntime=={version}"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), name]
        subprocess.run(command, check=True)
    return target


def run(model: Path, target: Path) -> dict[str, Any] | str:
    """Return what a release computes, or the last line of what it says instead."""
    environment = {**os.environ, "PYTHONPATH": str(target)}
    command = [sys.executable, "-c", _RUN, str(model)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="ONNX")
    parser.add_argument("--versions", default="1.20.1,1.22.1,latest", help="with commas between")
    parser.add_argument("--folder", type=Path, help="where to install them, and keep them")
    arguments = parser.parse_args()
    versions = arguments.versions.split(",")
    wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        targets = [install(version, arguments.folder or Path(temporary)) for version in versions]
        for model in arguments.files:
            reference = None
            for version, target in zip(versions, targets, strict=True):
                found = run(model, target)
                if isinstance(found, str):
                    print(f"{model.name}: onnxruntime {version} does not load it: {found[:160]}")
                    wrong += 1
                    continue
                logits = np.array(found["logits"], np.float32)
                reference = logits if reference is None else reference
                difference = float(np.abs(logits - reference).max())
                same = (logits.argmax(1) == reference.argmax(1)).all() and difference <= TOLERANCE * max(
                    1.0, float(np.abs(reference).max())
                )
                wrong += not same
                print(
                    f"{model.name}: onnxruntime {found['version']} makes a session in {found['seconds']:.2f} s, "
                    f"{'agrees' if same else 'DISAGREES'}, logits within {difference:.1e}"
                )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
