"""What the documents of all versions have in common, and the checks of their fields.

Reading is strict: whatever `Ticket.to_bytes` would not have written raises TicketError, with what was found.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from slt_compress import prng
from slt_compress.data.preprocessing import Preprocessing
from slt_compress.errors import TicketError
from slt_compress.masking import codecs
from slt_compress.prng import Freeze

MAX_FILE_BYTES = 4 * 2**30
MAX_LENGTH = 2**40  # of an axis of a gated tensor
MAX_DEPTH = 32  # of a document of version 2, which itself has the depth 1
MAX_TEXT = 1000  # characters of its strings

_TOO_LARGE = 2.0**128 - 2.0**103  # the smallest double that rounds to no finite float32

Types = type | tuple[type, ...]

_METHOD: dict[str, Types] = {"name": str, "steps": int, "batch_size": int, "settings": dict}
_PREPROCESSING: dict[str, Types] = {"size": int, "channels": int, "mean": list, "std": list}

# Fields that all versions have, and their types; `check_common` also checks what is in them.
COMMON: dict[str, Types] = {
    "architecture": str,
    "classes": list,
    "dataset": str,
    "digest": str,
    "format": str,
    "freeze": list,
    "generator": str,
    "initialiser": str,
    "layers": list,
    "library": str,
    "method": dict,
    "metrics": dict,
    "model": dict,
    "seed": int,
    "statistics": list,
    "tool": str,
    "version": int,
    "weights": str,
}


def check_common(document: Mapping[str, Any]) -> None:
    """Raise TicketError unless those of the common fields that have a range are within it."""
    check_fields("its method", document["method"], _METHOD)
    check_numbers("its metrics", list(document["metrics"].values()))
    check_one_of(document, "generator", [prng.GENERATOR])
    check_one_of(document, "initialiser", list(prng.INITIALISERS))
    if not 0 <= document["seed"] <= prng.MAX_SEED:
        raise TicketError(f"its seed should be a whole number from 0 to 2**64 - 1, found {document['seed']!r}")
    if not all(isinstance(name, str) for name in document["classes"]):
        raise TicketError("its class names should be strings")


def common_json(seed: int, initialiser: str, freeze: Freeze) -> dict[str, Any]:
    """Return what all documents say of the generator."""
    return {
        "freeze": [freeze.ratio, freeze.lock],
        "generator": prng.GENERATOR,
        "initialiser": initialiser,
        "seed": seed,
    }


def check_values(value: object, depth: int = 1) -> None:
    """Raise TicketError for a value of a document of version 2 that is too large, too long or nested too deeply."""
    if isinstance(value, str):
        if len(value) > MAX_TEXT or re.search(r"[\ud800-\udfff]", value):
            raise TicketError(f"a text should be at most {MAX_TEXT} Unicode characters, found {value[:50]!r}")
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise TicketError("a whole number should be from -2**63 to 2**64 - 1, found a larger one")
    elif isinstance(value, dict | list):
        if depth > MAX_DEPTH:
            raise TicketError(f"its document is nested more than {MAX_DEPTH} deep")
        for inner in (*value, *value.values()) if isinstance(value, dict) else value:
            check_values(inner, depth + 1)


def read_preprocessing(fields: Mapping[str, Any]) -> Preprocessing:
    """Read the preprocessing of images."""
    check_fields("its preprocessing", fields, _PREPROCESSING)
    for key in ("mean", "std"):
        check_numbers(f"its {key}", fields[key])
        if len(fields[key]) != fields["channels"]:
            raise TicketError(f"its {key} should have a value for each channel")
    return Preprocessing.from_json(dict(fields))


def read_freeze(pair: list[object]) -> Freeze:
    """Read [ratio, lock]."""
    if len(pair) != 2 or not all(isinstance(share, float) for share in pair) or not 0 <= pair[1] <= pair[0] <= 1:  # type: ignore[operator]
        raise TicketError(f"its freeze should be [ratio, lock] with 0 ≤ lock ≤ ratio ≤ 1, found {pair!r}")
    return Freeze(*pair)  # type: ignore[arg-type]


def read_name(value: object, what: str, pattern: str = r"[!-~]{1,256}") -> str:
    """Read the name of a tensor. In version 2 it may have any visible ASCII characters."""
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise TicketError(f"{what} has an impossible name: {value!r}")
    return value


def read_shape(value: object, what: str) -> tuple[int, ...]:
    """Read the shape of a gated tensor."""
    if not isinstance(value, list) or not 2 <= len(value) <= 6 or not all(whole(n, 1, MAX_LENGTH) for n in value):
        raise TicketError(f"{what} has an impossible shape: {value!r}")
    return tuple(value)


def check_scale(value: object, what: str) -> None:
    """Raise TicketError unless generated values can be multiplied with this."""
    if type(value) is not float or not 1e-30 < value < 1e30:
        raise TicketError(f"{what} has an impossible scale: {value!r}")


def read_codec(value: object, what: str) -> str:
    """Read the name of a codec."""
    if not isinstance(value, str) or value not in codecs.CODECS:
        raise TicketError(f"{what} has an unknown codec: {value!r}, known: {', '.join(codecs.CODECS)}")
    return value


def float32_json(value: float) -> float:
    """Return what stands for a float32 in a document: its decimal of nine digits, which is enough."""
    return float(f"{value:.9g}")


def rounded_json(value: float) -> float:
    """Return what stands for a number that is rounded to float32, or itself if it is too large for that."""
    return float32_json(float(np.float32(value))) if abs(value) < _TOO_LARGE else value


def read_float32(value: object, what: str) -> float:
    """Read what `float32_json` returned."""
    if type(value) is not float or not abs(value) < _TOO_LARGE:
        raise TicketError(f"{what} should be a float32, found {value!r}")
    found = float(np.float32(value))
    if float32_json(found) != value:
        raise TicketError(f"{what} should be written with nine digits, as {float32_json(found)!r}, found {value!r}")
    return found


def check_fields(what: str, found: Mapping[str, Any], expected: Mapping[str, Types]) -> None:
    """Raise TicketError unless an object has exactly these fields, each of its type."""
    if set(found) != set(expected):
        wrong = sorted(set(found) ^ set(expected))
        raise TicketError(f"{what} lacks or should not have {', '.join(map(repr, wrong))}")
    for key, kinds in expected.items():
        allowed = kinds if isinstance(kinds, tuple) else (kinds,)
        if type(found[key]) not in allowed:
            names = " or ".join(kind.__name__ for kind in allowed)
            raise TicketError(f"{what} should have a {names} as {key!r}, found {found[key]!r}")


def check_numbers(what: str, found: list[Any]) -> None:
    """Raise TicketError unless all are finite floats."""
    if not all(type(value) is float and math.isfinite(value) for value in found):
        raise TicketError(f"{what} should be finite floating-point numbers, found {found!r}")


def check_one_of(document: Mapping[str, Any], key: str, known: Sequence[str]) -> None:
    """Raise TicketError unless the value is a known one."""
    if document[key] not in known:
        raise TicketError(f"expected the {key} {' or '.join(map(repr, known))}, found {document[key]!r}")


def whole(value: object, low: int, high: int) -> TypeGuard[int]:
    """Return whether a value is a whole number, and no bool, from `low` to `high`."""
    return type(value) is int and low <= value <= high
