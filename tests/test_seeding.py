"""The generator against a reference in plain Python integers, and against vectors that must never change."""

import hashlib

import numpy as np
import pytest
import torch

from slt_compress import seeding

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
    found = seeding.words(seed, "signs", "layer1.0.conv1.weight", 100_000)
    for index in (0, 1, 2, 32767, 32768, 99_999):
        assert int(found[index]) == reference_word(seed, "signs", "layer1.0.conv1.weight", index)


def test_words_never_change() -> None:
    assert seeding.stream_key(0, "signs", "conv1.weight") == (0xB7C29189, 0x4677E348)
    assert seeding.words(0, "signs", "conv1.weight", 4).tolist() == [1931370204, 872214867, 417880096, 154661511]
    sha = hashlib.sha256(seeding.sign_bits(12345, "fc.weight", 1_000_003).tobytes()).hexdigest()
    assert sha == "61c2d1949e4108a2fd971d7af7576e4d39069ba47a8db9a4b81a6accd39d9b9f"
    sha = hashlib.sha256(seeding.uniform(12345, "pos_embed", 10_007).astype("<f4").tobytes()).hexdigest()
    assert sha == "33f0bf86a47ac17b306d2c424dce3c4f14cd2147302ac101efbe7a16e32576fa"


def test_int64_arithmetic_gives_the_same_words() -> None:
    """What an ONNX graph or a GPU computes: no product of two words may overflow int64."""
    k0, k1 = seeding.stream_key(7, "signs", "w")
    mask = 0xFFFFFFFF

    def mix(x: torch.Tensor) -> torch.Tensor:
        x = x ^ (x >> 16)
        x = (x * 0x21F0AAAD) & mask
        x = x ^ (x >> 15)
        x = (x * 0x735A2D97) & mask
        return x ^ (x >> 15)

    index = torch.arange(70_000, dtype=torch.int64)
    found = mix(mix((index + k0) & mask) ^ k1)
    assert np.array_equal(found.numpy(), seeding.words(7, "signs", "w", 70_000))


def test_fields_of_a_key_cannot_run_into_each_other() -> None:
    keys = {
        seeding.stream_key(seed, purpose, name)
        for seed in (0, 1, 256)
        for purpose in ("signs", "values", "freeze", "mask")
        for name in ("", "a", "ab", "signs", "a.b")
    }
    assert len(keys) == 3 * 4 * 5


@pytest.mark.parametrize("size", SIZES)
def test_sign_bits_are_a_prefix_of_longer_ones(size: int) -> None:
    short = np.unpackbits(seeding.sign_bits(3, "w", size), bitorder="little")
    longer = np.unpackbits(seeding.sign_bits(3, "w", size + 64), bitorder="little")
    assert np.array_equal(short[:size], longer[:size])
    assert not short[size:].any()


def test_sign_bits_are_the_bits_of_the_words() -> None:
    bits = np.unpackbits(seeding.sign_bits(3, "w", 100), bitorder="little")
    for index in range(100):
        assert bits[index] == reference_word(3, "signs", "w", index // 32) >> (index % 32) & 1


def test_signs_are_balanced_and_uncorrelated() -> None:
    signs = np.unpackbits(seeding.sign_bits(1, "w", 1 << 20)).astype(np.float64) * 2 - 1
    other = np.unpackbits(seeding.sign_bits(1, "v", 1 << 20)).astype(np.float64) * 2 - 1
    for correlation in (signs.mean(), (signs[1:] * signs[:-1]).mean(), (signs * other).mean()):
        assert abs(correlation) < 5 / 2**10  # five standard deviations


def test_uniform_is_exact_symmetric_and_never_zero() -> None:
    values = seeding.uniform(5, "w", 1 << 18).astype(np.float64)
    odd = (values * 2**24).astype(np.int64)
    assert np.array_equal(odd / 2**24, values)
    assert np.all(odd % 2 == 1)
    assert np.abs(odd).max() < 2**24
    assert abs(values.mean()) < 5 * 3**-0.5 / 2**9
    assert values.std() == pytest.approx(3**-0.5, rel=0.01)


@pytest.mark.parametrize("kept", [0, 1, 500, 999, 1000])
def test_random_mask_keeps_exactly_so_many(kept: int) -> None:
    mask = seeding.random_mask(9, "w", 1000, kept)
    assert mask.dtype == np.bool_
    assert mask.sum() == kept
    assert np.array_equal(mask, seeding.random_mask(9, "w", 1000, kept))
    if 0 < kept < 1000:
        assert not np.array_equal(mask, seeding.random_mask(10, "w", 1000, kept))
