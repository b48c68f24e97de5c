"""Write a network as ONNX and prove that the written file computes what the network does.

The network is traced once, with its gated weights as graph inputs, so that no optimisation of the exporter can rename,
transpose or fold them. What then stands in for those inputs decides the kind of file: fp32 constants (`dense`), or
nodes that regenerate them (`compact`, see `encodings`). Both are the same graph otherwise, so that onnxruntime, which
folds the nodes while it loads the file, runs the same kernels on the same numbers.
"""

import contextlib
import json
import logging
import math
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import onnxscript.optimizer
import torch
from onnx import helper, numpy_helper
from torch import nn

from slt_compress import encodings
from slt_compress.errors import UnreachableError, UsageError, VerificationError
from slt_compress.files import check_writable, write_atomically
from slt_compress.network import EMBEDDING_SCALE, embedding_names, gated_names
from slt_compress.ticket import Layer, Ticket

DEFAULT_OPSET = 20
OPSETS = range(18, 24)  # what torch's exporter writes and the oldest supported onnxruntime reads
TOLERANCE = 1e-3  # of the logits' largest magnitude: another order of summation, over a whole network
_PROBE_BATCHES = (1, 3)  # two sizes, so that a batch dimension that is not dynamic shows
_SMALL = 16  # values: shorter constants are left as they are

Part = encodings.Part


@dataclass(frozen=True)
class Exported:
    """What was written, and what was proven of it on random pictures.

    Attributes:
        bytes: size of the file.
        opset: version of the operator set.
        max_abs_difference: largest difference of a logit from torch's.
        bit_identical_to_dense: whether all logits equal those of the dense graph bit for bit.
        nodes_left: nodes of the graph that onnxruntime runs which regenerate weights; zero if all were folded.
    """

    bytes: int
    opset: int
    max_abs_difference: float
    bit_identical_to_dense: bool
    nodes_left: int


def export(
    module: nn.Module,
    ticket: Ticket,
    path: Path,
    metadata: Mapping[str, Any],
    *,
    weights: str = "compact",
    opset: int | None = None,
) -> Exported:
    """Write the module restored from a ticket, with weights "dense" or "compact".

    Input `images` (batch, channels, size, size), output `logits` (batch, classes). `metadata` is stored as JSON under
    the key `slt_compress`. The file appears only after onnxruntime has loaded it and it has agreed with torch and, bit
    for bit, with the dense graph.

    Raises UsageError for an opset out of range, UnreachableError if the weights cannot be regenerated exactly in a
    graph, VerificationError if the exported graph does not agree.
    """
    opset = opset or DEFAULT_OPSET
    if opset not in OPSETS:
        raise UsageError(f"--opset must be from {OPSETS.start} to {OPSETS.stop - 1}, got {opset}")
    if weights == "compact" and ticket.initialiser == "kaiming-normal":
        raise UnreachableError(
            "the normal values of kaiming-normal are not regenerated in a graph; use: export --weights dense"
        )
    check_writable(path)
    module = module.cpu().eval()
    expected = ticket.provenance.preprocessing
    shape = (expected["channels"], expected["size"], expected["size"])
    traced = _trace(module, shape, opset)
    entry = traced.metadata_props.add()
    entry.key, entry.value = "slt_compress", json.dumps(metadata, sort_keys=True)
    dense = _assemble(traced, {name: _constant(name, module) for name in gated_names(module)})
    model = dense
    if weights == "compact":
        parts = {layer.name: _regenerated(ticket, layer) for layer in ticket.layers}
        for name in embedding_names(module):
            shape_of = tuple(module.get_parameter(name).shape)
            values = encodings.uniform(f"{name}/values", ticket.seed, name, math.prod(shape_of), EMBEDDING_SCALE)
            parts[name] = encodings.shaped(name, shape_of, values)
        model = _assemble(traced, parts, compact=True)
    content = model.SerializeToString()
    exported = _prove(content, dense.SerializeToString(), module, shape, opset)
    write_atomically(path, content)
    return exported


def _trace(module: nn.Module, shape: tuple[int, int, int], opset: int) -> onnx.ModelProto:
    """Return the module's graph with its gated weights as inputs behind `images`, optimised around them."""
    with _quiet():
        program = torch.onnx.export(
            module,
            (torch.zeros(2, *shape),),
            dynamo=True,
            opset_version=opset,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["images"],
            output_names=["logits"],
            verbose=False,
            optimize=False,
        )
        assert program is not None
        for name in gated_names(module):
            value = program.model.graph.initializers.pop(name)
            value.const_value = None
            program.model.graph.inputs.append(value)
        onnxscript.optimizer.optimize(program.model)
    model = program.model_proto
    model.producer_name = "slt-compress"
    for node in model.graph.node:  # the exporter's stack traces are most of a small file
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:], model.graph.metadata_props[:]
    return model


def _assemble(traced: onnx.ModelProto, parts: Mapping[str, Part], *, compact: bool = False) -> onnx.ModelProto:
    """Return the traced graph with its gated inputs, and other constants of these names, replaced by the parts."""
    model = onnx.ModelProto()
    model.CopyFrom(traced)
    graph = model.graph
    images = next(value for value in traced.graph.input if value.name == "images")
    del graph.input[:], graph.node[:], graph.initializer[:]
    graph.input.append(images)
    others = [
        _shortened(tensor) if compact else ([], [tensor])
        for tensor in traced.graph.initializer
        if tensor.name not in parts
    ]
    for nodes, initializers in (*parts.values(), *others):
        graph.node.extend(nodes)
        graph.initializer.extend(initializers)
    graph.node.extend(traced.graph.node)
    if compact:
        graph.initializer.append(encodings.table())
        opset = next(entry.version for entry in model.opset_import if entry.domain == "")
        model.functions.extend(encodings.functions(opset))
        model.opset_import.append(helper.make_opsetid(encodings.DOMAIN, 1))
    return model


def _constant(name: str, module: nn.Module) -> Part:
    return [], [numpy_helper.from_array(module.get_parameter(name).detach().numpy(), name)]


def _regenerated(ticket: Ticket, layer: Layer) -> Part:
    """Return the nodes that regenerate a layer's weights and mask."""
    values = encodings.signs if ticket.initialiser == "signed-constant" else encodings.uniform
    part = values(f"{layer.name}/values", ticket.seed, layer.name, layer.size, layer.scale)
    return encodings.masked(layer.name, ticket.mask(layer.name), part)


def _shortened(tensor: onnx.TensorProto) -> Part:
    """Return a constant in fewer bytes where that is exact: one repeated value, or float16."""
    if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < _SMALL:
        return [], [tensor]
    values = numpy_helper.to_array(tensor)
    if (values == values.flat[0]).all():
        dims = numpy_helper.from_array(np.array(values.shape, np.int64), f"{tensor.name}/shape")
        value = numpy_helper.from_array(values.reshape(-1)[:1])
        return [helper.make_node("ConstantOfShape", [dims.name], [tensor.name], value=value)], [dims]
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if np.array_equal(half.astype(np.float32), values):
        short = numpy_helper.from_array(half, f"{tensor.name}/half")
        return [helper.make_node("Cast", [short.name], [tensor.name], to=onnx.TensorProto.FLOAT)], [short]
    return [], [tensor]


def _prove(content: bytes, dense: bytes, module: nn.Module, shape: tuple[int, int, int], opset: int) -> Exported:
    """Check the file in full and run it beside torch and beside the dense graph."""
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    found, left = _run(content, shape)
    reference, _ = _run(dense, shape)
    worst = 0.0
    for images, logits in zip(_probes(shape), found, strict=True):
        with torch.no_grad():
            expected = module(images).numpy()
        difference = float(np.abs(logits - expected).max())
        largest = float(np.abs(expected).max())
        if logits.shape != expected.shape or not difference <= TOLERANCE * max(1.0, largest):
            raise VerificationError(
                f"the exported graph differs from torch by {difference:.2g} on logits up to {largest:.2g}: nothing was "
                "written"
            )
        worst = max(worst, difference)
    identical = all(np.array_equal(a, b) for a, b in zip(found, reference, strict=True))
    if left or not identical:
        raise VerificationError(
            f"onnxruntime {onnxruntime.__version__} leaves {left} nodes of the regenerated weights unfolded, or does "
            "not compute what it does for dense weights: nothing was written; use: export --weights dense"
        )
    return Exported(len(content), opset, worst, identical, left)


def _run(content: bytes, shape: tuple[int, int, int]) -> tuple[list[npt.NDArray[np.float32]], int]:
    """Return the logits of all probes, and how many nodes that regenerate weights are left in the optimised graph."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        logits = [session.run(None, {"images": images.numpy()})[0] for images in _probes(shape)]
        optimised = onnx.load(options.optimized_model_filepath)
    unpacking = {"BitwiseXor", "BitwiseAnd", "CumSum", "ScatterElements", "Words", "Mix", "Masked"}
    return logits, sum(node.op_type in unpacking for node in optimised.graph.node)


def _probes(shape: tuple[int, int, int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, *shape, generator=generator) for batch in _PROBE_BATCHES]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and advice, meant for authors of exporters, off the user's terminal."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            Path(os.devnull).open("w") as sink,
            contextlib.redirect_stdout(sink),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
