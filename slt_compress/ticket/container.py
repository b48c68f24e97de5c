"""The file around a ticket: one JSON document and a few tensors in safetensors, under one SHA-256.

    8 bytes        length of the header, u64 little-endian
    header         JSON: {"__metadata__": {"ticket": "<the document>"}, "masks": {…}, "statistics": {…}}
    tensors        version 1: statistics (float32 or float16, little-endian), masks (uint8)
                   version 2: held_out, masks, parameters, statistics, values (uint8)

safetensors puts the tensor of the wider type first, and those of one type in the order of their names.

The document is canonical JSON (sorted keys, no spaces, no times, no paths) in a single metadata key, because
safetensors writes several keys in random order and the same search must give the same bytes. Its field `digest` is the
SHA-256 of the whole file with those 64 characters replaced by zeros: any changed byte is noticed. It detects damage,
not forgery; there is no secret in it.

safetensors writes the file; it is read here, because a reader that must refuse everything unexpected (doubled keys,
other tensors, gaps between them) is shorter than the checks around one that accepts them.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from slt_compress.errors import TicketError

FORMAT = "slt-compress ticket"
MAX_HEADER_BYTES = 4 * 2**20

KEY = "ticket"
_BLANK = "0" * 64
_DIGEST = rb"\"digest\":\""  # as it stands in the header, where the document is a JSON string in JSON
# Version -> its tensors in file order, and the types that each may have.
_TENSORS: dict[int, dict[str, dict[str, np.dtype[Any]]]] = {
    1: {"statistics": {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}, "masks": {"U8": np.dtype("u1")}},
    2: {name: {"U8": np.dtype("u1")} for name in ("held_out", "masks", "parameters", "statistics", "values")},
}
_OPTIONAL = {1: set[str](), 2: {"held_out", "parameters", "statistics", "values"}}  # left out where they are empty
_SECTIONS = ("held_out", "open_channels")  # content of version 2 that releases before it did not know

Tensors = Mapping[str, npt.NDArray[Any]]


def pack(document: dict[str, Any], tensors: Tensors, version: int) -> tuple[bytes, str]:
    """Return the file's bytes and its digest; format, version and digest are added to the document here.

    `tensors` are vectors of the types that the version has, little-endian, and stored as they are. Raises TicketError
    for a document that is not JSON, or in which the digest could not be told from something else.
    """
    content = _saved(document, tensors, version)
    end = 8 + int.from_bytes(content[:8], "little")
    if end - 8 > MAX_HEADER_BYTES:
        raise TicketError(
            f"its names and numbers would take {end - 8:,} bytes, a reader accepts {MAX_HEADER_BYTES:,}: there are too "
            "many classes, or their names are too long"
        )
    start = _digest_start(content[8:end], _BLANK, version)
    if start is None:
        raise TicketError("a text in its settings is named 'digest', as nothing but the digest of the file may be")
    start += 8
    digest = hashlib.sha256(content).hexdigest()
    return content[:start] + digest.encode() + content[start + 64 :], digest


def packed_size(document: dict[str, Any], tensors: Tensors, version: int) -> int:
    """Return how many bytes `pack` would return."""
    return len(_saved(document, tensors, version))


def unpack(content: bytes) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Return document and tensors (n,), read-only views of `content`. The document's `version` is a known one.

    Raises TicketError, without the file's name, for anything `pack` would not have written.
    """
    if len(content) < 8:
        raise TicketError(f"expected a safetensors file, found {len(content)} bytes")
    length = int.from_bytes(content[:8], "little")
    if length > min(MAX_HEADER_BYTES, len(content) - 8):
        raise TicketError(f"its header claims {length} bytes, the file has {len(content)}: truncated, or not a ticket")
    header = _object(_parse(content[8 : 8 + length], "header"), "header")
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or list(metadata) != [KEY] or not isinstance(metadata[KEY], str):
        raise TicketError(f"its metadata has no single key {KEY!r}: a safetensors file of something else")
    document = _object(_parse(metadata[KEY].encode("utf-8", "surrogatepass"), "document"), "document")
    if document.get("format") != FORMAT:
        raise TicketError(f"expected the format {FORMAT!r}, found {document.get('format')!r}")
    version = document.get("version")
    if type(version) is not int or version not in _TENSORS:
        newer = type(version) is int and version > max(_TENSORS)
        advice = "; a newer slt-compress wrote it, upgrade to read it" if newer else ""
        raise TicketError(f"expected format version {' or '.join(map(str, _TENSORS))}, found {version!r}{advice}")
    if version > 1:
        _check_header(content[8 : 8 + length])
    _check_spelling(document, metadata[KEY], version)
    tensors = _tensors(header, content, 8 + length, version)
    _check_digest(document.get("digest"), content, 8 + length, version)
    return document, tensors


def _tensors(header: dict[str, Any], content: bytes, start: int, version: int) -> dict[str, npt.NDArray[Any]]:
    missing = _TENSORS[version].keys() - _OPTIONAL[version] - header.keys()
    if missing or header.keys() - _TENSORS[version].keys():
        raise TicketError(
            f"expected the tensors {', '.join(sorted(_TENSORS[version]))}, found {', '.join(sorted(header))}"
        )
    tensors = {}
    offset = 0
    for name, types in _TENSORS[version].items():
        if name not in header:
            continue
        entry = header[name]
        code = entry.get("dtype") if isinstance(entry, dict) else None
        shape = entry.get("shape") if isinstance(entry, dict) else None
        count = shape[0] if isinstance(shape, list) and len(shape) == 1 else None
        least = 1 if name in _OPTIONAL[version] else 0
        if (
            not isinstance(code, str)
            or code not in types
            or type(count) is not int
            or not least <= count <= len(content)
        ):
            raise TicketError(f"the tensor {name} is not a vector of {' or '.join(types)} in the file: {entry!r}")
        end = offset + count * types[code].itemsize
        if entry != {"dtype": code, "shape": [count], "data_offsets": [offset, end]} or start + end > len(content):
            raise TicketError(f"the tensor {name} does not lie where it should in the file: {entry!r}")
        if version > 1 and any(type(place) is not int for place in entry["data_offsets"]):
            raise TicketError(f"the tensor {name} does not lie between whole numbers: {entry!r}")
        tensors[name] = np.frombuffer(content, types[code], count, start + offset)
        offset = end
    if start + offset != len(content):
        raise TicketError(f"expected {start + offset} bytes, found {len(content)}: truncated or extended")
    return tensors


def _check_digest(digest: object, content: bytes, header_end: int, version: int) -> None:
    start = None
    if isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest):
        start = _digest_start(content[8:header_end], digest, version)
    if not isinstance(digest, str) or start is None:
        raise TicketError("its digest is missing or malformed, or stands there twice")
    sha = hashlib.sha256(content[: 8 + start])
    sha.update(_BLANK.encode())
    sha.update(memoryview(content)[8 + start + 64 :])
    if sha.hexdigest() != digest:
        raise TicketError(
            f"its digest is {digest[:12]}…, its content gives {sha.hexdigest()[:12]}…: the file is damaged"
        )


def _digest_start(header: bytes, digest: str, version: int) -> int | None:
    """Return where the digest stands in a header, None if not once. Since version 2, no other text is named so."""
    field = _DIGEST + digest.encode() + rb"\""
    if header.count(field if version == 1 else _DIGEST) != 1 or field not in header:
        return None
    return header.index(field) + len(_DIGEST)


def _saved(document: dict[str, Any], tensors: Tensors, version: int) -> bytes:
    """Return a file with zeros for its digest."""
    complete = {**document, "format": FORMAT, "version": version, "digest": _BLANK}
    try:
        text = _canonical(complete)
    except (TypeError, ValueError, RecursionError) as error:
        raise TicketError(f"its document cannot be written as JSON ({error})") from error
    return bytes(save(dict(tensors), metadata={KEY: text}))


def _canonical(document: dict[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _check_header(header: bytes) -> None:
    """Raise TicketError unless a header is UTF-8 from its first brace to its last, and spaces then."""
    try:
        header.decode()
    except UnicodeDecodeError as error:
        raise TicketError("its header is not UTF-8") from error
    if not header.startswith(b"{") or not header.rstrip(b" ").endswith(b"}"):
        raise TicketError("its header is not a JSON object that is filled up with spaces")


def _check_spelling(document: dict[str, Any], text: str, version: int) -> None:
    """Raise TicketError for a document that could not be written again or, since version 2, would be spelled otherwise.

    Also for one that needs what this release does not know, which may come with tensors of its own.
    """
    try:
        canonical = _canonical(document)
    except RecursionError as error:
        raise TicketError("its document is nested too deeply") from error
    if version > 1 and canonical != text:
        raise TicketError("its document is not spelled as canonical JSON")
    sections = document.get("sections") if version > 1 else None
    unknown = [name for name in sections if name not in _SECTIONS] if isinstance(sections, list) else []
    if unknown:
        names = ", ".join(map(str, unknown[:3]))
        raise TicketError(f"it needs {names}, which this release does not know: upgrade slt-compress")


def _parse(text: bytes, what: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    def finite(number: str) -> float:
        if not math.isfinite(float(number)):
            raise ValueError(f"{number} is too large")
        return float(number)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("a key occurs twice")
        return dict(pairs)

    try:
        return json.loads(text, parse_constant=refuse, parse_float=finite, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise TicketError(f"its {what} is not valid JSON ({error})") from error


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TicketError(f"its {what} is not a JSON object")
    return value
