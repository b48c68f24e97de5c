"""A second reader of tickets, written from docs/ticket-format.md alone; it shares no code with the package."""

import hashlib
import json
import math
import re
import statistics
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIELDS: dict[str, type] = {
    **dict.fromkeys(("format", "digest", "generator", "initialiser", "granularity", "weights", "library"), str),
    **dict.fromkeys(("architecture", "dataset", "tool"), str),
    **dict.fromkeys(("version", "seed"), int),
    **dict.fromkeys(("freeze", "layers", "statistics", "classes"), list),
    **dict.fromkeys(("model", "preprocessing", "method", "metrics"), dict),
}


@dataclass(frozen=True)
class Contents:
    """What a ticket holds: the document, and by name the masks, the weights and the statistics."""

    document: dict[str, Any]
    masks: dict[str, NDArray[np.bool_]]
    weights: dict[str, NDArray[np.float32]]
    statistics: dict[str, NDArray[np.float32]]


def read(content: bytes) -> Contents:
    """Everything in the ticket `content`; a ValueError if it breaks the rules of the page."""
    document, values, codes = read_file(content)
    seed, (ratio, lock) = document["seed"], document["freeze"]
    masks: dict[str, NDArray[np.bool_]] = {}
    weights: dict[str, NDArray[np.float32]] = {}
    generated = hashlib.sha256()
    for row in document["layers"]:
        name, shape, scale, codec, kept, length = check_layer(row)
        check(name not in masks, f"two layers are called {name}")
        check(length <= len(codes), "the codes are longer than the tensor masks")
        code, codes = codes[:length], codes[length:]
        size = math.prod(shape)
        gates = shape[0] if document["granularity"] == "neuron" else size
        check(kept % (size // gates) == 0, "a part of a neuron is kept")
        opened = read_mask(code, codec, gates, kept // (size // gates), stream(seed, "freeze", name), ratio, lock)
        masks[name] = np.repeat(opened, size // gates).reshape(shape)
        initial, covered = initialise(document["initialiser"], seed, name, size)
        generated.update(covered)
        weights[name] = np.where(masks[name], (initial * scale).reshape(shape), np.float32(0))
    check(not codes, "the tensor masks is longer than the codes")
    check(generated.hexdigest() == document["weights"], "the digest of the weights is another")
    return Contents(document, masks, weights, read_statistics(document["statistics"], values))


def check(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)


def parse(text: str | bytes) -> dict[str, Any]:
    """The JSON object in `text`, in which no key stands twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        check(len(dict(pairs)) == len(pairs), "a key stands twice")
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=unique)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    check(isinstance(value, dict), "not a JSON object")
    return dict(value)


def is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


# Sections 1, 2 and 7: the file and the document


def read_file(content: bytes) -> tuple[dict[str, Any], NDArray[np.float32], bytes]:
    """The checked document, the values in the tensor `statistics` and the bytes in the tensor `masks`."""
    check(len(content) >= 8, "the file is too short")
    (length,) = struct.unpack("<Q", content[:8])
    check(length <= min(4 << 20, len(content) - 8), "the header is too long")
    text, data = content[8 : 8 + length], content[8 + length :]
    check(text.startswith(b"{") and text.rstrip(b" ").endswith(b"}"), "the header is not JSON filled up with spaces")
    header = parse(text)
    check(set(header) == {"__metadata__", "masks", "statistics"}, "the header has other keys")
    metadata, masks, values = header["__metadata__"], header["masks"], header["statistics"]
    check(isinstance(metadata, dict) and set(metadata) == {"ticket"}, "the metadata has other keys")
    check(isinstance(metadata["ticket"], str), "the document is not a string")
    for tensor in (masks, values):
        check(isinstance(tensor, dict) and set(tensor) == {"dtype", "shape", "data_offsets"}, "not a tensor")
        check(isinstance(tensor["shape"], list) and len(tensor["shape"]) == 1, "a tensor has not one dimension")
        check(all(map(is_count, tensor["shape"])) and isinstance(tensor["data_offsets"], list), "not a shape")
        check(all(map(is_count, tensor["data_offsets"])), "not an offset")
    check(values["dtype"] in ("F32", "F16") and masks["dtype"] == "U8", "a tensor has another type")
    end = values["shape"][0] * (4 if values["dtype"] == "F32" else 2)
    check(values["data_offsets"] == [0, end], "the statistics lie elsewhere")
    check(masks["data_offsets"] == [end, len(data)] and masks["shape"] == [len(data) - end], "the masks lie elsewhere")
    document = check_document(metadata["ticket"])
    field = b'\\"digest\\":\\"%s\\"' % document["digest"].encode()
    check(text.count(field) == 1, "the digest does not stand in the header")
    blank = text.replace(field, b'\\"digest\\":\\"' + b"0" * 64 + b'\\"')
    digest = hashlib.sha256(content[:8] + blank + data).hexdigest()
    check(digest == document["digest"], "the digest of the file is another")
    kind = "<f4" if values["dtype"] == "F32" else "<f2"
    return document, np.frombuffer(data[:end], kind).astype(np.float32), data[end:]


def check_document(text: str) -> dict[str, Any]:
    document = parse(text)
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    check(canonical == text, "the document is not canonical JSON")
    check(document.get("version") == 1, "another version of the format")
    check(set(document) == set(FIELDS), "the document has other fields")
    for key, kind in FIELDS.items():
        check(type(document[key]) is kind, f"{key} is of another type")
    check(document["format"] == "slt-compress ticket", "another format")
    check(0 <= document["seed"] < 1 << 64, "the seed is out of range")
    check(document["generator"] == "hash32x2", "another generator")
    initialisers = ("signed-constant", "kaiming-uniform", "uniform", "kaiming-normal")
    check(document["initialiser"] in initialisers, "another initialiser")
    check(document["granularity"] in ("weight", "neuron"), "another granularity")
    check([type(part) for part in document["freeze"]] == [float, float], "freeze is not two floats")
    check(0 <= document["freeze"][1] <= document["freeze"][0] <= 1, "freeze is out of range")
    check(all(isinstance(name, str) for name in document["classes"]), "a class is not a string")
    for key in ("digest", "weights", "architecture"):
        check(re.fullmatch("[0-9a-f]{64}", document[key]) is not None, f"{key} is not a SHA-256")
    return document


def check_layer(row: Any) -> tuple[str, list[int], np.float32, str, int, int]:
    check(isinstance(row, list) and len(row) == 6, "a layer is not a row of six")
    name, shape, scale, codec, kept, length = row
    check(isinstance(name, str) and isinstance(shape, list) and len(shape) >= 2, "a layer has no name or shape")
    check(all(is_count(side) and side > 0 for side in shape), "a length is not a positive integer")
    check(type(scale) in (int, float) and abs(scale) < 2.0**128 - 2.0**103, "a scale is not a float32")
    check(codec in ("raw", "rice") and is_count(length), "a layer has another codec")
    check(is_count(kept) and kept <= math.prod(shape), "a layer keeps more than there is")
    return name, shape, np.float32(scale), codec, kept, length


def read_statistics(rows: list[Any], values: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    buffers: dict[str, NDArray[np.float32]] = {}
    for row in rows:
        check(isinstance(row, list) and len(row) == 2, "a normalisation is not a row of two")
        name, size = row
        check(isinstance(name, str) and is_count(size) and 2 * size <= len(values), "not a normalisation")
        check(f"{name}.running_mean" not in buffers, f"two normalisations are called {name}")
        buffers[f"{name}.running_mean"] = values[:size]
        buffers[f"{name}.running_var"] = values[size : 2 * size]
        values = values[2 * size :]
    check(len(values) == 0, "there are more statistics than rows for them")
    return buffers


# Sections 3 and 4: the generator and the initialisers


def stream(seed: int, purpose: str, name: str) -> tuple[int, int]:
    """The two keys of a stream."""
    fields = (b"slt-compress/hash32x2/1", struct.pack("<Q", seed), purpose.encode(), name.encode())
    digest = hashlib.blake2b(b"".join(struct.pack("<I", len(field)) + field for field in fields)).digest()
    k0, k1 = struct.unpack("<II", digest[:8])
    return k0, k1


def words(keys: tuple[int, int], count: int) -> NDArray[np.uint32]:
    """The first words of a stream; products and sums of uint32 are modulo 2³²."""
    index = np.arange(count, dtype=np.uint64).astype(np.uint32)
    return mix(mix(index + np.uint32(keys[0])) ^ np.uint32(keys[1]))


def mix(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x21F0AAAD)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x735A2D97)
    return x ^ (x >> np.uint32(15))


def initialise(initialiser: str, seed: int, name: str, size: int) -> tuple[NDArray[np.float32], bytes]:
    """The elements before they are scaled, and the bytes of theirs that the digest of the weights covers."""
    if initialiser == "signed-constant":
        source = words(stream(seed, "signs", name), -(-size // 32)).astype("<u4").view(np.uint8)
        signs = np.unpackbits(source, bitorder="little")[:size]
        return np.where(signs, np.float32(-1), np.float32(1)), np.packbits(signs, bitorder="little").tobytes()
    w = words(stream(seed, "values", name), size)
    covered = w[:65536].astype("<u4").tobytes()
    if initialiser == "kaiming-normal":
        j, f = (w >> np.uint32(20)).astype(np.int64) % 2048, w.astype(np.int64) % 2**20
        knots = normal_knots()
        exact = knots[j] * 2**20 + (knots[j + 1] - knots[j]) * f
        magnitude = exact.astype(np.float32) * np.float32(2.0**-36)
        return np.where(w >= np.uint32(2**31), -magnitude, magnitude), covered
    odd = 2 * (w >> np.uint32(8)).astype(np.int64) + 1 - 2**24
    return odd.astype(np.float32) * np.float32(2.0**-24), covered


def normal_knots() -> NDArray[np.int64]:
    quantile = statistics.NormalDist().inv_cdf
    return np.array([round(2**16 * quantile(0.5 + j / 4096)) for j in range(2048)] + [262144], dtype="<i8")


# Section 5: the masks


def read_mask(
    code: bytes, codec: str, gates: int, kept: int, keys: tuple[int, int], ratio: float, lock: float
) -> NDArray[np.bool_]:
    """Which of the gates are open: the locked ones, and those of the searched ones that the code opens."""
    opened, searched = np.zeros(gates, dtype=np.bool_), np.ones(gates, dtype=np.bool_)
    if ratio != 0:
        u = words(keys, gates).astype(np.uint64)
        opened, searched = u < np.uint64(round(lock * 2**32)), u >= np.uint64(round(ratio * 2**32))
    g = int(searched.sum())
    o = kept - int(opened.sum())
    check(0 <= o <= g, "a layer keeps fewer than are locked, or more than are not pruned")
    opened[searched] = read_raw(code, g, o) if codec == "raw" else read_rice(code, g, o)
    return opened


def unpack(packed: bytes, count: int) -> NDArray[np.bool_]:
    """The first `count` bits; none but zeros may follow, and those in the last byte only."""
    check(len(packed) == -(-count // 8), "a code has another length")
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little").astype(np.bool_)
    check(not bits[count:].any(), "bits are set in the padding")
    return bits[:count]


def read_raw(code: bytes, g: int, o: int) -> NDArray[np.bool_]:
    bits = unpack(code, g)
    check(int(bits.sum()) == o, "a code opens another number of gates")
    return bits


def read_rice(code: bytes, g: int, o: int) -> NDArray[np.bool_]:
    check(len(code) >= 1, "a code has no parameter")
    k, inverted = code[0] & 127, code[0] >= 128
    check(k <= 31, "the parameter of a code is too large")
    c = g - o if inverted else o
    plane = -(-c // 8)
    start = len(code) - k * plane
    check(start >= 1, "a code has not room for its planes")
    unary = np.unpackbits(np.frombuffer(code[1:start], np.uint8), bitorder="little")
    ones = np.flatnonzero(unary).tolist()
    check(len(ones) == c, "a code has another number of ones")
    check(len(unary) == (8 * (ones[-1] // 8 + 1) if ones else 0), "bytes are left over in a code")
    planes = [unpack(code[start + b * plane : start + (b + 1) * plane], c).tolist() for b in range(k)]
    bits = np.full(g, inverted)
    position = before = -1
    for i, one in enumerate(ones):
        gap = ((one - before - 1) << k) + sum(planes[b][i] << b for b in range(k))
        before, position = one, position + gap + 1
        check(position < g, "a code runs past its gates")
        bits[position] = not inverted
    return bits
