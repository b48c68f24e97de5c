"""Proof that an ONNX graph computes what it should: it is run by onnxruntime, beside torch and beside its plain form.

Random pictures show whether two graphs do the same arithmetic, real ones whether that matters.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import nn

from slt_compress.errors import VerificationError
from slt_compress.pictures import Preprocessing, Report, Split

TOLERANCE = 1e-3  # of the logits' largest magnitude: another order of summation, over a whole network
_PROBE_BATCHES = (1, 3)  # two sizes, so that a batch dimension that is not dynamic shows
_BATCH_SIZE = 100

Logits = npt.NDArray[np.float32]
Feed = Callable[[torch.Tensor], torch.Tensor]  # uint8 (n, channels, size, size) -> what the graph takes


@dataclass(frozen=True)
class Run:
    """The logits of the probes, and the nodes left in onnxruntime's optimised graph that read nothing but constants."""

    logits: list[Logits]
    unfolded: list[str]


@dataclass(frozen=True)
class Agreement:
    """How torch and onnxruntime classify real pictures.

    Attributes:
        pictures: how many there are.
        equal: how many both put into the same class.
        accuracy_torch, accuracy_onnx: fractions in [0, 1].
    """

    pictures: int
    equal: int
    accuracy_torch: float
    accuracy_onnx: float


def probes(preprocessing: Preprocessing) -> list[torch.Tensor]:
    """Return random pictures, uint8 (n, channels, size, size), in batches of different sizes."""
    generator = torch.Generator().manual_seed(0)
    shape = (preprocessing.channels, preprocessing.size, preprocessing.size)
    return [torch.randint(256, (n, *shape), dtype=torch.uint8, generator=generator) for n in _PROBE_BATCHES]


def check_file(content: bytes) -> None:
    """Raise onnx.checker.ValidationError or onnx.shape_inference.InferenceError if this is no valid model."""
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)


def run(content: bytes, preprocessing: Preprocessing, feed: Feed) -> Run:
    """Run the probes through a model with all of onnxruntime's optimisations."""
    with tempfile.TemporaryDirectory() as folder:
        options = _options()
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        logits = [session.run(None, {"images": feed(images).numpy()})[0] for images in probes(preprocessing)]
        optimised = onnx.load(options.optimized_model_filepath).graph
    constants = {tensor.name for tensor in optimised.initializer} | {""}
    unfolded = []
    for node in optimised.node:
        if node.op_type == "Constant" or (constants.issuperset(node.input) and node.op_type != "DequantizeLinear"):
            unfolded.append(node.op_type)
            constants.update(node.output)
    return Run(logits, unfolded)


@torch.no_grad()
def difference(found: list[Logits], module: nn.Module, preprocessing: Preprocessing, *, tolerance: float) -> float:
    """Return the largest difference of a logit from torch's on the probes.

    Raises VerificationError if it is above `tolerance` times the largest logit, or the shapes differ.
    """
    worst = 0.0
    for images, logits in zip(probes(preprocessing), found, strict=True):
        expected = module(preprocessing(images)).numpy()
        largest = float(np.abs(expected).max())
        distance = float(np.abs(logits - expected).max()) if logits.shape == expected.shape else np.inf
        if not distance <= tolerance * max(1.0, largest):
            raise VerificationError(
                f"the exported graph differs from torch by {distance:.2g} on logits up to {largest:.2g}: nothing was "
                "written"
            )
        worst = max(worst, distance)
    return worst


@torch.no_grad()
def compare(
    content: bytes,
    module: nn.Module,
    pictures: Split,
    preprocessing: Preprocessing,
    feed: Feed,
    report: Report | None = None,
) -> Agreement:
    """Classify real pictures with torch and with onnxruntime. `report` gets the number done and the total."""
    session = onnxruntime.InferenceSession(content, _options(), providers=["CPUExecutionProvider"])
    done, equal, right = 0, 0, [0, 0]
    for images, labels in pictures.batches(_BATCH_SIZE):
        ours = module(preprocessing(images)).argmax(1)
        theirs = torch.from_numpy(session.run(None, {"images": feed(images).numpy()})[0]).argmax(1)
        equal += int((ours == theirs).sum())
        right[0] += int((ours == labels).sum())
        right[1] += int((theirs == labels).sum())
        done += len(labels)
        if report:
            report(done, len(pictures))
    return Agreement(done, equal, right[0] / done, right[1] / done)


def _options() -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return options
