"""The document of version 1: one mask a layer, of weights or of neurons, and the statistics of normalisations.

It classifies images by networks that are built by name. A ticket that is no more than that is still written in this
version, with the same bytes. docs/ticket-format.md describes the format.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from slt_compress import prng
from slt_compress.errors import TicketError
from slt_compress.models.spec import ModelSpec
from slt_compress.prng import SeedRecipe
from slt_compress.ticket import container, fields
from slt_compress.ticket.open_channels import OpenStatistic
from slt_compress.ticket.schema import Coat, CodedMask, Contents, Layer, Provenance, SearchRecord, Use
from slt_compress.ticket.stored import FP16, FP32, StoredTensor

MAX_WEIGHTS_PER_BYTE = 2**12  # of the file; a ticket of sparsity 0.9999 has 5,000 weights to a byte of mask alone

_MEAN, _VAR = ".running_mean", ".running_var"
_NAME = r"[A-Za-z0-9_.]{1,256}"
_TYPES: dict[str, fields.Types] = {**fields.COMMON, "granularity": str, "preprocessing": dict}
_MODEL: dict[str, fields.Types] = {
    "builder": str,
    "name": str,
    "classes": int,
    "channels": int,
    "input_size": int,
    "small_input": bool,
}


def expresses(contents: Contents) -> bool:
    """Return whether version 1 can hold a ticket, and a reader of version 1 would take it."""
    return (
        contents.provenance.is_classic
        and granularity(contents.layers) in ("weight", "neuron")
        and all(layer.simple and re.fullmatch(_NAME, layer.name) for layer in contents.layers)
        and all(use.fixed == bool(contents.freeze.ratio) for use in contents.uses)
        and not contents.parameters
        and not contents.constants
        and _are_pairs(contents.stored_statistics)
        and _has_room(contents)
    )


def granularity(layers: tuple[Layer, ...]) -> str:
    """Return "weight" if each layer has gates of its own for its weights, "neuron" if for its outputs, else "mixed"."""
    uses = [coat.uses for layer in layers for coat in layer.coats]
    if all(len(found) == 1 and found[0].axis is None for found in uses):
        return "weight"
    own = len({id(found[0].mask) for found in uses if found}) == len(uses)
    return "neuron" if own and all([(use.axis, use.repeat) for use in found] == [(0, 1)] for found in uses) else "mixed"


def read(document: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]], file_bytes: int) -> Contents:
    """Read a document and its tensors. Raises TicketError for whatever `write` would not have written."""
    fields.check_fields("its document", document, _TYPES)
    fields.check_fields("its model", document["model"], _MODEL)
    fields.check_common(document)
    fields.check_one_of(document, "granularity", ["weight", "neuron"])
    provenance = Provenance(
        model=ModelSpec.from_json(document["model"]),
        library=document["library"],
        architecture=document["architecture"],
        dataset=document["dataset"],
        classes=document["classes"],
        preprocessing=fields.read_preprocessing(document["preprocessing"]),
        method=SearchRecord(**document["method"]),
        metrics=document["metrics"],
    )
    origin = SeedRecipe(document["seed"], document["initialiser"], fields.read_freeze(document["freeze"]))
    rows = [_check_layer(row) for row in document["layers"]]
    weight_count = sum(math.prod(shape) for _, shape, *_ in rows)
    code_bytes = sum(row[-1] for row in rows)
    if not rows or code_bytes != tensors["masks"].size:
        raise TicketError(f"its {len(rows)} layers do not fit its {tensors['masks'].size} bytes of masks")
    if weight_count > MAX_WEIGHTS_PER_BYTE * file_bytes:
        raise TicketError(f"its {file_bytes} bytes claim {weight_count} weights: more than a mask could describe")
    if len({name for name, *_ in rows}) != len(rows):
        raise TicketError("a layer occurs twice")
    half = tensors["statistics"].dtype.itemsize == 2
    if not np.isfinite(tensors["statistics"]).all():
        raise TicketError("its statistics hold values that are not finite")
    return Contents(
        **vars(origin),
        layers=_read_layers(rows, tensors["masks"].tobytes(), document["granularity"], origin),
        stored_statistics=_read_statistics(document["statistics"], tensors["statistics"].tobytes(), half=half),
        parameters={},
        constants={},
        provenance=provenance,
        weights_digest=document["weights"],
        tool=document["tool"],
        half_statistics=half,
    )


def write(contents: Contents) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Return the document, but for what `container` adds, and the tensors."""
    origin = contents.provenance
    assert origin.preprocessing
    statistics = contents.stored_statistics
    document = {
        **fields.common_json(contents.seed, contents.initialiser, contents.freeze),
        "model": origin.model.to_json(),
        "library": origin.library,
        "architecture": origin.architecture,
        "dataset": origin.dataset,
        "classes": origin.classes,
        "preprocessing": origin.preprocessing.to_json(),
        "method": vars(origin.method),
        "metrics": origin.metrics,
        "granularity": granularity(contents.layers),
        "layers": [_layer_row(layer) for layer in contents.layers],
        "statistics": [
            [name.removesuffix(_MEAN), stored.shape[0]] for name, stored in statistics.items() if name.endswith(_MEAN)
        ],
        "tool": contents.tool,
        "weights": contents.weights_digest,
    }
    dtype = np.dtype("<f2") if contents.half_statistics else np.dtype("<f4")
    tensors = {
        "masks": np.frombuffer(b"".join(mask.code for mask in contents.masks), np.uint8),
        "statistics": np.frombuffer(b"".join(stored.data for stored in statistics.values()), dtype),
    }
    return document, tensors


def _layer_row(layer: Layer) -> list[Any]:
    scale = fields.float32_json(layer.scale)
    return [layer.name, list(layer.shape), scale, layer.codec, layer.kept, layer.code_bytes]


def _are_pairs(statistics: Mapping[str, StoredTensor]) -> bool:
    """Return whether they are finite means and variances of normalisations, all fp32 or all fp16."""
    names = list(statistics)
    pairs = list(zip(names[::2], names[1::2], strict=False))
    return (
        len(names) % 2 == 0
        and all(first.endswith(_MEAN) and second == first.removesuffix(_MEAN) + _VAR for first, second in pairs)
        and all(statistics[first].shape == statistics[second].shape for first, second in pairs)
        and all(len(stored.shape) == 1 and stored.shape[0] for stored in statistics.values())
        and {stored.type for stored in statistics.values()} in (set(), {FP32}, {FP16})
        and not any(isinstance(stored, OpenStatistic) for stored in statistics.values())
        and all(np.isfinite(stored.values()).all() for stored in statistics.values())
    )


def _has_room(contents: Contents) -> bool:
    """Return whether the file would have bytes enough for its weights."""
    document, tensors = write(contents)
    needed = -(-sum(layer.size for layer in contents.layers) // MAX_WEIGHTS_PER_BYTE)
    if needed <= sum(tensor.nbytes for tensor in tensors.values()):
        return True
    return needed <= container.packed_size(document, tensors, 1)


_Row = tuple[str, tuple[int, ...], float, str, int, int]


def _check_layer(row: object) -> _Row:
    """Read [name, shape, scale, codec, kept, bytes]."""
    if not isinstance(row, list) or len(row) != 6:
        raise TicketError(f"a layer should be [name, shape, scale, codec, kept, bytes], found {row!r}")
    name = fields.read_name(row[0], "a layer", _NAME)
    what = f"the layer {name}"
    shape, codec = fields.read_shape(row[1], what), fields.read_codec(row[3], what)
    kept, size = row[4:]
    if not fields.whole(kept, 0, math.prod(shape)) or not fields.whole(size, 0, fields.MAX_FILE_BYTES):
        raise TicketError(f"{what} of shape {list(shape)} cannot keep {kept!r} weights in {size!r} bytes")
    fields.check_scale(row[2], what)
    return name, shape, float(np.float32(row[2])), codec, kept, size


def _read_layers(rows: list[_Row], codes: bytes, granularity: str, origin: SeedRecipe) -> tuple[Layer, ...]:
    """Return the layers, each with its part of the codes; the seed tells how many gates it codes."""
    layers, offset = [], 0
    for name, shape, scale, codec, kept, size in rows:
        weights = math.prod(shape)
        each = 1 if granularity == "weight" else weights // shape[0]
        if kept % each:
            raise TicketError(f"the layer {name} keeps {kept} weights, no whole number of neurons")
        gates, opened = weights // each, kept // each
        if origin.freeze.ratio:
            locked, pruned = prng.fixed_gates(origin.seed, name, gates, origin.freeze)
            gates -= int(np.count_nonzero(locked | pruned))
            opened -= int(np.count_nonzero(locked))
        mask = CodedMask(gates, opened, codec, codes[offset : offset + size])
        if not 0 <= mask.open <= mask.gates:
            raise TicketError(f"the layer {name} cannot keep {kept} weights, with the gates that the seed fixes")
        use = Use(mask, None if granularity == "weight" else 0, fixed=bool(origin.freeze.ratio))
        layers.append(Layer(name, shape, (Coat(scale, (use,)),), kept))
        offset += size
    return tuple(layers)


def _read_statistics(rows: list[object], data: bytes, *, half: bool) -> dict[str, StoredTensor]:
    """Read rows of [name, size], and return the values that each names a part of, by buffer name."""
    kind, width = (FP16, 2) if half else (FP32, 4)
    statistics, offset = {}, 0
    for row in rows:
        if (
            not isinstance(row, list)
            or len(row) != 2
            or not isinstance(row[0], str)
            or not fields.whole(row[1], 1, 2**31)
        ):
            raise TicketError(f"a statistic should be [name, size], found {row!r}")
        name, size = row
        for ending in (_MEAN, _VAR):
            statistics[name + ending] = StoredTensor(kind, (size,), data[offset : offset + width * size])
            offset += width * size
    if offset != len(data) or len(statistics) != 2 * len(rows):
        raise TicketError(f"its statistics are {offset // width} values by name, {len(data) // width} in the file")
    return statistics
