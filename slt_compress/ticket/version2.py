"""The document of version 2: any task, any network, masks that layers share, stored values and parameters.

`coats` has the rows of masks and layers, `purpose` what a network is for. docs/ticket-format-2.md describes the format.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from slt_compress.data.preprocessing import Preprocessing
from slt_compress.errors import TicketError
from slt_compress.models.spec import MAX_CHANNELS, MAX_INPUT_SIZE, PYTHON, ModelSpec, read_model
from slt_compress.prng import SeedRecipe
from slt_compress.ticket import coats, fields, purpose, version1
from slt_compress.ticket.held_out import Reference, group_count
from slt_compress.ticket.open_channels import OpenStatistic
from slt_compress.ticket.schema import CodedMask, Contents, Provenance, SearchRecord
from slt_compress.ticket.stored import BUFFER_TYPES, FP16, PARAMETER_TYPES, StoredTensor, stored_bytes

RULES = "v1"  # by which parameters that are not listed get their values, see `masking.parameters`
MAX_ELEMENTS = 2**31  # of a tensor, apart from lengths of 0

_HELD_OUT = "held_out"  # a section, and the tensor with its content
_OPEN_CHANNELS = "open_channels"  # a section: rows of statistics with a mask
_STORED = (_HELD_OUT, "parameters", "statistics", "values")  # tensors, left out of the file where they are empty
_TYPES: dict[str, fields.Types] = {
    **fields.COMMON,
    "constants": list,
    "inputs": list,
    "masks": list,
    "outputs": list,
    "parameters": list,
    "preprocessing": (dict, type(None)),
    "reference": (list, type(None)),
    "rewind_steps": int,
    "rules": str,
    "sections": list,
    "task": dict,
}

Tensors = Mapping[str, npt.NDArray[np.uint8]]


def read(document: Mapping[str, Any], tensors: Tensors, file_bytes: int) -> Contents:
    """Read a document and its tensors. Raises TicketError for whatever `write` would not have written."""
    fields.check_values(document)
    fields.check_fields("its document", document, _TYPES)
    fields.check_common(document)
    if document["rules"] != RULES:
        raise TicketError(f"it needs the rules {document['rules']!r}, which this release does not know: upgrade")
    for key in ("architecture", "weights"):
        if not re.fullmatch("[0-9a-f]{64}", document[key]):
            raise TicketError(f"its {key} should be a SHA-256, found {document[key]!r}")
    if not re.fullmatch("[a-z0-9-]{1,100}", document["dataset"]):
        raise TicketError(f"its dataset should be 1 to 100 of the characters a-z, 0-9 and -: {document['dataset']!r}")
    data = {name: tensors[name].tobytes() if name in tensors else b"" for name in ("masks", *_STORED)}
    masks = coats.read_masks(document["masks"], data["masks"])
    freeze = fields.read_freeze(document["freeze"])
    if any(math.copysign(1, share) < 0 for share in document["freeze"]):
        raise TicketError("its freeze should not have -0.0")
    origin = SeedRecipe(document["seed"], document["initialiser"], freeze)
    layers = coats.read_layers(document["layers"], masks, data["values"], fixes=origin.freeze.ratio > 0)
    parameters = _read_stored(document["parameters"], data["parameters"], "parameter", PARAMETER_TYPES)
    single = {id(use.mask) for layer in layers for use in layer.uses if use.axis is None}
    of_slices = {place: mask for place, mask in enumerate(masks) if id(mask) not in single}
    statistics = _read_stored(document["statistics"], data["statistics"], "statistic", BUFFER_TYPES, of_slices)
    shortened = [stored for _, stored in statistics if isinstance(stored, OpenStatistic)]
    coats.check_room(layers, sum(stored.shape[0] for stored in shortened), file_bytes)
    for _, stored in (*parameters, *statistics):
        stored.values()  # raises for bytes that no values have
    constants = [_read_constant(row) for row in document["constants"]]
    names = [*(layer.name for layer in layers), *(name for name, _ in (*parameters, *statistics, *constants))]
    if len(set(names)) != len(names):
        raise TicketError("a name of its layers, parameters, statistics and constants occurs twice")
    contents = Contents(
        **vars(origin),
        layers=layers,
        stored_statistics=dict(statistics),
        parameters=dict(parameters),
        constants=dict(constants),
        provenance=replace(_read_provenance(document), held_out=_read_held_out(document, data[_HELD_OUT])),
        weights_digest=document["weights"],
        tool=document["tool"],
        half_statistics=are_half(dict(statistics)),
    )
    if document["sections"] != (found := _sections(contents)):
        raise TicketError(f"its sections are {document['sections']!r}, its content is that of {found!r}")
    if version1.expresses(contents):
        raise TicketError("it is written in version 2, though version 1 can hold it")
    return contents


def write(contents: Contents) -> tuple[dict[str, Any], dict[str, npt.NDArray[np.uint8]]]:
    """Return the document, but for what `container` adds, and the tensors.

    Raises TicketError for masks that only version 1 can hold.
    """
    masks = contents.masks
    places = {id(mask): place for place, mask in enumerate(masks)}
    held_out = contents.provenance.held_out
    document = {
        **fields.common_json(contents.seed, contents.initialiser, contents.freeze),
        **provenance_json(contents.provenance),
        "constants": [[name, fields.rounded_json(value)] for name, value in contents.constants.items()],
        "layers": [coats.layer_row(layer, places) for layer in contents.layers],
        "masks": [coats.mask_row(mask) for mask in masks],
        "parameters": _stored_rows(contents.parameters, places),
        "rules": RULES,
        "sections": _sections(contents),
        "statistics": _stored_rows(contents.stored_statistics, places),
        "tool": contents.tool,
        "weights": contents.weights_digest,
    }
    data = {
        _HELD_OUT: [held_out.to_bytes()] if held_out else [],
        "masks": [mask.code for mask in masks],
        "parameters": [stored.data for stored in contents.parameters.values()],
        "statistics": [stored.data for stored in contents.stored_statistics.values()],
        "values": [layer.values.data for layer in contents.layers if layer.values],
    }
    tensors = {name: np.frombuffer(b"".join(parts), np.uint8) for name, parts in data.items()}
    return document, {name: tensor for name, tensor in tensors.items() if tensor.size or name not in _STORED}


def provenance_json(origin: Provenance) -> dict[str, Any]:
    """Return what a document says of where a ticket comes from and what its network is for."""
    model = origin.model.to_json()
    return {
        "architecture": origin.architecture,
        "classes": origin.classes,
        "dataset": origin.dataset,
        "inputs": purpose.tensors_json(origin.inputs),
        "library": origin.library,
        "method": vars(origin.method),
        "metrics": origin.metrics,
        "model": {"arguments": {}, **model} if isinstance(origin.model, ModelSpec) else model,
        "outputs": purpose.tensors_json(origin.outputs),
        "preprocessing": origin.preprocessing and origin.preprocessing.to_json(),
        "reference": purpose.reference_json(origin.reference),
        "rewind_steps": origin.rewind_steps,
        "task": purpose.task_json(origin.task),
    }


def are_half(statistics: Mapping[str, StoredTensor]) -> bool:
    """Return whether there are statistics, all of them fp16."""
    return {stored.type for stored in statistics.values()} == {FP16}


def _read_provenance(document: Mapping[str, Any]) -> Provenance:
    model, preprocessing, steps = document["model"], document["preprocessing"], document["rewind_steps"]
    if model.get("builder") != PYTHON and "arguments" not in model:
        raise TicketError("its model lacks 'arguments'")
    method = SearchRecord(**document["method"])
    for what, count in (("rewind_steps", steps), ("steps", method.steps), ("batch_size", method.batch_size)):
        if not fields.whole(count, 0, purpose.MAX_COUNT):
            raise TicketError(f"its {what} should be from 0 to 2**53, found {count!r}")
    return Provenance(
        model=read_model(model),
        library=document["library"],
        architecture=document["architecture"],
        dataset=document["dataset"],
        classes=document["classes"],
        preprocessing=None if preprocessing is None else _read_preprocessing(preprocessing),
        method=method,
        metrics=document["metrics"],
        inputs=purpose.read_tensors(document["inputs"], "inputs"),
        outputs=purpose.read_tensors(document["outputs"], "outputs"),
        task=purpose.read_task(document["task"]),
        rewind_steps=steps,
        reference=purpose.read_reference(document["reference"]),
    )


def _read_held_out(document: Mapping[str, Any], content: bytes) -> Reference | None:
    """Read the reference, if there is one."""
    if not content:
        return None
    found = Reference.from_bytes(content)
    if len(found.classes) != group_count(len(document["classes"])):
        raise TicketError(
            f"its reference is of other classes: {len(found.classes)} groups, the network has "
            f"{len(document['classes'])} classes"
        )
    return found


def _read_preprocessing(row: Mapping[str, Any]) -> Preprocessing:
    found = fields.read_preprocessing(row)
    for key, most in (("size", MAX_INPUT_SIZE), ("channels", MAX_CHANNELS)):
        if not 1 <= row[key] <= most:
            raise TicketError(f"the {key} of its preprocessing should be from 1 to {most}, found {row[key]}")
    if min(found.std) <= 0:
        raise TicketError(f"the std of its preprocessing should be larger than 0, found {row['std']}")
    return found


def _sections(contents: Contents) -> list[str]:
    """Return what a document names of what releases before it did not know."""
    shortened = any(isinstance(stored, OpenStatistic) for stored in contents.stored_statistics.values())
    return [*([_HELD_OUT] if contents.provenance.held_out else []), *([_OPEN_CHANNELS] if shortened else [])]


def _stored_rows(tensors: Mapping[str, StoredTensor], places: Mapping[int, int]) -> list[list[Any]]:
    return [[name, list(stored.shape), stored.type, *_place(stored, places)] for name, stored in tensors.items()]


def _place(stored: StoredTensor, places: Mapping[int, int]) -> list[int]:
    """Return the place of the mask of its channels, nothing if it has none."""
    return [places[id(stored.mask)]] if isinstance(stored, OpenStatistic) else []


def _read_stored(
    rows: list[object],
    data: bytes,
    what: str,
    types: tuple[str, ...],
    masks: Mapping[int, CodedMask] = MappingProxyType({}),
) -> list[tuple[str, StoredTensor]]:
    """Read rows of [name, shape, type], or with one of the masks [name, shape, type, mask], and cut the data into that
    of each.
    """
    found, offset = [], 0
    for row in rows:
        if not isinstance(row, list) or len(row) not in ((3, 4) if masks else (3,)):
            raise TicketError(f"a {what} should be [name, shape, type], found {row!r}")
        name, (shape, kind, *place) = fields.read_name(row[0], f"a {what}"), row[1:]
        if not isinstance(shape, list) or len(shape) > 8 or not all(fields.whole(n, 0, MAX_ELEMENTS) for n in shape):
            raise TicketError(f"the {what} {name} has an impossible shape: {shape!r}")
        if math.prod(n for n in shape if n) > MAX_ELEMENTS:
            raise TicketError(f"the {what} {name} has an impossible shape: {shape!r}")
        if not isinstance(kind, str) or kind not in types:
            raise TicketError(f"the {what} {name} should be {' or '.join(types)}, found {kind!r}")
        mask = _mask_of_channels(place[0], shape, masks, f"the {what} {name}") if place else None
        count = mask.open * (shape[0] // mask.gates) if mask else math.prod(shape)
        end = offset + stored_bytes(kind, count)
        if end > len(data):
            raise TicketError(f"the {what} {name} of shape {shape} reaches to byte {end}, {len(data)} are in the file")
        parts = kind, tuple(shape), data[offset:end]
        found.append((name, OpenStatistic(*parts, mask) if mask else StoredTensor(*parts)))
        offset = end
    if offset != len(data):
        raise TicketError(f"its {what}s take {offset} bytes by their rows, {len(data)} in the file")
    return found


def _mask_of_channels(place: object, shape: list[int], masks: Mapping[int, CodedMask], what: str) -> CodedMask:
    """Return the mask of the channels of a statistic, which closes some of them."""
    mask = masks.get(place) if type(place) is int else None
    if mask is None:
        raise TicketError(f"{what} should name a mask of whole slices, found {place!r}")
    if len(shape) != 1 or not mask.open < mask.gates or shape[0] < mask.gates or shape[0] % mask.gates:
        raise TicketError(
            f"mask {place} of {mask.gates} gates, {mask.open} of them open, closes nothing of {what} of shape {shape}"
        )
    return mask


def _read_constant(row: object) -> tuple[str, float]:
    """Read [name, value]."""
    if not isinstance(row, list) or len(row) != 2:
        raise TicketError(f"a constant should be [name, value], found {row!r}")
    name = fields.read_name(row[0], "a constant")
    return name, fields.read_float32(row[1], f"the constant {name}")
