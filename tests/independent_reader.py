"""A second reader of tickets, written from docs/ticket-format.md. It shares no code with the package.

Slow and obvious on purpose: it is what the package's own reader is checked against.
"""

import hashlib
import json
import math
import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Contents:
    """The document, and by tensor or buffer name the masks and weights in their shapes, and the statistics."""

    document: dict[str, Any]
    masks: dict[str, npt.NDArray[np.bool_]]
    weights: dict[str, npt.NDArray[np.float32]]
    statistics: dict[str, npt.NDArray[np.float32]]


def read(content: bytes) -> Contents:
    """Read the bytes of a ticket's file. Raises ValueError for anything that breaks the rules of the page."""
    document, statistic_bytes, kind, codes = open_file(content)
    masks: dict[str, npt.NDArray[np.bool_]] = {}
    weights: dict[str, npt.NDArray[np.float32]] = {}
    sha = hashlib.sha256()
    seed, initialiser = document["seed"], document["initialiser"]
    for name, shape, scale, codec, kept, length in document["layers"]:
        code, codes = codes[:length], codes[length:]
        masks[name] = read_mask(document, name, shape, codec, kept, code).reshape(shape)
        size = math.prod(shape)
        values = draw(initialiser, seed, name, size).reshape(shape) * np.float32(scale)
        weights[name] = np.where(masks[name], values, np.float32(0))
        if initialiser == "signed-constant":
            sha.update(np.packbits(draw(initialiser, seed, name, size) < 0, bitorder="little").tobytes())
        else:
            sha.update(words(seed, "values", name, min(size, 65536)).astype("<u4").tobytes())
    require(not codes, "bytes are left over")
    require(sha.hexdigest() == document["weights"], "the weights are others")
    values = np.frombuffer(statistic_bytes, {"F32": "<f4", "F16": "<f2"}[kind]).astype(np.float32)
    found: dict[str, npt.NDArray[np.float32]] = {}
    for name, size in document["statistics"]:
        for buffer in ("running_mean", "running_var"):
            found[f"{name}.{buffer}"], values = values[:size], values[size:]
    require(not values.size, "statistics are left over")
    return Contents(document, masks, weights, found)


def require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


def open_file(content: bytes) -> tuple[dict[str, Any], bytes, str, bytes]:
    """Return the document, the bytes and type of the statistics, and the bytes of the masks."""
    length = int.from_bytes(content[:8], "little")
    require(length <= 4 * 2**20, "the header is too long")
    header = json.loads(content[8 : 8 + length])
    require(set(header) == {"__metadata__", "masks", "statistics"}, "other keys in the header")
    require(set(header["__metadata__"]) == {"ticket"}, "other metadata")
    document = json.loads(header["__metadata__"]["ticket"])
    require(document["format"] == "slt-compress ticket" and document["version"] == 1, "not version 1")
    blank = content.replace(document["digest"].encode(), b"0" * 64)
    require(hashlib.sha256(blank).hexdigest() == document["digest"], "the digest is wrong")
    data = content[8 + length :]
    start, end = header["statistics"]["data_offsets"]
    require(start == 0 and header["masks"]["data_offsets"] == [end, len(data)], "the tensors do not fill the file")
    return document, data[:end], header["statistics"]["dtype"], data[end:]


def words(seed: int, purpose: str, name: str, count: int) -> npt.NDArray[np.uint64]:
    """Return the first words of a stream, as u64."""
    fields = (b"slt-compress/hash32x2/1", seed.to_bytes(8, "little"), purpose.encode(), name.encode())
    digest = hashlib.blake2b(b"".join(len(field).to_bytes(4, "little") + field for field in fields)).digest()
    k0, k1 = (np.uint64(int.from_bytes(digest[at : at + 4], "little")) for at in (0, 4))

    def mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        low = np.uint64(0xFFFFFFFF)
        x = x ^ (x >> np.uint64(16))
        x = x * np.uint64(0x21F0AAAD) & low
        x = x ^ (x >> np.uint64(15))
        x = x * np.uint64(0x735A2D97) & low
        return x ^ (x >> np.uint64(15))

    return mix(mix((np.arange(count, dtype=np.uint64) + k0) & np.uint64(0xFFFFFFFF)) ^ k1)


def draw(initialiser: str, seed: int, name: str, size: int) -> npt.NDArray[np.float32]:
    """Return the elements of a tensor before they are scaled."""
    if initialiser == "signed-constant":
        at = np.arange(size, dtype=np.uint64)
        word = words(seed, "signs", name, -(-size // 32))[at // np.uint64(32)]
        return np.where(word >> at % np.uint64(32) & np.uint64(1), -1, 1).astype(np.float32)
    word = words(seed, "values", name, size)
    if initialiser in ("uniform", "kaiming-uniform"):
        integers = 2 * (word // np.uint64(2**8)).astype(np.int64) + 1 - 2**24
        return (integers.astype(np.float64) / 2**24).astype(np.float32)
    require(initialiser == "kaiming-normal", "an unknown initialiser")
    quantile = statistics.NormalDist().inv_cdf
    knots = np.array([*(round(2**16 * quantile(0.5 + j / 4096)) for j in range(2048)), 262144], np.int64)
    piece = (word // np.uint64(2**20) % np.uint64(2**11)).astype(np.int64)
    place = (word % np.uint64(2**20)).astype(np.int64)
    magnitude = (knots[piece] * 2**20 + (knots[piece + 1] - knots[piece]) * place).astype(np.float32)
    return np.where(word >= np.uint64(2**31), -magnitude, magnitude) * np.float32(2.0**-36)


def read_mask(
    document: dict[str, Any], name: str, shape: list[int], codec: str, kept: int, code: bytes
) -> npt.NDArray[np.bool_]:
    """Return a bool for each weight of a layer."""
    each = 1 if document["granularity"] == "weight" else math.prod(shape[1:])
    count = math.prod(shape) // each
    require(kept % each == 0, "a part of a neuron is kept")
    ratio, lock = document["freeze"]
    gates = np.zeros(count, np.bool_)
    searched = np.arange(count)
    if ratio:
        word = words(document["seed"], "freeze", name, count)
        gates = word < round(lock * 2**32)
        searched = np.flatnonzero(word >= round(ratio * 2**32))
    open_gates = kept // each - int(gates.sum())
    gates[searched] = decode(codec, code, len(searched), open_gates)
    return np.repeat(gates, each)


def bits_of(data: bytes, count: int) -> list[int]:
    """Return the first bits of packed bytes; the others must be zero."""
    bits = [byte >> place & 1 for byte in data for place in range(8)]
    require(len(bits) >= count and not any(bits[count:]), "bits are missing or set in the padding")
    return bits[:count]


def decode(codec: str, code: bytes, gates: int, open_gates: int) -> npt.NDArray[np.bool_]:
    """Return which of the searched gates are open."""
    if codec == "raw":
        require(len(code) == -(-gates // 8), "a raw code of another length")
        mask = np.array(bits_of(code, gates), np.bool_)
    else:
        require(codec == "rice", "an unknown codec")
        k, inverted = code[0] % 128, code[0] >= 128
        count = gates - open_gates if inverted else open_gates
        width = -(-count // 8)
        unary_end = len(code) - k * width
        planes = [bits_of(code[unary_end + b * width : unary_end + (b + 1) * width], count) for b in range(k)]
        unary = [byte >> place & 1 for byte in code[1:unary_end] for place in range(8)]
        mask = np.full(gates, inverted)
        position, zeros, found = -1, 0, 0
        for at, bit in enumerate(unary):
            if not bit:
                zeros += 1
                continue
            require(found < count, "too many gaps")
            position += (zeros << k) + sum(plane[found] << b for b, plane in enumerate(planes)) + 1
            require(position < gates, "a gap runs past the end")
            mask[position] = not inverted
            zeros, found, last = 0, found + 1, at
        require(found == count, "too few gaps")
        require(unary_end - 1 == (last // 8 + 1 if count else 0), "a unary plane of another length")
    require(int(mask.sum()) == open_gates, "another number of ones")
    return mask
