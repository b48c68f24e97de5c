"""The bytes that masks take, and the density at which they take as many as asked for."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_compress.masking import codecs
from slt_compress.masking.coded_size import FULLEST, coded_bytes, filling_share, largest_density, open_counts
from slt_compress.prng import Freeze
from tests.support.digits import lenet


@pytest.mark.parametrize("freeze", [Freeze(), Freeze(0.6, 0.2)], ids=["searchable", "fixed"])
def test_the_bytes_are_those_of_the_gates_that_a_ticket_codes(freeze: Freeze) -> None:
    gates = lenet(freeze=freeze)
    mask = torch.rand(gates.weights.shape, generator=torch.Generator().manual_seed(1)) < 0.1
    free = gates.searchable
    expected = 0
    counts = []
    for slot in gates.slots:
        part = slice(slot.offset, slot.offset + slot.size)
        coded = mask[part][free[part]].numpy()
        counts.append((coded.size, int(coded.sum())))
        expected += min(codecs.encode(coded, name)[1].size for name in ("raw", "rice"))
    assert coded_bytes(gates, mask, "auto") == expected
    assert list(zip(*open_counts(gates, mask), strict=True)) == counts


@given(
    sizes=st.lists(st.integers(200, 5_000), min_size=1, max_size=5),
    share=st.floats(0.01, 0.45),
    uneven=st.floats(0, 3),
)
@settings(deadline=None)
def test_the_share_fills_the_room_and_no_larger_one_fits(sizes: list[int], share: float, uneven: float) -> None:
    counts = [max(1, round(share * size / (1 + uneven * place))) for place, size in enumerate(sizes)]

    def takes(asked: float) -> float:
        factor = asked * sum(sizes) / sum(counts)
        shares = np.array([min(0.5, count * factor / size) for size, count in zip(sizes, counts, strict=True)])
        entropies = -(shares * np.log2(shares) + (1 - shares) * np.log2(1 - shares))
        return float(np.dot(sizes, entropies)) / 8

    room = takes(share)
    found = filling_share(sizes, counts, room)
    assert takes(found) <= room * (1 + 1e-9) or found == pytest.approx(1 / sum(sizes))
    assert found == FULLEST or takes(found * 1.001) > room * (1 - 1e-9)
    assert filling_share(sizes, counts, sum(sizes)) == FULLEST
    assert filling_share(sizes, counts, 0.0) == pytest.approx(1 / sum(sizes))


@given(end=st.floats(1e-4, 0.5), guess=st.floats(1e-4, 0.5))
def test_the_largest_density_that_fits_is_found_from_any_guess(end: float, guess: float) -> None:
    tried: list[float] = []

    def fits(density: float) -> bool:
        tried.append(density)
        return density <= end

    found = largest_density(fits, guess, 1e-5, 0.5)
    assert found <= end
    assert found >= end * (1 - 3e-4)
    assert len(tried) < 40
    assert all(1e-5 <= one <= 0.5 for one in tried)


def test_where_nothing_fits_it_is_the_least_and_where_all_fits_the_most() -> None:
    assert largest_density(lambda _: False, 0.2, 0.01, 0.5) == 0.01
    assert largest_density(lambda _: True, 0.2, 0.01, 0.5) == 0.5
    assert largest_density(lambda _: False, 0.5, 0.01, 0.5) == 0.01
