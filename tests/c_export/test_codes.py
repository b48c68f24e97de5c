"""Codes are read back by slow readers that know only the description, and end where they should."""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from slt_compress.c_export import codes
from slt_compress.masking import codecs

Mask = npt.NDArray[np.bool_]


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    size = draw(st.integers(1, 3000))
    density = draw(st.sampled_from([0.0, 0.001, 0.02, 0.3, 0.9, 1.0]))
    found: Mask = np.random.default_rng(draw(st.integers(0, 2**32))).random(size) < density
    return found


def read_rice(code: codes.Bytes, k: int, begin: int) -> list[int]:
    unary = np.unpackbits(code[:begin], bitorder="little")
    low = np.unpackbits(code[begin:], bitorder="little")
    places, place, passed = [], -1, -1
    for index, one in enumerate(np.flatnonzero(unary)):
        rest = sum(int(low[index * k + bit]) << bit for bit in range(k))
        place += 1 + ((int(one) - passed - 1) << k) + rest
        passed = int(one)
        places.append(place)
    return places


def read_bytes(code: codes.Bytes, skip: int, longest: int, shift: int) -> tuple[list[int], list[bool]]:
    places, signs, place = [], [], -1
    for byte in code.tolist():
        if byte == skip:
            place += longest
            continue
        place += 1 + (byte >> shift)
        places.append(place)
        signs.append(bool(byte & shift))
    return places, signs


@given(masks())
def test_rice_leads_to_every_kept_weight_and_out_of_the_tensor(mask: Mask) -> None:
    code, k, begin = codes.rice(mask)
    assert begin % 4 == 0
    if mask.all():  # one word is read as often as it takes
        begin = 4 * (mask.size // 32 + 1)
        assert read_rice(np.tile(code, begin), k, begin)[: mask.size + 1] == list(range(mask.size + 1))
        return
    places = read_rice(code, k, begin)
    assert places == [*np.flatnonzero(mask), mask.size]


@given(masks())
def test_bytes_lead_to_every_kept_weight_and_out_of_the_tensor(mask: Mask) -> None:
    code = codes.gap_bytes(mask)
    places, _ = read_bytes(np.tile(code, mask.size + 1) if mask.all() else code, 255, 255, 0)
    assert places == [*np.flatnonzero(mask), mask.size]


@given(masks(), st.integers(0, 2**32))
def test_signs_stand_with_their_weights(mask: Mask, seed: int) -> None:
    negative = np.random.default_rng(seed).random(mask.size) < 0.5
    places, signs = read_bytes(codes.signed_bytes(mask, negative), 254, 127, 1)
    assert places == [*np.flatnonzero(mask), mask.size]
    assert signs[:-1] == negative[mask].tolist()


def test_rice_is_as_short_as_in_a_ticket() -> None:
    for density in (0.02, 0.1, 0.5):
        mask = np.random.default_rng(0).random(100_000) < density
        ours, ticket = codes.rice(mask)[0].size, codecs.encode(mask, "auto")[1].size
        assert ours <= ticket * 1.001 + 8
