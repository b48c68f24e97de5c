"""Write a network as ONNX and prove that the written file computes what the network does.

The network is traced once, with its gated weights and embeddings as graph inputs, so that no optimisation of the
exporter can rename, transpose or fold them. What then stands in for those inputs decides the kind of file:

    dense    fp32 constants
    compact  nodes that regenerate them from the seed and the coded masks, see `encodings`
    int2     2-bit constants, each with one scale
    int8     nodes that regenerate int8 weights, in a graph that computes in 8 bits, see `quantise`

The first three are the same graph otherwise, so that onnxruntime, which folds constants while it loads a file, runs the
same kernels on the same numbers.
"""

import contextlib
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from slt_compress import encodings, graphs, proof, quantise, seeding
from slt_compress.errors import UnreachableError, UsageError, VerificationError
from slt_compress.files import check_writable, write_atomically
from slt_compress.network import EMBEDDING_SCALE, embedding_names, gated_names
from slt_compress.pictures import Preprocessing, Report, Split, as_pixels
from slt_compress.ticket import Layer, Ticket
from slt_compress.trace import prepend_preprocessing, trace

WEIGHTS = ("compact", "dense", "int2", "int8")
DEFAULT_OPSET = 20
OPSETS = range(18, 24)  # what torch's exporter writes and the oldest supported onnxruntime reads
INT2_OPSET = 25  # the first that has 2-bit types
EXACT_PICTURES = 2_000  # enough to prove a file on that should make the same predictions
PICTURES = 10_000  # to measure on what is lost in 8 bits
CALIBRATION_PICTURES = 256
_CALIBRATION_BATCH = 32

Part = graphs.Part
Counter = Callable[[str], AbstractContextManager[Report | None]]  # what is counted -> who is told


@dataclass(frozen=True)
class Exported:
    """What was written, and what was proven of it.

    Attributes:
        bytes: size of the file.
        opset: version of the operator set.
        max_abs_difference: largest difference of a logit from torch's, on random pictures.
        bit_identical_to_dense: whether all those logits equal those of the dense graph bit for bit.
        bit_identical_to_plain: whether they equal those of the same graph with its weights as plain constants.
        agreement: how torch and onnxruntime classify real pictures, None where there were none.
        calibration_pictures: how many pictures the ranges of int8 activations come from.
    """

    bytes: int
    opset: int
    max_abs_difference: float
    bit_identical_to_dense: bool
    bit_identical_to_plain: bool
    agreement: proof.Agreement | None
    calibration_pictures: int


def export(
    module: nn.Module,
    ticket: Ticket,
    path: Path,
    metadata: Mapping[str, Any],
    *,
    weights: str = "compact",
    opset: int | None = None,
    include_preprocessing: bool = False,
    pictures: Split | None = None,
    calibration: Split | None = None,
    max_accuracy_drop: float = 0.01,
    counter: Counter = lambda _: contextlib.nullcontext(),
) -> Exported:
    """Write the module restored from a ticket, with its weights as one of `WEIGHTS`.

    Input `images`: float32 (batch, channels, size, size), normalised; or, with `include_preprocessing`, uint8 (batch,
    size, size, channels) as cameras and image libraries hand them out. Output `logits`: float32 (batch, classes).
    `metadata` is stored as JSON under the key `slt_compress`.

    On `pictures`, labelled and not trained on, the file is compared with torch; `calibration`, pictures trained on,
    gives the ranges of int8 activations. The file appears only after onnxruntime has loaded it and it has agreed with
    torch, and bit for bit with the same graph on plain constants.

    Raises UsageError for an opset out of range or missing calibration pictures, UnreachableError if the weights cannot
    have this form, VerificationError if the exported graph does not agree or loses more than `max_accuracy_drop` (a
    fraction) of the accuracy.
    """
    opset = check(ticket, weights, opset)
    if weights == "int8" and not (pictures and calibration):
        raise UsageError(
            "--weights int8 needs pictures, to measure ranges of activations and what is lost; give --data-dir, the "
            "folder of the data set that the ticket was searched on"
        )
    check_writable(path)
    module = module.cpu().eval()
    preprocessing = Preprocessing(**ticket.provenance.preprocessing)
    feed: proof.Feed = as_pixels if include_preprocessing else preprocessing
    traced = trace(module, preprocessing, min(opset, OPSETS.stop - 1))
    if include_preprocessing:
        prepend_preprocessing(traced, preprocessing)
    entry = traced.metadata_props.add()
    entry.key = "slt_compress"
    entry.value = json.dumps({**metadata, "input": "pixels" if include_preprocessing else "normalised"}, sort_keys=True)
    if weights == "int2":
        traced = onnx.version_converter.convert_version(traced, opset)
        del traced.graph.value_info[:]  # shapes that the converter has inferred; no other form knows them
        traced.ir_version = max(traced.ir_version, helper.find_min_ir_version_for(traced.opset_import))
    named = (*gated_names(module), *embedding_names(module))
    dense = _assemble(traced, {name: _constant(module, name) for name in named})
    plain, calibrated = dense, 0
    if weights == "compact":
        parts = {layer.name: _regenerated(ticket, layer) for layer in ticket.layers}
        model = graphs.compact(_assemble(traced, parts | _embeddings(module, ticket)))
    elif weights == "int2":
        parts = {layer.name: _two_bits(ticket, layer) for layer in ticket.layers}
        model = graphs.compact(_assemble(traced, parts | _embeddings(module, ticket)))
    elif weights == "int8":
        assert calibration
        batches = (feed(images).numpy() for images, _ in calibration.batches(_CALIBRATION_BATCH))
        plain, places = quantise.quantised(dense, gated_names(module), batches)
        calibrated = len(calibration) if quantise.is_static(dense) else 0
        model = graphs.compact(_assemble(plain, _regenerated_int8(ticket, places) | _embeddings(module, ticket)))
    else:
        model = dense
    content = model.SerializeToString()
    exported = _prove(content, plain, dense, module, preprocessing, feed, approximate=weights == "int8")
    agreement = None
    if pictures:
        with counter("comparing with torch on real pictures") as report:
            agreement = proof.compare(content, module, pictures, preprocessing, feed, report)
        _check_agreement(agreement, weights, max_accuracy_drop)
    write_atomically(path, content)
    return Exported(len(content), opset, *exported, agreement, calibrated)


def check(ticket: Ticket, weights: str, opset: int | None) -> int:
    """Return the operator set of an export. Raises as `export` does if the weights cannot have this form."""
    if weights == "compact" and ticket.initialiser == "kaiming-normal":
        raise UnreachableError(
            "the normal values of kaiming-normal are not regenerated in a graph; use: export --weights dense"
        )
    if weights in ("int2", "int8") and ticket.initialiser != "signed-constant":
        raise UnreachableError(
            f"--weights {weights} needs weights of one magnitude, those of this ticket are {ticket.initialiser}; use: "
            "export --weights dense"
        )
    if weights == "int2":
        if opset not in (None, INT2_OPSET):
            raise UsageError(f"--weights int2 needs --opset {INT2_OPSET}, the first with 2-bit types, got {opset}")
        return INT2_OPSET
    if opset is not None and opset not in OPSETS:
        raise UsageError(f"--opset must be from {OPSETS.start} to {OPSETS.stop - 1}, got {opset}")
    return opset or DEFAULT_OPSET


def _assemble(traced: onnx.ModelProto, parts: Mapping[str, Part]) -> onnx.ModelProto:
    """Return the graph with inputs and constants of these names replaced by the parts."""
    model = onnx.ModelProto()
    model.CopyFrom(traced)
    graph = model.graph
    images = next(value for value in traced.graph.input if value.name == "images")
    del graph.input[:], graph.node[:], graph.initializer[:]
    graph.input.append(images)
    for nodes, initializers in parts.values():
        graph.node.extend(nodes)
        graph.initializer.extend(initializers)
    graph.initializer.extend(tensor for tensor in traced.graph.initializer if tensor.name not in parts)
    graph.node.extend(traced.graph.node)
    graphs.drop_unused(model)
    return model


def _constant(module: nn.Module, name: str) -> Part:
    return [], [numpy_helper.from_array(module.get_parameter(name).detach().numpy(), name)]


def _regenerated(ticket: Ticket, layer: Layer) -> Part:
    values = encodings.signs if ticket.initialiser == "signed-constant" else encodings.uniform
    return values(layer.name, ticket.mask(layer.name), ticket.seed, layer.name, layer.scale)


def _regenerated_int8(ticket: Ticket, places: Mapping[str, tuple[str, bool]]) -> dict[str, Part]:
    """Return the weights of all layers where `quantise` has put them: in int8, or as they were."""
    parts = {}
    for layer in ticket.layers:
        if layer.name not in places:
            parts[layer.name] = _regenerated(ticket, layer)
            continue
        target, transposed = places[layer.name]
        name = f"{target}/straight" if transposed else target
        nodes, initializers = encodings.int8_signs(name, ticket.mask(layer.name), ticket.seed, layer.name)
        if transposed:
            nodes.append(helper.make_node("Transpose", [name], [target], perm=[1, 0]))
        parts[target] = nodes, initializers
    return parts


def _embeddings(module: nn.Module, ticket: Ticket) -> dict[str, Part]:
    return {
        name: encodings.embedding(name, tuple(module.get_parameter(name).shape), ticket.seed, name, EMBEDDING_SCALE)
        for name in embedding_names(module)
    }


def _two_bits(ticket: Ticket, layer: Layer) -> Part:
    """Return a layer as -1, 0 and 1 in two bits each, and a scale; cast and multiplied, which onnxruntime folds."""
    signs = 1 - 2 * np.unpackbits(
        seeding.sign_bits(ticket.seed, layer.name, layer.size), count=layer.size, bitorder="little"
    ).astype(np.int8)
    ternary = signs.reshape(layer.shape) * ticket.mask(layer.name)
    name = layer.name
    values = helper.make_tensor(f"{name}/int2", TensorProto.INT2, layer.shape, ternary.ravel())
    scale = numpy_helper.from_array(np.array(layer.scale, np.float32), f"{name}/scale")
    nodes = [
        helper.make_node("Cast", [values.name], [f"{name}/units"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}/units", scale.name], [name]),
    ]
    return nodes, [values, scale]


def _prove(
    content: bytes,
    plain: onnx.ModelProto,
    dense: onnx.ModelProto,
    module: nn.Module,
    preprocessing: Preprocessing,
    feed: proof.Feed,
    *,
    approximate: bool,
) -> tuple[float, bool, bool]:
    """Check the file in full and run it beside torch, beside its plain form, and beside the dense graph."""
    proof.check_file(content)
    found = proof.run(content, preprocessing, feed)
    expected = proof.run(plain.SerializeToString(), preprocessing, feed)
    if found.unfolded or not _equal(found, expected):
        wrong = (
            f"leaves {', '.join(sorted(set(found.unfolded)))} unfolded" if found.unfolded else "computes other logits"
        )
        raise VerificationError(
            f"onnxruntime {onnxruntime.__version__} {wrong} where weights are regenerated: nothing was written; use: "
            "export --weights dense"
        )
    tolerance = np.inf if approximate else proof.TOLERANCE
    worst = proof.difference(found.logits, module, preprocessing, tolerance=tolerance)
    if plain is dense:
        return worst, True, True
    reference = proof.run(dense.SerializeToString(), preprocessing, feed)
    return worst, _equal(found, reference), True


def _equal(one: proof.Run, other: proof.Run) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.logits, other.logits, strict=True))


def _check_agreement(agreement: proof.Agreement, weights: str, max_accuracy_drop: float) -> None:
    if weights != "int8":
        if agreement.equal < agreement.pictures:
            raise VerificationError(
                f"onnxruntime puts {agreement.pictures - agreement.equal} of {agreement.pictures} pictures into other "
                "classes than torch: nothing was written"
            )
    elif agreement.accuracy_torch - agreement.accuracy_onnx > max_accuracy_drop:
        raise VerificationError(
            f"8 bits lower the accuracy from {agreement.accuracy_torch:.4f} to {agreement.accuracy_onnx:.4f}, by more "
            f"than --max-accuracy-drop {max_accuracy_drop:g}: nothing was written; use: export --weights compact"
        )
