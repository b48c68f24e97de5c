"""The file around a ticket: same content, same bytes; anything else is refused with what was expected and found."""

import hashlib
import itertools
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load, save

from slt_compress.errors import TicketError
from slt_compress.ticket import container

MASKS = np.arange(200, dtype=np.uint8)
STATISTICS = np.linspace(-1, 1, 31, dtype=np.float32)
DOCUMENT = {"seed": 3, "classes": ["ä", '"quoted"', "\n"]}


TENSORS: dict[str, npt.NDArray[Any]] = {"masks": MASKS, "statistics": STATISTICS}
# Of version 2, in file order.
BYTES = {
    "masks": np.arange(9, dtype=np.uint8),
    "parameters": np.arange(4, dtype=np.uint8),
    "statistics": np.arange(7, dtype=np.uint8),
    "values": np.arange(1, dtype=np.uint8),
}


def packed() -> bytes:
    return container.pack(DOCUMENT, TENSORS, 1)[0]


def packed_2(**document: Any) -> bytes:
    return container.pack({**DOCUMENT, "sections": [], **document}, BYTES, 2)[0]


def header_of(content: bytes) -> Any:
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])


def with_header(content: bytes, header: Any) -> bytes:
    """The file with another header and, if it has a document, a correct digest."""
    text = json.dumps(header).encode()
    edited = len(text).to_bytes(8, "little") + text + content[8 + int.from_bytes(content[:8], "little") :]
    digest = header["__metadata__"]["ticket"].partition('"digest":"')[2][:64]
    blank = edited.replace(digest.encode(), b"0" * 64)
    return blank.replace(b"0" * 64, hashlib.sha256(blank).hexdigest().encode())


def forged(change: dict[str, Any], drop: str = "") -> bytes:
    """A file with a correct digest whose document was changed by somebody else."""
    document = json.loads(header_of(packed())["__metadata__"]["ticket"])
    document = {**document, **change, "digest": "0" * 64}
    document.pop(drop, None)
    content = save({"masks": MASKS, "statistics": STATISTICS}, metadata={"ticket": json.dumps(document)})
    return bytes(content).replace(b"0" * 64, hashlib.sha256(content).hexdigest().encode())


def test_round_trip() -> None:
    document, tensors = container.unpack(packed())
    assert {key: document[key] for key in DOCUMENT} == DOCUMENT
    assert np.array_equal(tensors["masks"], MASKS)
    assert np.array_equal(tensors["statistics"], STATISTICS)


def test_version_2_round_trips_with_any_of_its_tensors() -> None:
    document, tensors = container.unpack(packed_2())
    assert {key: document[key] for key in DOCUMENT} == DOCUMENT
    assert list(tensors) == list(BYTES)
    for name, expected in BYTES.items():
        assert np.array_equal(tensors[name], expected)
    for names in itertools.chain.from_iterable(itertools.combinations(list(BYTES)[1:], size) for size in range(3)):
        some = {name: BYTES[name] for name in ("masks", *names)}
        found = container.unpack(container.pack(DOCUMENT, some, 2)[0])[1]
        assert {name: tensor.tolist() for name, tensor in found.items()} == {
            name: tensor.tolist() for name, tensor in some.items()
        }


def test_empty_tensors_round_trip() -> None:
    content, _ = container.pack({}, {"masks": np.empty(0, np.uint8), "statistics": np.empty(0, np.float32)}, 1)
    _, tensors = container.unpack(content)
    assert tensors["masks"].size == tensors["statistics"].size == 0
    assert list(container.unpack(container.pack({}, {"masks": np.empty(0, np.uint8)}, 2)[0])[1]) == ["masks"]


def test_the_same_content_gives_the_same_bytes() -> None:
    assert packed() == packed()
    reordered = dict(reversed(DOCUMENT.items()))
    assert container.pack(reordered, dict(reversed(TENSORS.items())), 1)[0] == packed()


def test_safetensors_reads_the_file() -> None:
    assert np.array_equal(load(packed())["masks"], MASKS)


def test_the_digest_is_that_of_the_file_with_the_digest_zeroed() -> None:
    content, digest = container.pack(DOCUMENT, TENSORS, 1)
    assert hashlib.sha256(content.replace(digest.encode(), b"0" * 64)).hexdigest() == digest


@pytest.mark.parametrize("content", [packed(), packed_2()], ids=["1", "2"])
def test_any_flipped_bit_is_refused(content: bytes) -> None:
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(TicketError):
            container.unpack(bytes(damaged))


@pytest.mark.parametrize("content", [packed(), packed_2()], ids=["1", "2"])
def test_any_truncation_or_extension_is_refused(content: bytes) -> None:
    for length in range(len(content)):
        with pytest.raises(TicketError):
            container.unpack(content[:length])
    with pytest.raises(TicketError, match="truncated or extended"):
        container.unpack(content + b"\0")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 3}, "newer slt-compress"),
        ({"version": 0}, "expected format version 1 or 2, found 0"),
        ({"version": True}, "expected format version 1 or 2, found True"),
        ({"version": [1]}, "expected format version 1 or 2, found"),
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
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
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


@pytest.mark.parametrize(
    "change",
    [
        {"more": {"dtype": "U8", "shape": [0], "data_offsets": [21, 21]}},
        {"masks": None},
        {"masks": {"dtype": "I8", "shape": [9], "data_offsets": [0, 9]}},
        {"masks": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}},
        {"parameters": {"dtype": "U8", "shape": [1, 4], "data_offsets": [9, 13]}},
        {"parameters": {"dtype": "U8", "shape": [4], "data_offsets": [9, 13], "more": 0}},
        {"statistics": {"dtype": "F32", "shape": [1], "data_offsets": [13, 17]}},
        {"statistics": {"dtype": "U8", "shape": [2**40], "data_offsets": [13, 13 + 2**40]}},
        {"values": {"dtype": "U8", "shape": [0], "data_offsets": [20, 20]}},
        {"values": {"dtype": "U8", "shape": [True], "data_offsets": [20, 21]}},
    ],
)
def test_other_tensors_of_version_2_are_refused(change: dict[str, Any]) -> None:
    header = {**header_of(packed_2()), **change}
    with pytest.raises(TicketError, match="tensor"):
        container.unpack(with_header(packed_2(), header))
    for name, entry in change.items():
        if not entry:
            del header[name]
            with pytest.raises(TicketError, match="expected the tensors"):
                container.unpack(with_header(packed_2(), header))


def test_another_spelling_of_the_header_is_read() -> None:
    """safetensors writes it, in whatever release."""
    spelled = with_header(packed_2(), header_of(packed_2()))
    assert spelled != packed_2()
    assert list(container.unpack(spelled)[1]) == list(BYTES)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.decode().encode("utf-16"),
        lambda text: b" " + text,
        lambda text: text + b"\n",
        lambda text: text + b"  \t ",
        lambda text: text.replace(b'"dtype": "U8"', b'"dtype": "U8", "dtype": "U8"', 1),
        lambda text: text.replace(b"[0, 9]", b"[0, 9.0]"),
        lambda text: text.replace(b"[0, 9]", b"[false, 9]"),
        lambda text: text.replace(b"ticket", b"t\xe9cket"),
    ],
    ids=range(9),
)
def test_a_header_is_strict_json_since_version_2(change: Callable[[bytes], bytes]) -> None:
    content = packed_2()
    header = header_of(content)
    text = change(json.dumps(header).encode())
    assert text != json.dumps(header).encode()
    digest = header["__metadata__"]["ticket"].partition('"digest":"')[2][:64].encode()
    blank = len(text).to_bytes(8, "little") + text.replace(digest, b"0" * 64) + b"".join(map(bytes, BYTES.values()))
    with pytest.raises(TicketError):
        container.unpack(blank.replace(b"0" * 64, hashlib.sha256(blank).hexdigest().encode()))


def test_the_digest_stands_in_a_header_once() -> None:
    """In version 2 no other text is named so, in version 1 none that would be taken for it."""
    for version, tensors in ((1, TENSORS), (2, BYTES)):
        for text in ("0" * 64, "0" * 63, ""):
            document = {**DOCUMENT, "settings": {"digest": text}}
            if version == 1 and len(text) < 64:
                assert container.unpack(container.pack(document, tensors, 1)[0])[0]["settings"] == {"digest": text}
            else:
                with pytest.raises(TicketError, match="a text in its settings is named 'digest'"):
                    container.pack(document, tensors, version)


def test_a_document_that_is_no_json_is_refused() -> None:
    for value in (float("nan"), float("inf"), {1}, object(), {1: 1, "1": 1}, 10**5000):
        with pytest.raises(TicketError, match="its document cannot be written as JSON"):
            container.pack({"x": value}, TENSORS, 1)


def test_the_size_is_known_before_the_digest() -> None:
    assert container.packed_size(DOCUMENT, TENSORS, 1) == len(packed())
    assert container.packed_size({**DOCUMENT, "sections": []}, BYTES, 2) == len(packed_2())


@pytest.mark.parametrize(("old", "new"), [("u00e4", "u00E4"), ('"seed":3', '"seed": 3'), ("}", " }")])
def test_another_spelling_of_a_document_is_refused_since_version_2(old: str, new: str) -> None:
    for content in (packed(), packed_2()):
        header = header_of(content)
        text = header["__metadata__"]["ticket"]
        assert old in text
        header["__metadata__"]["ticket"] = text.replace(old, new)
        respelled = with_header(content, header)
        if content == packed():
            assert container.unpack(respelled)[0]["classes"] == DOCUMENT["classes"]
        else:
            with pytest.raises(TicketError, match="not spelled as canonical JSON"):
                container.unpack(respelled)


def test_what_needs_more_than_this_release_knows_says_so() -> None:
    """Even if it brings tensors of its own."""
    content = packed_2(sections=["outliers"])
    with pytest.raises(TicketError, match="it needs outliers, which this release does not know: upgrade slt-compress"):
        container.unpack(content)
    header = header_of(content) | {"outliers": {"dtype": "U8", "shape": [0], "data_offsets": [21, 21]}}
    with pytest.raises(TicketError, match="it needs outliers"):
        container.unpack(with_header(content, header))


def test_a_document_nested_as_deeply_as_json_allows_is_read_or_refused() -> None:
    for depth in range(900, 1000):
        text = "[" * depth + "0" + "]" * depth
        document = json.dumps({"format": container.FORMAT, "version": 1, "seed": 0})[:-1] + f', "more": {text}}}'
        header = json.dumps({"__metadata__": {"ticket": document}}).encode()
        with pytest.raises(TicketError):
            container.unpack(len(header).to_bytes(8, "little") + header)
