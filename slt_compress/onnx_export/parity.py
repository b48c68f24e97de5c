"""Checks that an ONNX graph computes what the network does under torch.

A few examples, the probes, show whether two graphs do the same arithmetic: their outputs are compared bit for bit, and
with those of torch up to rounding. A test split shows what remains of the metric.

Left out: other runtimes than onnxruntime on the CPU, and speed.
"""

import collections
import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from slt_compress.data.batches import CPU, Feed, Tensors, call
from slt_compress.data.preprocessing import Preprocessing
from slt_compress.data.splits import Split
from slt_compress.errors import UsageError, VerificationError
from slt_compress.evaluation.accuracy import Evaluation, evaluate, torch_classifier
from slt_compress.evaluation.onnxruntime_backend import open_session, run
from slt_compress.progress import SILENT, Counter
from slt_compress.tasks.record import TensorRecord
from slt_compress.tasks.task import CLASSIFY, Task
from slt_compress.ticket.probes import Probes, probe_inputs
from slt_compress.ticket.record import NetworkRecord
from slt_compress.ticket.ticket import Ticket

TOLERANCE = 1e-3  # of the largest output: a runtime may sum in another order, in every layer of a network
MAX_ACCURACY_DROP = 0.01  # what a form that is not exact may lose, unless another limit is given
_ON_THE_BORDER = 1e-4  # of the predictions that rounding may change where an example has several
_LEAST_TOLERANCE = 0.01  # of recorded probes: kernels of 8 bits round in several ways
_PROBE_BATCHES = (1, 3)  # two sizes, which a graph with a fixed batch size cannot both take

Arrays = list[npt.NDArray[Any]]


@dataclass(frozen=True)
class TorchReference:
    """The network that a graph must agree with.

    Attributes:
        module: the network, in evaluation mode on the CPU.
        module_feed: turns the inputs of a split, such as uint8 (n, channels, size, size), into the module's.
        feed: turns them into the graph's.
        probes: inputs of a split, in batches of different sizes.
        task: what the network is for.
    """

    module: nn.Module
    module_feed: Feed
    feed: Feed
    probes: list[Tensors]
    task: Task = CLASSIFY


@dataclass(frozen=True)
class ProbeRun:
    """What a graph makes of the probes.

    Attributes:
        outputs: arrays (n, …) for each batch of probes.
        unfolded: operators of the nodes that read only constants and that onnxruntime has left in the graph it runs.
        operators: of all nodes of that graph.
    """

    outputs: list[Arrays]
    unfolded: list[str]
    operators: collections.Counter[str]

    def equals(self, other: "ProbeRun") -> bool:
        """Return whether all outputs are the same bit for bit."""
        pairs = zip(itertools.chain(*self.outputs), itertools.chain(*other.outputs), strict=True)
        return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in pairs)


@dataclass(frozen=True)
class Agreement:
    """What torch and an exported file make of a test split.

    Attributes:
        samples: number of examples.
        predictions: number of predictions, more than the examples where each has several; 0 where the metric is one of
            outputs that are not discrete.
        equal: how many of these are the same.
        metric_torch: of the split under torch; the accuracy is a fraction.
        metric_onnx: likewise of the exported file, under onnxruntime or compiled.
        metric_name: what it is.
    """

    samples: int
    predictions: int
    equal: int
    metric_torch: float
    metric_onnx: float
    metric_name: str = CLASSIFY.record.metric

    @classmethod
    def of(cls, expected: Evaluation, found: Evaluation) -> "Agreement":
        """Return what a split has under torch and elsewhere."""
        predictions = equal = 0
        if expected.predictions is not None and found.predictions is not None:
            predictions = expected.predictions.numel()
            equal = int((expected.predictions == found.predictions).sum())
        return cls(found.samples, predictions, equal, expected.metric, found.metric, found.metric_name)

    def check_exact(self, what: str) -> None:
        """Raise VerificationError unless `what` predicts what torch does, or has its metric where it predicts nothing.

        Where an example has several predictions, a few of them lie on the border between two classes.
        """
        different = self.predictions - self.equal
        if different > (_ON_THE_BORDER * self.predictions if self.predictions > self.samples else 0):
            raise VerificationError(
                f"{what} decides otherwise than torch in {different} of {self.predictions} cases: nothing was written"
            )
        before, after = self.metric_torch, self.metric_onnx
        if not self.predictions and not np.isclose(before, after, TOLERANCE, TOLERANCE):
            raise VerificationError(
                f"{self.metric_name} is {before:.4f} under torch and {after:.4f} here: nothing was written"
            )

    def check_drop(self, limit: float | None, what: str, instead: str) -> None:
        """Raise VerificationError if `what` loses more than `limit`, which is `MAX_ACCURACY_DROP` if None."""
        limit = MAX_ACCURACY_DROP if limit is None else limit
        before, after = self.metric_torch, self.metric_onnx
        if before - after > limit:
            raise VerificationError(
                f"{what} lowers the {self.metric_name} from {before:.4f} to {after:.4f}, by more than "
                f"`max_accuracy_drop={limit:g}`: nothing was written; use {instead}"
            )


def needs_data(what: str, ticket: Ticket) -> UsageError:
    """Return the refusal of an export, by its option, that is not exact and was given no data."""
    named = ticket.provenance.preprocessing is not None
    how = "`data_dir`, the folder of the data set that the ticket was searched on" if named else "`test` and `train`"
    return UsageError(f"{what} needs data, to measure ranges of values and what is lost; give {how}")


def image_probes(preprocessing: Preprocessing) -> list[Tensors]:
    """Return random images, uint8 (n, channels, size, size), in batches of different sizes."""
    generator = torch.Generator().manual_seed(0)
    shape = (preprocessing.channels, preprocessing.size, preprocessing.size)
    return [torch.randint(256, (n, *shape), dtype=torch.uint8, generator=generator) for n in _PROBE_BATCHES]


def random_probes(inputs: Sequence[TensorRecord]) -> list[Tensors]:
    """Return random inputs, in batches of different sizes: normal numbers, and whole numbers of 0 and 1, which every
    table of embeddings has.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(tensor: TensorRecord, count: int) -> torch.Tensor:
        dtype: torch.dtype = getattr(torch, tensor.dtype)
        if dtype.is_floating_point:
            return torch.randn(count, *tensor.shape, generator=generator).to(dtype)
        return torch.randint(2, (count, *tensor.shape), generator=generator).to(dtype)

    batches = [tuple(draw(tensor, count) for tensor in inputs) for count in _PROBE_BATCHES]
    return [batch if len(batch) > 1 else batch[0] for batch in batches]


def real_probes(split: Split) -> list[Tensors]:
    """Return the first examples of a split, in batches of different sizes."""
    inputs, _ = next(iter(split.batches(max(_PROBE_BATCHES))))
    return [tree_map(lambda leaf, count=count: leaf[:count], inputs) for count in _PROBE_BATCHES]


def recorded_probes(module: nn.Module, feed: Feed, record: NetworkRecord) -> list[Tensors]:
    """Return the inputs of `Probes`, in batches of one; none if the network does not take them, or gives no numbers."""
    batches: list[Tensors] = []
    for arrays in probe_inputs(record.seed, record.inputs, record.preprocessing):
        leaves = tuple(
            torch.from_numpy(array).to(torch.uint8 if record.preprocessing else getattr(torch, one.dtype))
            for array, one in zip(arrays, record.inputs, strict=True)
        )
        batches.append(leaves if len(leaves) > 1 else leaves[0])
    try:
        with torch.no_grad():
            finite = all(
                bool(torch.isfinite(leaf).all()) for batch in batches for leaf in tree_leaves(call(module, feed(batch)))
            )
    except Exception:  # a user's own network may want something that noise is not
        return []
    return batches if finite else []


@torch.no_grad()
def probes_of(found: ProbeRun, reference: TorchReference, count: int, *, exact: bool) -> Probes | None:
    """Return what a file records of the last `count` probes, None if there are none.

    Where a form is not exact, twice the difference that the file has here is still right elsewhere.
    """
    if not count:
        return None
    wanted = [_arrays(call(reference.module, reference.module_feed(one))) for one in reference.probes[-count:]]
    if exact:
        return Probes.of(wanted)
    share = max(
        float(np.abs(array - truth).max(initial=0.0)) / max(float(np.abs(truth).max(initial=0.0)), 1e-30)
        for arrays, truths in zip(found.outputs[-count:], wanted, strict=True)
        for array, truth in zip(arrays, truths, strict=True)
    )
    return Probes.of(wanted, max(_LEAST_TOLERANCE, round(2 * share, 3)))


def check_file(content: bytes) -> None:
    """Raise onnx.checker.ValidationError or onnx.shape_inference.InferenceError if this is no valid model."""
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)


def run_probes(content: bytes, reference: TorchReference) -> ProbeRun:
    """Run the probes through a graph with all of onnxruntime's optimisations."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        session = open_session(content, options)
        outputs = [_arrays(run(session, reference.feed(inputs))) for inputs in reference.probes]
        optimised = onnx.load(options.optimized_model_filepath).graph
    constants = {tensor.name for tensor in optimised.initializer} | {""}
    unfolded = []
    for node in optimised.node:
        if node.op_type == "Constant" or (constants.issuperset(node.input) and node.op_type != "DequantizeLinear"):
            unfolded.append(node.op_type)
            constants.update(node.output)
    return ProbeRun(outputs, unfolded, collections.Counter(node.op_type for node in optimised.node))


def check_same(found: ProbeRun, plain: ProbeRun) -> None:
    """Check a graph that regenerates its weights against the same graph with these weights as constants.

    Raises VerificationError if onnxruntime has not regenerated all weights while it loaded the graph, or if an
    output differs.
    """
    unfolded = {*found.unfolded, *(found.operators - plain.operators)}
    if unfolded:
        wrong = f"leaves {', '.join(sorted(unfolded))} unfolded"
    elif not found.equals(plain):
        wrong = "computes other outputs"
    else:
        return
    raise VerificationError(
        f"onnxruntime {onnxruntime.__version__} {wrong} where weights are regenerated: nothing was written; use "
        "`weights=dense`"
    )


@torch.no_grad()
def difference(found: ProbeRun, reference: TorchReference, *, tolerance: float = TOLERANCE) -> float:
    """Return the largest difference of an output from torch's.

    Raises VerificationError if it is above `tolerance` times the largest output, or the shapes differ.
    """
    worst = 0.0
    for inputs, outputs in zip(reference.probes, found.outputs, strict=True):
        expected = _arrays(call(reference.module, reference.module_feed(inputs)))
        for array, truth in zip(outputs, expected, strict=True):
            if not np.isfinite(truth).all():
                raise VerificationError(
                    "the network's outputs are not finite on random inputs: give `test`, so that it is checked on real "
                    "ones; nothing was written"
                )
            wanted = truth.astype(np.float64)
            largest = float(np.abs(wanted).max(initial=0.0))
            distance = float(np.abs(array - wanted).max(initial=0.0)) if array.shape == wanted.shape else np.inf
            if not distance <= tolerance * max(1.0, largest):
                raise VerificationError(
                    f"the exported graph differs from torch by {distance:.2g} on outputs up to {largest:.2g}: nothing "
                    "was written"
                )
            worst = max(worst, distance)
    return worst


def compare(content: bytes, reference: TorchReference, split: Split, counter: Counter = SILENT.counter) -> Agreement:
    """Measure a test split with torch and with onnxruntime, in the batches of `evaluate`.

    The batches matter for a graph that is quantised dynamically: it measures its ranges on whole batches.
    """
    with counter("running the test split with torch") as report:
        classifier = torch_classifier(reference.module, CPU)
        expected = evaluate(classifier, split, reference.module_feed, report, task=reference.task)
    with counter("running the test split with onnxruntime") as report:
        session = open_session(content)
        found = evaluate(partial(run, session), split, reference.feed, report, task=reference.task)
    return Agreement.of(expected, found)


def _arrays(outputs: Tensors) -> Arrays:
    return [leaf.numpy() for leaf in tree_leaves(outputs)]
