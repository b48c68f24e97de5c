"""Checks that an ONNX graph computes what the network does under torch.

Random images, the probes, show whether two graphs do the same arithmetic: their logits are compared bit for bit, and
with those of torch up to rounding. Real images show what remains of the predictions.

Left out: other runtimes than onnxruntime on the CPU, and speed.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import nn

from slt_compress.data.preprocessing import Preprocessing
from slt_compress.data.splits import Split
from slt_compress.errors import VerificationError
from slt_compress.evaluation.accuracy import Classifier, Feed, evaluate, torch_classifier
from slt_compress.evaluation.onnxruntime_backend import open_session
from slt_compress.progress import SILENT, Counter

TOLERANCE = 1e-3  # of the largest logit: a runtime may sum in another order, in every layer of a network
_PROBE_BATCHES = (1, 3)  # two sizes, which a graph with a fixed batch size cannot both take

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TorchReference:
    """The network that a graph must agree with.

    Attributes:
        module: the network, in evaluation mode on the CPU.
        preprocessing: turns uint8 (n, channels, size, size) into the module's input.
        feed: turns them into the graph's input.
    """

    module: nn.Module
    preprocessing: Preprocessing
    feed: Feed


@dataclass(frozen=True)
class ProbeRun:
    """What a graph makes of the probes.

    Attributes:
        logits: float32 (n, classes) for each batch of probes.
        unfolded: operators of the nodes that read only constants and that onnxruntime has left in the graph it runs.
    """

    logits: list[Logits]
    unfolded: list[str]

    def equals(self, other: "ProbeRun") -> bool:
        """Return whether all logits are the same bit for bit."""
        return all(np.array_equal(a, b) for a, b in zip(self.logits, other.logits, strict=True))


@dataclass(frozen=True)
class Agreement:
    """How torch and onnxruntime classify real images.

    Attributes:
        images: how many there are.
        equal: how many both put into the same class.
        accuracy_torch: fraction in [0, 1].
        accuracy_onnx: likewise.
    """

    images: int
    equal: int
    accuracy_torch: float
    accuracy_onnx: float


def probes(preprocessing: Preprocessing) -> list[torch.Tensor]:
    """Return random images, uint8 (n, channels, size, size), in batches of different sizes."""
    generator = torch.Generator().manual_seed(0)
    shape = (preprocessing.channels, preprocessing.size, preprocessing.size)
    return [torch.randint(256, (n, *shape), dtype=torch.uint8, generator=generator) for n in _PROBE_BATCHES]


def check_file(content: bytes) -> None:
    """Raise onnx.checker.ValidationError or onnx.shape_inference.InferenceError if this is no valid model."""
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)


def run_probes(content: bytes, reference: TorchReference) -> ProbeRun:
    """Run the probes through a graph with all of onnxruntime's optimisations."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        classifier = _onnx_classifier(content, options)
        logits = [classifier(reference.feed(images)).numpy() for images in probes(reference.preprocessing)]
        optimised = onnx.load(options.optimized_model_filepath).graph
    constants = {tensor.name for tensor in optimised.initializer} | {""}
    unfolded = []
    for node in optimised.node:
        if node.op_type == "Constant" or (constants.issuperset(node.input) and node.op_type != "DequantizeLinear"):
            unfolded.append(node.op_type)
            constants.update(node.output)
    return ProbeRun(logits, unfolded)


def check_same(found: ProbeRun, plain: ProbeRun) -> None:
    """Check a graph that regenerates its weights against the same graph with these weights as constants.

    Raises VerificationError if onnxruntime has not regenerated all weights while it loaded the graph, or if a logit
    differs.
    """
    if found.unfolded:
        wrong = f"leaves {', '.join(sorted(set(found.unfolded)))} unfolded"
    elif not found.equals(plain):
        wrong = "computes other logits"
    else:
        return
    raise VerificationError(
        f"onnxruntime {onnxruntime.__version__} {wrong} where weights are regenerated: nothing was written; use "
        "`weights=dense`"
    )


@torch.no_grad()
def difference(found: ProbeRun, reference: TorchReference, *, tolerance: float = TOLERANCE) -> float:
    """Return the largest difference of a logit from torch's.

    Raises VerificationError if it is above `tolerance` times the largest logit, or the shapes differ.
    """
    worst = 0.0
    for images, logits in zip(probes(reference.preprocessing), found.logits, strict=True):
        expected = reference.module(reference.preprocessing(images)).numpy()
        largest = float(np.abs(expected).max())
        distance = float(np.abs(logits - expected).max()) if logits.shape == expected.shape else np.inf
        if not distance <= tolerance * max(1.0, largest):
            raise VerificationError(
                f"the exported graph differs from torch by {distance:.2g} on logits up to {largest:.2g}: nothing was "
                "written"
            )
        worst = max(worst, distance)
    return worst


def compare(content: bytes, reference: TorchReference, split: Split, counter: Counter = SILENT.counter) -> Agreement:
    """Classify real images with torch and with onnxruntime, in the batches of `evaluate`.

    The batches matter for a graph that is quantised dynamically: it measures its ranges on whole batches.
    """
    with counter("classifying real images with torch") as report:
        classifier = torch_classifier(reference.module, torch.device("cpu"))
        expected = evaluate(classifier, split, reference.preprocessing, report)
    with counter("classifying real images with onnxruntime") as report:
        found = evaluate(_onnx_classifier(content), split, reference.feed, report)
    equal = int((expected.predictions == found.predictions).sum())
    return Agreement(found.samples, equal, expected.accuracy, found.accuracy)


def _onnx_classifier(content: bytes, options: onnxruntime.SessionOptions | None = None) -> Classifier:
    session = open_session(content, options)
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
