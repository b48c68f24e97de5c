"""Mask codecs: round trips, sizes against the Shannon bound, a slow reference, refusal of codes that do not fit."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_compress.errors import TicketError
from slt_compress.masking import codecs
from slt_compress.masking.codecs import CODECS, Bytes, Mask

SIZES = [1, 7, 8, 9, 31, 32, 33, 1000, 65_537]
DENSITIES = [0.0, 0.001, 0.1, 0.5, 0.9, 1.0]


def random_mask(size: int, density: float, seed: int = 0) -> Mask:
    return np.random.default_rng(seed).random(size) < density


def reference_rice(mask: Mask, k: int, inverted: bool) -> bytes:
    """Code a mask the slow way, one gap after another, from the format page."""
    unary: list[int] = []
    planes: list[list[int]] = [[] for _ in range(k)]
    gap = 0
    for kept in mask.tolist():
        if kept != inverted:
            unary += [0] * (gap >> k) + [1]
            for bit in range(k):
                planes[bit].append(gap >> bit & 1)
            gap = 0
        else:
            gap += 1
    code = bytes([k + 128 * inverted])
    for plane in (unary, *planes):
        padded = plane + [0] * (-len(plane) % 8)
        code += bytes(
            sum(bit << place for place, bit in enumerate(padded[at : at + 8])) for at in range(0, len(padded), 8)
        )
    return code


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("density", DENSITIES)
def test_round_trip(codec: str, size: int, density: float) -> None:
    mask = random_mask(size, density, size)
    code = CODECS[codec].encode(mask)
    assert code.dtype == np.uint8
    decoded = CODECS[codec].decode(code, size, int(mask.sum()))
    assert decoded.dtype == np.bool_
    assert np.array_equal(decoded, mask)


@given(st.lists(st.booleans(), min_size=1, max_size=300))
def test_any_mask_round_trips(bits_of_mask: list[bool]) -> None:
    mask = np.array(bits_of_mask)
    for codec in CODECS.values():
        assert np.array_equal(codec.decode(codec.encode(mask), mask.size, int(mask.sum())), mask)


@settings(max_examples=500)
@given(st.binary(max_size=40), st.integers(1, 200), st.integers(0, 200), st.sampled_from(sorted(CODECS)))
def test_any_bytes_are_decoded_exactly_or_refused(code: bytes, size: int, ones: int, codec: str) -> None:
    """What decodes at all has the stated ones, and, with its own parameter, codes to the same bytes."""
    found = np.frombuffer(code, np.uint8)
    try:
        mask = CODECS[codec].decode(found, size, min(ones, size))
    except TicketError:
        return
    assert int(mask.sum()) == min(ones, size)
    if codec == "raw":
        assert np.array_equal(CODECS[codec].encode(mask), found)
    else:
        assert reference_rice(mask, code[0] & 127, code[0] >= 128) == code


@pytest.mark.parametrize("density", [0.03, 0.2, 0.8])
def test_rice_is_what_the_format_page_says(density: float) -> None:
    mask = random_mask(2003, density)
    code = CODECS["rice"].encode(mask).tobytes()
    assert code == reference_rice(mask, code[0] & 127, density > 0.5)


@pytest.mark.parametrize(
    ("density", "limit"), [(0.5, 1.001), (0.3, 1.015), (0.1, 1.015), (0.05, 1.015), (0.02, 1.015), (0.9, 1.015)]
)
def test_size_against_the_shannon_bound(density: float, limit: float) -> None:
    mask = random_mask(1_000_000, density)
    name, code = codecs.encode(mask, "auto")
    assert name == ("raw" if density == 0.5 else "rice")
    assert code.size <= limit * codecs.shannon_bound(mask.size, int(mask.sum()))


def test_auto_is_never_longer_than_either() -> None:
    for density in DENSITIES:
        mask = random_mask(5000, density)
        sizes = [codec.encode(mask).size for codec in CODECS.values()]
        assert codecs.encode(mask, "auto")[1].size == min(sizes)
        assert codecs.encode(mask, "raw")[0] == "raw"


def test_raw_is_the_layout_numpy_reads() -> None:
    mask = random_mask(1003, 0.3)
    code = CODECS["raw"].encode(mask)
    assert code.size == math.ceil(1003 / 8)
    assert np.array_equal(np.unpackbits(code, count=1003, bitorder="little").astype(bool), mask)


@pytest.mark.parametrize("length", [0, 124, 126])
def test_raw_refuses_a_code_of_another_length(length: int) -> None:
    with pytest.raises(TicketError, match=f"1000 weights needs 125 bytes, found {length}"):
        CODECS["raw"].decode(np.zeros(length, np.uint8), 1000, 0)


def test_the_example_of_the_format_page() -> None:
    mask = np.zeros(20, np.bool_)
    mask[[2, 3, 12]] = True
    code = np.array([0x01, 0x86, 0x00], np.uint8)
    assert reference_rice(mask, 1, False) == code.tobytes()
    assert np.array_equal(CODECS["rice"].decode(code, 20, 3), mask)


def rice(*code: int) -> Bytes:
    return np.array(code, np.uint8)


@pytest.mark.parametrize(
    ("code", "size", "ones", "words"),
    [
        (rice(), 10, 0, "parameter byte"),
        (rice(0, 0b100), 2, 1, "runs past the end of 2 weights"),
        (rice(0, 0b100), 10, 2, "should have 2 ones, its code has 1"),
        (rice(0, 0b100, 0), 10, 1, "longer than its last gap"),
        (rice(0, 1), 10, 0, "should have 0 ones, its code has 1"),
        (rice(127, 1), 10, 1, "does not fit"),
        (rice(32, *[1] * 40), 10, 1, "does not fit"),
        (rice(2, 1, 1), 10, 1, "does not fit"),
        (rice(1, 1, 0b10), 10, 1, "bits set past its end"),
        (rice(31, 1, *[1] * 31), 1000, 1, "runs past the end"),
        (rice(31, 0, 0, 0, 0, 1, *[0] * 31), 1000, 1, "runs past the end"),
    ],
)
def test_rice_refuses_what_it_would_not_write(code: Bytes, size: int, ones: int, words: str) -> None:
    with pytest.raises(TicketError, match=words):
        CODECS["rice"].decode(code, size, ones)


def test_raw_refuses_bits_past_the_end_and_another_number_of_ones() -> None:
    with pytest.raises(TicketError, match="past its end"):
        CODECS["raw"].decode(np.array([0, 0b1000], np.uint8), 11, 1)
    with pytest.raises(TicketError, match="should have 2 ones, its code has 1"):
        CODECS["raw"].decode(np.array([0, 0b100], np.uint8), 11, 2)


def test_shannon_bound() -> None:
    assert codecs.shannon_bound(1000, 0) == 0
    assert codecs.shannon_bound(1000, 1000) == 0
    assert codecs.shannon_bound(8000, 4000) == 1000
    p = 0.1
    entropy = -(p * math.log2(p) + (1 - p) * math.log2(1 - p))
    assert codecs.shannon_bound(80_000, 8_000) == pytest.approx(10_000 * entropy, abs=1)
