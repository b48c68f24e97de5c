"""The rows of masks and layers in a document of version 2: which masks there are, and what they decide in which layer.

Reading is strict, as in `fields`.
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from slt_compress.errors import TicketError
from slt_compress.ticket.fields import (
    MAX_FILE_BYTES,
    MAX_LENGTH,
    check_scale,
    read_codec,
    read_float32,
    read_name,
    read_shape,
    rounded_json,
    whole,
)
from slt_compress.ticket.schema import Coat, CodedMask, Layer, Use, unique
from slt_compress.ticket.stored import WEIGHT_TYPES, StoredWeights, weight_bytes

MAX_COATS = 16
MAX_USES = 4
MAX_WEIGHTS_PER_BYTE = 2**12  # of the file
UNCODED_SHARE = 16  # so many weights of a coat count as one where it has gates for whole slices alone


def mask_row(mask: CodedMask) -> list[Any]:
    """Return [gates, open, codec, bytes]."""
    return [mask.gates, mask.open, mask.codec, len(mask.code)]


def read_masks(rows: list[object], codes: bytes) -> list[CodedMask]:
    """Read what `mask_row` wrote, and cut the codes into those of each mask."""
    masks, offset = [], 0
    for row in rows:
        if not isinstance(row, list) or len(row) != 4:
            raise TicketError(f"a mask should be [gates, open, codec, bytes], found {row!r}")
        gates, opened, codec, size = row
        if not whole(gates, 0, MAX_LENGTH) or not whole(opened, 0, gates) or not whole(size, 0, MAX_FILE_BYTES):
            raise TicketError(f"a mask cannot have {opened!r} of {gates!r} gates open in {size!r} bytes")
        masks.append(CodedMask(gates, opened, read_codec(codec, "a mask"), codes[offset : offset + size]))
        offset += size
    if offset != len(codes):
        raise TicketError(f"its masks take {offset} bytes by their rows, {len(codes)} in the file")
    return masks


def layer_row(layer: Layer, places: Mapping[int, int]) -> list[Any]:
    """Return [name, shape, [[scale, [[mask, axis, repeat], …]], …], kept, values].

    `places` are those of the masks by their id. Raises TicketError for gates of whole slices of which the seed fixes
    some: only version 1 has such.
    """
    coats = []
    for coat in layer.coats:
        if any(use.fixed and use.axis is not None for use in coat.uses):
            raise TicketError(f"the seed fixes some neurons of {layer.name}: only version 1 can hold such masks")
        coats.append([rounded_json(coat.scale), [[places[id(use.mask)], use.axis, use.repeat] for use in coat.uses]])
    return [layer.name, list(layer.shape), coats, layer.kept, layer.values and layer.values.type]


def read_layers(rows: list[object], masks: list[CodedMask], values: bytes, *, fixes: bool) -> tuple[Layer, ...]:
    """Read what `layer_row` wrote, and cut the values into those of each layer.

    `fixes` says whether the seed fixes some of the gates of weights in first coats.
    """
    layers, left = [], memoryview(values)
    for row in rows:
        layer = _read_layer(row, masks, left, fixes=fixes)
        layers.append(layer)
        left = left[len(layer.values.data) if layer.values else 0 :]
    if not layers or left:
        raise TicketError(f"its {len(layers)} layers leave {len(left)} of {len(values)} bytes of values unused")
    uses = [use for layer in layers for use in layer.uses]
    if [id(mask) for mask in unique(uses)] != [id(mask) for mask in masks]:
        raise TicketError("its masks do not stand in the order in which its layers use them, or one is not used")
    users = Counter(id(use.mask) for use in uses)
    if any(use.axis is None and users[id(use.mask)] > 1 for use in uses):
        raise TicketError("a mask of single weights is used twice")
    return tuple(layers)


def check_room(layers: tuple[Layer, ...], channels: int, file_bytes: int) -> None:
    """Raise TicketError if a file claims more weights, gates of slices, or channels of statistics that a mask closes
    some of, than its bytes could say anything about.
    """
    claimed = sum(
        layer.size // (1 if coat.uses and coat.uses[-1].axis is None else UNCODED_SHARE)
        for layer in layers
        for coat in layer.coats
    )
    claimed += sum(mask.gates for mask in unique(use for layer in layers for use in layer.uses if use.axis is not None))
    claimed += channels
    if claimed > MAX_WEIGHTS_PER_BYTE * file_bytes:
        raise TicketError(f"its {file_bytes} bytes claim {claimed} weights and gates: more than masks could describe")


def _read_layer(row: object, masks: list[CodedMask], values: memoryview, *, fixes: bool) -> Layer:
    if not isinstance(row, list) or len(row) != 5:
        raise TicketError(f"a layer should be [name, shape, coats, kept, values], found {row!r}")
    name = read_name(row[0], "a layer")
    what = f"the layer {name}"
    shape, coat_rows, kept, kind = read_shape(row[1], what), *row[2:]
    if not whole(kept, 0, math.prod(shape)):
        raise TicketError(f"{what} of shape {list(shape)} cannot keep {kept!r} weights")
    if not isinstance(coat_rows, list) or not 1 <= len(coat_rows) <= MAX_COATS:
        raise TicketError(f"{what} should have 1 to {MAX_COATS} coats, found {coat_rows!r}")
    first = _read_coat(coat_rows[0], shape, masks, what, fixes=fixes)
    coats = (first, *(_read_coat(coat, shape, masks, what, fixes=False) for coat in coat_rows[1:]))
    if kind is None:
        return Layer(name, shape, coats, kept)
    if not isinstance(kind, str) or kind not in WEIGHT_TYPES:
        raise TicketError(f"{what} should have values of a type {' or '.join(WEIGHT_TYPES)}, found {kind!r}")
    if len(coats) != 1 or first.scale != 1:
        raise TicketError(f"{what} has stored values, and so should have one coat of scale 1.0")
    size = weight_bytes(kind, shape[0], kept)
    if size > len(values):
        raise TicketError(f"{what} has {size} bytes of values, {len(values)} are left in the file")
    return Layer(name, shape, coats, kept, StoredWeights(kind, bytes(values[:size])))


def _read_coat(row: object, shape: tuple[int, ...], masks: list[CodedMask], what: str, *, fixes: bool) -> Coat:
    if not isinstance(row, list) or len(row) != 2 or not isinstance(row[1], list) or len(row[1]) > MAX_USES:
        raise TicketError(f"a coat of {what} should be [scale, uses] with at most {MAX_USES} uses, found {row!r}")
    uses = tuple(_read_use(use, shape, masks, what, fixes=fixes) for use in row[1])
    if any(use.axis is None for use in uses[:-1]):
        raise TicketError(f"a coat of {what} should have at most one mask of single weights, as its last")
    if len({(id(use.mask), use.axis) for use in uses}) != len(uses):
        raise TicketError(f"a coat of {what} uses a mask twice for the same")
    scale = read_float32(row[0], f"a scale of {what}")
    check_scale(row[0], what)
    return Coat(scale, uses)


def _read_use(row: object, shape: tuple[int, ...], masks: list[CodedMask], what: str, *, fixes: bool) -> Use:
    if not isinstance(row, list) or len(row) != 3:
        raise TicketError(f"a use of {what} should be [mask, axis, repeat], found {row!r}")
    place, axis, repeat = row
    if not whole(place, 0, len(masks) - 1) or not whole(repeat, 1, MAX_LENGTH):
        raise TicketError(f"{what} cannot use mask {place!r} of {len(masks)}, repeated {repeat!r} times")
    gates = masks[place].gates
    if axis is None:
        fits = repeat == 1 and gates <= math.prod(shape)
    else:
        fits = whole(axis, 0, len(shape) - 1) and gates * repeat == shape[axis]
    if not fits:
        raise TicketError(f"mask {place} of {gates} gates, {repeat} times each, does not fit axis {axis!r} of {what}")
    return Use(masks[place], axis, repeat, fixed=fixes and axis is None)
