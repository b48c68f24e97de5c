"""Mask codecs: round trips, sizes against the Shannon bound, refusal of codes that do not fit."""

import math

import numpy as np
import pytest

from slt_compress import bits
from slt_compress.errors import TicketError

SIZES = [1, 7, 8, 9, 31, 32, 33, 1000, 65_537]
DENSITIES = [0.0, 0.01, 0.1, 0.5, 0.99, 1.0]


@pytest.mark.parametrize("codec", bits.CODECS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("density", DENSITIES)
def test_round_trip(codec: str, size: int, density: float) -> None:
    mask = np.random.default_rng(size).random(size) < density
    code = bits.CODECS[codec].encode(mask)
    assert code.dtype == np.uint8
    decoded = bits.CODECS[codec].decode(code, size)
    assert decoded.dtype == np.bool_
    assert np.array_equal(decoded, mask)


def test_raw_is_the_layout_numpy_reads() -> None:
    mask = np.random.default_rng(0).random(1003) < 0.3
    code = bits.CODECS["raw"].encode(mask)
    assert code.size == math.ceil(1003 / 8)
    assert np.array_equal(np.unpackbits(code, count=1003, bitorder="little").astype(bool), mask)


@pytest.mark.parametrize("length", [0, 124, 126])
def test_raw_refuses_a_code_of_another_length(length: int) -> None:
    with pytest.raises(TicketError, match=f"1000 weights needs 125 bytes, found {length}"):
        bits.CODECS["raw"].decode(np.zeros(length, np.uint8), 1000)


def test_raw_refuses_bits_past_the_end() -> None:
    with pytest.raises(TicketError, match="past its end"):
        bits.CODECS["raw"].decode(np.array([0, 0b1000], np.uint8), 11)


def test_shannon_bound() -> None:
    assert bits.shannon_bound(1000, 0) == 0
    assert bits.shannon_bound(1000, 1000) == 0
    assert bits.shannon_bound(8000, 4000) == 1000
    p = 0.1
    entropy = -(p * math.log2(p) + (1 - p) * math.log2(1 - p))
    assert bits.shannon_bound(80_000, 8_000) == pytest.approx(10_000 * entropy, abs=1)
