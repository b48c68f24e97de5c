"""The generator against a reference in plain Python integers, and against vectors that must never change."""

import hashlib
import statistics
from fractions import Fraction

import numpy as np
import pytest
import torch

from slt_compress import prng

SIZES = [1, 7, 8, 31, 32, 33, 1000, (1 << 15) * 32 + 5]


def reference_word(seed: int, purpose: str, name: str, index: int) -> int:
    """Compute one word the slow way, from the definition."""
    encoded = b""
    for part in (b"slt-compress/hash32x2/1", seed.to_bytes(8, "little"), purpose.encode(), name.encode()):
        encoded += len(part).to_bytes(4, "little") + part
    digest = hashlib.blake2b(encoded).digest()
    k0, k1 = int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")

    def mix(x: int) -> int:
        x ^= x >> 16
        x = x * 0x21F0AAAD % 2**32
        x ^= x >> 15
        x = x * 0x735A2D97 % 2**32
        return x ^ x >> 15

    return mix(mix((index + k0) % 2**32) ^ k1)


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_words_follow_the_definition(seed: int) -> None:
    found = prng.words(seed, "signs", "layer1.0.conv1.weight", 100_000)
    for index in (0, 1, 2, 32767, 32768, 99_999):
        assert int(found[index]) == reference_word(seed, "signs", "layer1.0.conv1.weight", index)


def test_words_never_change() -> None:
    assert prng.stream_key(0, "signs", "conv1.weight") == (0xB7C29189, 0x4677E348)
    assert prng.words(0, "signs", "conv1.weight", 4).tolist() == [1931370204, 872214867, 417880096, 154661511]
    sha = hashlib.sha256(prng.sign_bits(12345, "fc.weight", 1_000_003).tobytes()).hexdigest()
    assert sha == "61c2d1949e4108a2fd971d7af7576e4d39069ba47a8db9a4b81a6accd39d9b9f"
    sha = hashlib.sha256(prng.uniform(12345, "pos_embed", 10_007).astype("<f4").tobytes()).hexdigest()
    assert sha == "33f0bf86a47ac17b306d2c424dce3c4f14cd2147302ac101efbe7a16e32576fa"


def test_int64_arithmetic_gives_the_same_words() -> None:
    """What an ONNX graph or a GPU computes: no product of two words may overflow int64."""
    k0, k1 = prng.stream_key(7, "signs", "w")
    mask = 0xFFFFFFFF

    def mix(x: torch.Tensor) -> torch.Tensor:
        x = x ^ (x >> 16)
        x = (x * 0x21F0AAAD) & mask
        x = x ^ (x >> 15)
        x = (x * 0x735A2D97) & mask
        return x ^ (x >> 15)

    index = torch.arange(70_000, dtype=torch.int64)
    found = mix(mix((index + k0) & mask) ^ k1)
    assert np.array_equal(found.numpy(), prng.words(7, "signs", "w", 70_000))


def test_fields_of_a_key_cannot_run_into_each_other() -> None:
    keys = {
        prng.stream_key(seed, purpose, name)
        for seed in (0, 1, 256)
        for purpose in ("signs", "values", "freeze", "mask")
        for name in ("", "a", "ab", "signs", "a.b")
    }
    assert len(keys) == 3 * 4 * 5


@pytest.mark.parametrize("size", SIZES)
def test_sign_bits_are_a_prefix_of_longer_ones(size: int) -> None:
    short = np.unpackbits(prng.sign_bits(3, "w", size), bitorder="little")
    longer = np.unpackbits(prng.sign_bits(3, "w", size + 64), bitorder="little")
    assert np.array_equal(short[:size], longer[:size])
    assert not short[size:].any()


def test_sign_bits_are_the_bits_of_the_words() -> None:
    bits = np.unpackbits(prng.sign_bits(3, "w", 100), bitorder="little")
    for index in range(100):
        assert bits[index] == reference_word(3, "signs", "w", index // 32) >> (index % 32) & 1


def test_signs_are_balanced_and_uncorrelated() -> None:
    signs = np.unpackbits(prng.sign_bits(1, "w", 1 << 20)).astype(np.float64) * 2 - 1
    other = np.unpackbits(prng.sign_bits(1, "v", 1 << 20)).astype(np.float64) * 2 - 1
    for correlation in (signs.mean(), (signs[1:] * signs[:-1]).mean(), (signs * other).mean()):
        assert abs(correlation) < 5 / 2**10  # five standard deviations


def test_uniform_is_exact_symmetric_and_never_zero() -> None:
    values = prng.uniform(5, "w", 1 << 18).astype(np.float64)
    odd = (values * 2**24).astype(np.int64)
    assert np.array_equal(odd / 2**24, values)
    assert np.all(odd % 2 == 1)
    assert np.abs(odd).max() < 2**24
    assert abs(values.mean()) < 5 * 3**-0.5 / 2**9
    assert values.std() == pytest.approx(3**-0.5, rel=0.01)


@pytest.mark.parametrize("kept", [0, 1, 500, 999, 1000])
def test_random_mask_keeps_exactly_so_many(kept: int) -> None:
    mask = prng.random_mask(9, "w", 1000, kept)
    assert mask.dtype == np.bool_
    assert mask.sum() == kept
    assert np.array_equal(mask, prng.random_mask(9, "w", 1000, kept))
    if 0 < kept < 1000:
        assert not np.array_equal(mask, prng.random_mask(10, "w", 1000, kept))


def test_normal_follows_the_definition() -> None:
    """Piece by piece with Python integers and fractions."""
    found = prng.normal(2, "w", 3000)
    knots = prng.normal_knots().tolist()
    for index in range(0, 3000, 29):
        word = reference_word(2, "values", "w", index)
        piece, place = word >> 20 & 2047, word & 0xFFFFF
        exact = Fraction(knots[piece]) + Fraction((knots[piece + 1] - knots[piece]) * place, 2**20)
        expected = np.float32(float(exact / 2**16))
        assert found[index] == (-expected if word >> 31 else expected)


def test_normal_is_normal() -> None:
    values = np.sort(prng.normal(4, "w", 1 << 19).astype(np.float64))
    assert values.std() == pytest.approx(1, abs=0.005)
    assert abs(values.mean()) < 0.007
    quantile = statistics.NormalDist().inv_cdf
    for p in (0.001, 0.05, 0.3, 0.5, 0.9, 0.999):
        assert values[int(p * values.size)] == pytest.approx(quantile(p), abs=0.03)


def test_knots_never_change_and_are_far_from_rounding_boundaries() -> None:
    knots = prng.normal_knots()
    assert (
        hashlib.sha256(knots.astype("<i8").tobytes()).hexdigest()
        == "c135438bdae8455c5a16863c6a18c8f2c7677bd54d4dee428cd077181b759521"
    )
    quantile = statistics.NormalDist().inv_cdf
    assert min(abs(quantile(0.5 + j / 4096) * 2**16 % 1 - 0.5) for j in range(1, 2048)) > 1e-3


@pytest.mark.parametrize(
    ("initialiser", "sha"),
    [
        ("signed-constant", "c3cfdfd439ebd1ddb850f244f0ec184188e6415aa6df2eca0bfce50145c2c243"),
        ("kaiming-uniform", "b75d7385d1e5b11d31d0572b900baa6766d11f547bd31b273c0b31467ab24ee4"),
        ("uniform", "b75d7385d1e5b11d31d0572b900baa6766d11f547bd31b273c0b31467ab24ee4"),
        ("kaiming-normal", "628ca7ed30f36ac5359166b8cf6c5d27b154da9790aafd0c8a3bdb7b9aa085c4"),
    ],
)
def test_initialisers_never_change(initialiser: str, sha: str) -> None:
    values = prng.INITIALISERS[initialiser](42, "layer.weight", 100_003)
    assert values.dtype == np.float32
    assert hashlib.sha256(values.astype("<f4").tobytes()).hexdigest() == sha


@pytest.mark.parametrize(
    ("initialiser", "std"), [("signed-constant", 2), ("kaiming-uniform", 2), ("kaiming-normal", 2), ("uniform", 1 / 3)]
)
def test_scales_give_the_published_standard_deviation(initialiser: str, std: float) -> None:
    scale = prng.scale(initialiser, 75)
    assert float(np.float32(scale)) == scale
    weights = prng.INITIALISERS[initialiser](1, "w", 200_000) * np.float32(scale)
    assert weights.std() == pytest.approx((std / 75) ** 0.5, rel=0.01)


@pytest.mark.parametrize("initialiser", prng.INITIALISERS)
def test_fingerprints_tell_seeds_and_names_apart(initialiser: str) -> None:
    prints = {prng.fingerprint(initialiser, seed, name, 5000) for seed in (0, 1) for name in ("a", "b")}
    assert len(prints) == 4


@pytest.mark.parametrize(
    "freeze", [prng.Freeze(), prng.Freeze(0.7, 0.35), prng.Freeze(0.7), prng.Freeze(0.5, 0.5), prng.Freeze(1.0, 0.25)]
)
def test_fixed_gates_follow_the_definition(freeze: prng.Freeze) -> None:
    locked, pruned = prng.fixed_gates(3, "w", 20_000, freeze)
    assert not (locked & pruned).any()
    assert locked.mean() == pytest.approx(freeze.lock, abs=0.02)
    assert (locked | pruned).mean() == pytest.approx(freeze.ratio, abs=0.02)
    for index in range(0, 20_000, 499):
        word = reference_word(3, "freeze", "w", index)
        assert locked[index] == (word < round(freeze.lock * 2**32))
        assert pruned[index] == (round(freeze.lock * 2**32) <= word < round(freeze.ratio * 2**32))
