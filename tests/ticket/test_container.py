"""The file around a ticket: same content, same bytes; anything else is refused with what was expected and found."""

import hashlib
import json
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from slt_compress.errors import TicketError
from slt_compress.ticket import container

MASKS = np.arange(200, dtype=np.uint8)
STATISTICS = np.linspace(-1, 1, 31, dtype=np.float32)
DOCUMENT = {"seed": 3, "classes": ["ä", '"quoted"', "\n"]}


def packed() -> bytes:
    return container.pack(DOCUMENT, MASKS, STATISTICS)[0]


def forged(change: dict[str, Any], drop: str = "") -> bytes:
    """A file with a correct digest whose document was changed by somebody else."""
    document = json.loads(
        json.loads(packed()[8 : 8 + int.from_bytes(packed()[:8], "little")])["__metadata__"]["ticket"]
    )
    document = {**document, **change, "digest": "0" * 64}
    document.pop(drop, None)
    content = save({"masks": MASKS, "statistics": STATISTICS}, metadata={"ticket": json.dumps(document)})
    return bytes(content).replace(b"0" * 64, hashlib.sha256(content).hexdigest().encode())


def test_round_trip() -> None:
    document, masks, statistics = container.unpack(packed())
    assert {key: document[key] for key in DOCUMENT} == DOCUMENT
    assert np.array_equal(masks, MASKS)
    assert np.array_equal(statistics, STATISTICS)


def test_empty_tensors_round_trip() -> None:
    content, _ = container.pack({}, np.empty(0, np.uint8), np.empty(0, np.float32))
    _, masks, statistics = container.unpack(content)
    assert masks.size == statistics.size == 0


def test_the_same_content_gives_the_same_bytes() -> None:
    assert packed() == packed()
    reordered = dict(reversed(DOCUMENT.items()))
    assert container.pack(reordered, MASKS, STATISTICS)[0] == packed()


def test_safetensors_reads_the_file() -> None:
    assert np.array_equal(load(packed())["masks"], MASKS)


def test_the_digest_is_that_of_the_file_with_the_digest_zeroed() -> None:
    content, digest = container.pack(DOCUMENT, MASKS, STATISTICS)
    assert hashlib.sha256(content.replace(digest.encode(), b"0" * 64)).hexdigest() == digest


def test_any_flipped_bit_is_refused() -> None:
    content = packed()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(TicketError):
            container.unpack(bytes(damaged))


def test_any_truncation_or_extension_is_refused() -> None:
    content = packed()
    for length in range(len(content)):
        with pytest.raises(TicketError):
            container.unpack(content[:length])
    with pytest.raises(TicketError, match="truncated or extended"):
        container.unpack(content + b"\0")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "newer slt-compress"),
        ({"version": 0}, "expected format version 1, found 0"),
        ({"version": True}, "expected format version 1, found True"),
        ({"format": "something"}, "expected the format"),
    ],
)
def test_other_versions_and_formats_are_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(TicketError, match=words):
        container.unpack(forged(change))


def test_a_foreign_safetensors_file_is_named() -> None:
    with pytest.raises(TicketError, match="a safetensors file of something else"):
        container.unpack(save({"weight": np.zeros(3, np.float32)}))


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 5 * 2**20, 100])
def test_an_absurd_header_length_is_refused(length: int) -> None:
    with pytest.raises(TicketError, match="header claims"):
        container.unpack(length.to_bytes(8, "little") + b"{}")


@pytest.mark.parametrize(
    "header",
    [
        b'{"a": NaN}',
        b'{"a": 1, "a": 2}',
        b"[" * 100_000,
        b"\xff\xfe",
        b"[]",
        b'{"__metadata__": {"ticket": "{}", "more": ""}}',
        b'{"__metadata__": {"ticket": "[1]"}}',
        b'{"__metadata__": {"ticket": "\\ud800"}}',
    ],
)
def test_odd_json_is_refused(header: bytes) -> None:
    with pytest.raises(TicketError):
        container.unpack(len(header).to_bytes(8, "little") + header)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2**63], "data_offsets": [0, 124]},
        {"dtype": "F32", "shape": [31], "data_offsets": [0, 2**63]},
        {"dtype": "F16", "shape": [31], "data_offsets": [0, 124]},
        {"dtype": "F32", "shape": [31], "data_offsets": [4, 128]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]},
        {"dtype": "F32", "shape": 31, "data_offsets": [0, 124]},
        None,
    ],
)
def test_impossible_tensors_are_refused(entry: object) -> None:
    content = packed()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["statistics"] = entry
    text = json.dumps(header).encode()
    with pytest.raises(TicketError):
        container.unpack(len(text).to_bytes(8, "little") + text + content[8 + length :])
