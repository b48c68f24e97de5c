"""The file around a ticket: one JSON document and two tensors in safetensors, under one SHA-256.

    8 bytes        length of the header, u64 little-endian
    header         JSON: {"__metadata__": {"ticket": "<the document>"}, "masks": {…}, "statistics": {…}}
    statistics     float32 or float16, little-endian
    masks          uint8

safetensors puts the tensor of the wider type first, so the masks come last.

The document is canonical JSON (sorted keys, no spaces, no times, no paths) in a single metadata key, because
safetensors writes several keys in random order and the same search must give the same bytes. Its field `digest` is the
SHA-256 of the whole file with those 64 characters replaced by zeros: any changed byte is noticed. It detects damage,
not forgery; there is no secret in it.

safetensors writes the file; it is read here, because a reader that must refuse everything unexpected (doubled keys,
other tensors, gaps between them) is shorter than the checks around one that accepts them.
"""

import hashlib
import json
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from slt_compress.errors import TicketError

FORMAT = "slt-compress ticket"
VERSION = 1
MAX_HEADER_BYTES = 4 * 2**20

_KEY = "ticket"
_BLANK = "0" * 64
# In file order: the types a tensor may have.
_DTYPES: dict[str, dict[str, np.dtype[Any]]] = {
    "statistics": {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")},
    "masks": {"U8": np.dtype("u1")},
}


def pack(document: dict[str, Any], masks: npt.NDArray[np.uint8], statistics: npt.NDArray[Any]) -> tuple[bytes, str]:
    """Return the file's bytes and its digest; format, version and digest are added to the document here.

    `statistics` is float32 or float16, and stored as it is.
    """
    complete = {**document, "format": FORMAT, "version": VERSION, "digest": _BLANK}
    text = json.dumps(complete, sort_keys=True, separators=(",", ":"), allow_nan=False)
    content = save(
        {"masks": masks, "statistics": statistics.astype(statistics.dtype.newbyteorder("<"))}, metadata={_KEY: text}
    )
    digest = hashlib.sha256(content).hexdigest()
    blank = _digest_field(_BLANK)
    assert content.count(blank) == 1
    return content.replace(blank, _digest_field(digest)), digest


def unpack(content: bytes) -> tuple[dict[str, Any], npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """Return document, masks (n,) and statistics (m,), both read-only views of `content`.

    Raises TicketError, without the file's name, for anything `pack` would not have written.
    """
    if len(content) < 8:
        raise TicketError(f"expected a safetensors file, found {len(content)} bytes")
    length = int.from_bytes(content[:8], "little")
    if length > min(MAX_HEADER_BYTES, len(content) - 8):
        raise TicketError(f"its header claims {length} bytes, the file has {len(content)}: truncated, or not a ticket")
    header = _object(_parse(content[8 : 8 + length], "header"), "header")
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or list(metadata) != [_KEY] or not isinstance(metadata[_KEY], str):
        raise TicketError(f"its metadata has no single key {_KEY!r}: a safetensors file of something else")
    document = _object(_parse(metadata[_KEY].encode("utf-8", "surrogatepass"), "document"), "document")
    if document.get("format") != FORMAT:
        raise TicketError(f"expected the format {FORMAT!r}, found {document.get('format')!r}")
    version = document.get("version")
    if version != VERSION or type(version) is not int:
        newer = type(version) is int and version > VERSION
        advice = "; a newer slt-compress wrote it, upgrade to read it" if newer else ""
        raise TicketError(f"expected format version {VERSION}, found {version!r}{advice}")
    tensors = _tensors(header, content, 8 + length)
    _check_digest(document.get("digest"), content, 8 + length)
    return document, tensors["masks"], tensors["statistics"]


def _tensors(header: dict[str, Any], content: bytes, start: int) -> dict[str, npt.NDArray[Any]]:
    if set(header) != set(_DTYPES):
        raise TicketError(f"expected the tensors {', '.join(sorted(_DTYPES))}, found {', '.join(sorted(header))}")
    tensors = {}
    offset = 0
    for name, types in _DTYPES.items():
        entry = header[name]
        code = entry.get("dtype") if isinstance(entry, dict) else None
        shape = entry.get("shape") if isinstance(entry, dict) else None
        count = shape[0] if isinstance(shape, list) and len(shape) == 1 else None
        if not isinstance(code, str) or code not in types or type(count) is not int or not 0 <= count <= len(content):
            raise TicketError(f"the tensor {name} is not a vector of {' or '.join(types)} in the file: {entry!r}")
        end = offset + count * types[code].itemsize
        if entry != {"dtype": code, "shape": [count], "data_offsets": [offset, end]} or start + end > len(content):
            raise TicketError(f"the tensor {name} does not lie where it should in the file: {entry!r}")
        tensors[name] = np.frombuffer(content, types[code], count, start + offset)
        offset = end
    if start + offset != len(content):
        raise TicketError(f"expected {start + offset} bytes, found {len(content)}: truncated or extended")
    return tensors


def _check_digest(digest: object, content: bytes, header_end: int) -> None:
    if not isinstance(digest, str) or len(digest) != 64 or content.count(_digest_field(digest), 0, header_end) != 1:
        raise TicketError("its digest is missing or malformed")
    position = content.index(_digest_field(digest)) + _digest_field(digest).index(digest.encode())
    sha = hashlib.sha256(content[:position])
    sha.update(_BLANK.encode())
    sha.update(memoryview(content)[position + 64 :])
    if sha.hexdigest() != digest:
        raise TicketError(
            f"its digest is {digest[:12]}…, its content gives {sha.hexdigest()[:12]}…: the file is damaged"
        )


def _digest_field(digest: str) -> bytes:
    """Return the digest with its key as they stand in the header, where the document is a JSON string in JSON."""
    return json.dumps(f'"digest":"{digest}"')[1:-1].encode()


def _parse(text: bytes, what: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("a key occurs twice")
        return dict(pairs)

    try:
        return json.loads(text, parse_constant=refuse, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise TicketError(f"its {what} is not valid JSON ({error})") from error


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TicketError(f"its {what} is not a JSON object")
    return value
