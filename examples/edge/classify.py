"""Classify images with an exported network. Needs numpy, pillow and onnxruntime, and nothing else.

    python classify.py ticket.onnx image.png …

Everything it must know of the images, their size, channels, mean, standard deviation and the names of the classes,
stands in the file. Files exported with --include-preprocessing take raw pixels.
"""

import json
import sys
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image


def load(path: str) -> tuple[onnxruntime.InferenceSession, dict[str, Any]]:
    """Return a session for a small machine, and what the file says about itself."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL  # folds the weights, once
    options.enable_cpu_mem_arena = False  # give memory back instead of keeping it for larger batches
    options.intra_op_num_threads = 0  # all cores; set 1 to leave the others alone
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session, json.loads(session.get_modelmeta().custom_metadata_map["slt_compress"])


def prepare(file: str, recorded: dict[str, Any]) -> npt.NDArray[Any]:
    """Return an image as the network expects it, with a batch dimension in front."""
    expected = recorded["preprocessing"]
    with Image.open(file) as image:
        mode = "L" if expected["channels"] == 1 else "RGB"
        resized = image.convert(mode).resize((expected["size"],) * 2, Image.Resampling.BILINEAR)
    pixels = np.asarray(resized).reshape(1, expected["size"], expected["size"], expected["channels"])
    if recorded["input"] == "pixels":
        return pixels
    mean, std = (np.array(expected[key], np.float32) for key in ("mean", "std"))
    normalised = (pixels.astype(np.float32) / 255 - mean) / std
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))


def main(model: str, *files: str) -> None:
    start = time.perf_counter()
    session, recorded = load(model)
    print(f"{recorded['model']}, {recorded['sparsity']:.0%} sparse, loaded in {time.perf_counter() - start:.2f} s")
    for file in files:
        images = prepare(file, recorded)
        start = time.perf_counter()
        logits = session.run(None, {"images": images})[0][0]
        seconds = time.perf_counter() - start
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
        best = int(probabilities.argmax())
        print(f"{file}: {recorded['classes'][best]} ({probabilities[best]:.1%}), {1e3 * seconds:.1f} ms")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
