"""The records of a ticket, and how each field of its document is read. docs/ticket-format.md describes the format.

Reading is strict: whatever `Ticket.to_bytes` would not have written raises TicketError, with what was found.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from slt_compress import prng
from slt_compress.data.preprocessing import Preprocessing
from slt_compress.errors import TicketError
from slt_compress.masking import codecs
from slt_compress.models.spec import ModelSpec
from slt_compress.prng import Freeze

MAX_FILE_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Layer:
    """A gated tensor.

    Attributes:
        name: of the parameter.
        shape: of the parameter.
        scale: what the generated values are multiplied with.
        codec: code of the mask, a key of `masking.codecs.CODECS`.
        kept: number of weights that the mask keeps.
        code_bytes: bytes of the coded mask.
    """

    name: str
    shape: tuple[int, ...]
    scale: float
    codec: str
    kept: int
    code_bytes: int

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class SearchRecord:
    """How a mask was found.

    Attributes:
        name: of the method.
        steps: optimiser steps.
        batch_size: images a step.
        settings: hyper-parameters of the method, and what of the run is not the default.
    """

    name: str
    steps: int
    batch_size: int
    settings: dict[str, Any]


@dataclass(frozen=True)
class Provenance:
    """Where a ticket comes from and what its network is for.

    Attributes:
        model: what the network is built from.
        library: name and version of the library that built the network.
        architecture: SHA-256 over the names and shapes of the network's tensors.
        dataset: name of the data set.
        classes: names of the classes, in the order of the logits.
        preprocessing: of the images.
        method: how the mask was found.
        metrics: fractions in [0, 1], and losses in nats.
    """

    model: ModelSpec
    library: str
    architecture: str
    dataset: str
    classes: list[str]
    preprocessing: Preprocessing
    method: SearchRecord
    metrics: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the fields of the document, as they are stored."""
        return {
            **vars(self),
            "model": self.model.to_json(),
            "preprocessing": self.preprocessing.to_json(),
            "method": vars(self.method),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Provenance":
        """Read the fields that `check_document` has passed. Raises TicketError for values out of range."""
        return cls(
            model=ModelSpec.from_json(document["model"]),
            library=document["library"],
            architecture=document["architecture"],
            dataset=document["dataset"],
            classes=document["classes"],
            preprocessing=Preprocessing.from_json(document["preprocessing"]),
            method=SearchRecord(**document["method"]),
            metrics=document["metrics"],
        )


_TYPES = {
    "architecture": str,
    "classes": list,
    "dataset": str,
    "digest": str,
    "format": str,
    "freeze": list,
    "generator": str,
    "granularity": str,
    "initialiser": str,
    "layers": list,
    "library": str,
    "method": dict,
    "metrics": dict,
    "model": dict,
    "preprocessing": dict,
    "seed": int,
    "statistics": list,
    "tool": str,
    "version": int,
    "weights": str,
}
_FIELDS = {  # of objects within the document
    "model": {"builder": str, "name": str, "classes": int, "channels": int, "input_size": int, "small_input": bool},
    "preprocessing": {"size": int, "channels": int, "mean": list, "std": list},
    "method": {"name": str, "steps": int, "batch_size": int, "settings": dict},
}


def check_document(document: Mapping[str, Any]) -> None:
    """Raise TicketError unless the document has all fields, each of its type, and those with a range within it."""
    _check_fields("its document", document, _TYPES)
    for key, fields in _FIELDS.items():
        _check_fields(f"its {key}", document[key], fields)
    _check_numbers("its metrics", list(document["metrics"].values()))
    for key in ("mean", "std"):
        _check_numbers(f"its {key}", document["preprocessing"][key])
        if len(document["preprocessing"][key]) != document["preprocessing"]["channels"]:
            raise TicketError(f"its {key} should have a value for each channel")
    _check_one_of(document, "generator", [prng.GENERATOR])
    _check_one_of(document, "initialiser", list(prng.INITIALISERS))
    _check_one_of(document, "granularity", ["weight", "neuron"])
    if not 0 <= document["seed"] <= prng.MAX_SEED:
        raise TicketError(f"its seed should be a whole number from 0 to 2**64 - 1, found {document['seed']!r}")
    if not all(isinstance(name, str) for name in document["classes"]):
        raise TicketError("its class names should be strings")


def read_layer(row: object) -> Layer:
    """Read [name, shape, scale, codec, kept, bytes]."""
    if not isinstance(row, list) or len(row) != 6:
        raise TicketError(f"a layer should be [name, shape, scale, codec, kept, bytes], found {row!r}")
    name, shape, scale, codec, kept, size = row
    if not isinstance(name, str) or not re.fullmatch(r"[\w.]{1,256}", name, re.ASCII):
        raise TicketError(f"a layer has an impossible name: {name!r}")
    if not isinstance(shape, list) or not 2 <= len(shape) <= 6 or not all(_whole(n, 1, 2**40) for n in shape):
        raise TicketError(f"the layer {name} has an impossible shape: {shape!r}")
    if not isinstance(codec, str) or codec not in codecs.CODECS:
        raise TicketError(f"the layer {name} has an unknown codec: {codec!r}, known: {', '.join(codecs.CODECS)}")
    if not _whole(kept, 0, math.prod(shape)) or not _whole(size, 0, MAX_FILE_BYTES):
        raise TicketError(f"the layer {name} of shape {shape} cannot keep {kept!r} weights in {size!r} bytes")
    if type(scale) is not float or not 1e-30 < scale < 1e30:
        raise TicketError(f"the layer {name} has an impossible scale: {scale!r}")
    return Layer(name, tuple(shape), float(np.float32(scale)), codec, kept, size)


def read_freeze(pair: list[object]) -> Freeze:
    """Read [ratio, lock]."""
    if len(pair) != 2 or not all(isinstance(share, float) for share in pair) or not 0 <= pair[1] <= pair[0] <= 1:  # type: ignore[operator]
        raise TicketError(f"its freeze should be [ratio, lock] with 0 ≤ lock ≤ ratio ≤ 1, found {pair!r}")
    return Freeze(*pair)  # type: ignore[arg-type]


def read_statistics(rows: list[object], values: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    """Read rows of [name, size], and return the values (n,) that each names a part of, by buffer name."""
    statistics, offset = {}, 0
    for row in rows:
        if not isinstance(row, list) or len(row) != 2 or not isinstance(row[0], str) or not _whole(row[1], 1, 2**31):
            raise TicketError(f"a statistic should be [name, size], found {row!r}")
        name, size = row
        for kind in ("running_mean", "running_var"):
            statistics[f"{name}.{kind}"] = values[offset : offset + size]
            offset += size
    if offset != values.size or len(statistics) != 2 * len(rows):
        raise TicketError(f"its statistics are {offset} values by name, {values.size} in the file")
    if not np.isfinite(values).all():
        raise TicketError("its statistics hold values that are not finite")
    return statistics


def few(names: Sequence[str]) -> str:
    """Return the first few class names as a person reads them."""
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")


def _check_fields(what: str, found: Mapping[str, Any], expected: Mapping[str, type]) -> None:
    if set(found) != set(expected):
        wrong = sorted(set(found) ^ set(expected))
        raise TicketError(f"{what} lacks or should not have {', '.join(map(repr, wrong))}")
    for key, kind in expected.items():
        if type(found[key]) is not kind:
            raise TicketError(f"{what} should have a {kind.__name__} as {key!r}, found {found[key]!r}")


def _check_numbers(what: str, found: list[Any]) -> None:
    if not all(type(value) is float and math.isfinite(value) for value in found):
        raise TicketError(f"{what} should be finite floating-point numbers, found {found!r}")


def _check_one_of(document: Mapping[str, Any], key: str, known: Sequence[str]) -> None:
    if document[key] not in known:
        raise TicketError(f"expected the {key} {' or '.join(map(repr, known))}, found {document[key]!r}")


def _whole(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high
