"""Weights from a seed: the counter-based generator `hash32x2`.

Every value a network needs and a ticket does not store is a pure function of (seed, purpose, tensor name, index).
There is no stream to advance, so neither the order in which modules are built nor the release of torch or numpy can
change a weight, and any block of a tensor can be generated without the ones before it.

    key(seed, purpose, name) = first 8 bytes of BLAKE2b over length-prefixed fields, as two little-endian u32 (k0, k1)
    word(i) = mix(mix(i + k0) ^ k1)          everything modulo 2**32

`mix` is the 32-bit finaliser "lowbias32" family member (16, 0x21f0aaad, 15, 0x735a2d97, 15) found by Christopher
Wellons' hash-prospector search. Both multipliers are below 2**31: in int64 arithmetic no product overflows, so the
same words can be computed on any device and inside an ONNX graph. It is not cryptographic and need not be.

Two rounds with two keys, rather than one keyed counter: with a keyed counter alone every tensor would be a window of
one and the same sequence.
"""

import hashlib
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt

GENERATOR = "hash32x2"
MAX_SEED = 2**64 - 1

Purpose = Literal["signs", "values", "freeze", "mask", "augmentation", "noise"]

_DOMAIN = b"slt-compress/hash32x2/1"
_BLOCK = 1 << 15  # words mixed at a time: 128 KiB, so that every pass stays in the second-level cache


@dataclass(frozen=True)
class Freeze:
    """The part of a mask that the seed fixes before a search (Otsuka et al., arXiv:2402.14029).

    Attributes:
        ratio: share of all gated weights whose gate is fixed.
        lock: share of all gated weights whose gate is fixed open, at most `ratio`; the rest of the fixed gates is
            closed, and those weights are pruned.
    """

    ratio: float = 0.0
    lock: float = 0.0


@dataclass(frozen=True)
class SeedRecipe:
    """What is generated for a network instead of being stored: its weights, and the gates that are fixed.

    Attributes:
        seed: u64.
        initialiser: distribution of the weights, a key of `INITIALISERS`.
        freeze: the part of the mask that is fixed.
    """

    seed: int = 0
    initialiser: str = "signed-constant"
    freeze: Freeze = Freeze()


def stream_key(seed: int, purpose: Purpose, name: str) -> tuple[int, int]:
    """Return the two u32 keys of the stream for one tensor and one purpose.

    Each field is preceded by its length in bytes as a u32, so that no two different triples share an encoding.
    """
    fields = (_DOMAIN, seed.to_bytes(8, "little"), purpose.encode(), name.encode())
    encoded = b"".join(len(field).to_bytes(4, "little") + field for field in fields)
    digest = hashlib.blake2b(encoded).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def words(seed: int, purpose: Purpose, name: str, count: int) -> npt.NDArray[np.uint32]:
    """Return words 0 … count-1 of a stream, uint32 of shape (count,), uniform over [0, 2**32)."""
    k0, k1 = (np.uint32(key) for key in stream_key(seed, purpose, name))
    out = np.empty(count, np.uint32)
    scratch = np.empty(min(count, _BLOCK), np.uint32)
    for start in range(0, count, _BLOCK):
        block = out[start : start + _BLOCK]
        block[:] = np.arange(start, start + block.size, dtype=np.uint32)
        block += k0
        _mix(block, scratch)
        block ^= k1
        _mix(block, scratch)
    return out


def mixed(start: int, count: int) -> npt.NDArray[np.uint32]:
    """Return the mixer's results for the numbers from `start` on, modulo 2**32: uint32 of shape (count,), without keys.

    For what others must be able to make in a few lines.
    """
    out = np.arange(count, dtype=np.uint32) + np.uint32(start % 2**32)
    _mix(out, np.empty_like(out))
    return out


def sign_bits(seed: int, name: str, size: int) -> npt.NDArray[np.uint8]:
    """Return the packed signs of a tensor: uint8 of shape (ceil(size / 8),), little-endian bit order, set = negative.

    Bit `i % 32` of word `i // 32` belongs to element i in row-major order; bits past `size` are zero.
    """
    packed = words(seed, "signs", name, -(-size // 32)).astype("<u4", copy=False).view(np.uint8)[: -(-size // 8)]
    if size % 8:
        packed[-1] &= (1 << size % 8) - 1
    return packed


def uniform(seed: int, name: str, size: int) -> npt.NDArray[np.float32]:
    """Return float32 of shape (size,), uniform over the 2**24 odd multiples of 2**-24 in (-1, 1).

    Value i is (2·(word(i) >> 8) + 1)·2**-24 - 1. Written over the common denominator it is an odd integer below 2**24
    in magnitude, so it is exact in float32 on every platform, symmetric, and never zero.
    """
    integers = (words(seed, "values", name, size) >> np.uint32(8)).astype(np.int32)
    integers *= 2
    integers += 1 - 2**24
    return integers.astype(np.float32) * np.float32(2.0**-24)


def normal(seed: int, name: str, size: int) -> npt.NDArray[np.float32]:
    """Return float32 of shape (size,), standard normal up to 4.0 in magnitude, the same bits on every platform.

    The upper half of the normal quantile function is approximated by 2048 straight pieces between knots in units of
    2**-16. Of each word the top bit is the sign (set = negative), the next 11 choose the piece and the low 20 the
    place on it. All of that is integer arithmetic below 2**39; one conversion to float32, which IEEE 754 rounds the
    same everywhere, ends it. The last knot is at 4.0, where the quantile is infinite; variance 1.0001.
    """
    drawn = words(seed, "values", name, size)
    piece = (drawn >> np.uint32(20) & np.uint32(2047)).astype(np.int64)
    place = (drawn & np.uint32(2**20 - 1)).astype(np.int64)
    knots = normal_knots()
    magnitudes = knots[piece] * 2**20 + (knots[piece + 1] - knots[piece]) * place
    values = magnitudes.astype(np.float32) * np.float32(2.0**-36)
    np.negative(values, out=values, where=drawn >= np.uint32(2**31))
    return values


@cache
def normal_knots() -> npt.NDArray[np.int64]:
    """Return the 2049 knots of `normal`, int64, in units of 2**-16: the quantiles of ½ + j/4096, rounded.

    No quantile lies within 0.001 of a rounding boundary, so no platform's logarithm can change a knot.
    """
    quantile = statistics.NormalDist().inv_cdf
    return np.array([*(round(quantile(0.5 + j / 4096) * 2**16) for j in range(2048)), 4 * 2**16], np.int64)


def signs(seed: int, name: str, size: int) -> npt.NDArray[np.float32]:
    """Return float32 of shape (size,), each 1 or -1."""
    negative = np.unpackbits(sign_bits(seed, name, size), count=size, bitorder="little")
    return np.float32(1) - np.float32(2) * negative


# Name -> values before they are scaled. The scale is stored with each tensor.
INITIALISERS: dict[str, Callable[[int, str, int], npt.NDArray[np.float32]]] = {
    "signed-constant": signs,
    "kaiming-uniform": uniform,
    "uniform": uniform,
    "kaiming-normal": normal,
}


def scale(initialiser: str, fan_in: float) -> float:
    """Return what the values of an initialiser are multiplied with, exact in float32.

    The Kaiming ones, and the constant, give weights the standard deviation √2/√fan_in (He et al. 2015); `uniform` is
    torch's default for layers, ±1/√fan_in. Raises KeyError for an unknown name.
    """
    squared = {"signed-constant": 2, "kaiming-uniform": 6, "uniform": 1, "kaiming-normal": 2}[initialiser]
    return float(np.float32((squared / fan_in) ** 0.5))


def fingerprint(initialiser: str, seed: int, name: str, size: int) -> bytes:
    """Return bytes that differ if another generator made the tensor: all signs, or the first 65,536 words of values."""
    if initialiser == "signed-constant":
        return sign_bits(seed, name, size).tobytes()
    return words(seed, "values", name, min(size, 65_536)).astype("<u4", copy=False).tobytes()


def fixed_gates(seed: int, name: str, size: int, freeze: Freeze) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return two bool arrays of shape (size,): the gates fixed open (locked), and those fixed closed (pruned).

    All others are searchable. Element i is locked if word(i) of the purpose "freeze" is below round(lock·2**32), and
    pruned if it is not, but below round(ratio·2**32). So the shares hold on average, not exactly.
    """
    drawn = words(seed, "freeze", name, size)
    locked, fixed = (_below(drawn, round(share * 2**32)) for share in (freeze.lock, freeze.ratio))
    return locked, fixed & ~locked


def random_mask(seed: int, name: str, size: int, kept: int) -> npt.NDArray[np.bool_]:
    """Return bool of shape (size,) with exactly `kept` ones, every such mask equally likely up to the generator.

    The elements with the smallest (word, index) pairs are kept; the index breaks the rare ties between words.
    """
    if kept == 0:
        return np.zeros(size, np.bool_)
    rank = words(seed, "mask", name, size).astype(np.uint64) << np.uint64(32)
    rank |= np.arange(size, dtype=np.uint64)
    mask: npt.NDArray[np.bool_] = rank <= np.partition(rank, kept - 1)[kept - 1]
    return mask


def _below(drawn: npt.NDArray[np.uint32], limit: int) -> npt.NDArray[np.bool_]:
    """Return which words are below a limit of 0 to 2**32, which is no uint32 itself."""
    return drawn <= np.uint32(limit - 1) if limit else np.zeros(drawn.size, np.bool_)


def _mix(x: npt.NDArray[np.uint32], scratch: npt.NDArray[np.uint32]) -> None:
    """Apply the mixer to `x` in place; numpy's uint32 products wrap modulo 2**32."""
    shifted = scratch[: x.size]
    for shift, multiplier in ((16, 0x21F0AAAD), (15, 0x735A2D97)):
        np.right_shift(x, np.uint32(shift), out=shifted)
        x ^= shifted
        x *= np.uint32(multiplier)
    np.right_shift(x, np.uint32(15), out=shifted)
    x ^= shifted
