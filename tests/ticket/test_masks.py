"""Gates and their codes: what is fixed or dropped already takes no bit, and codes of others are refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from slt_compress.errors import TicketError
from slt_compress.prng import Freeze, SeedRecipe, fixed_gates
from slt_compress.ticket.masks import Mask, along_axis, coat_masks, code_gates, open_gates, union
from slt_compress.ticket.schema import Coat, CodedMask, Layer, Use

gates_of = st.integers(0, 40).flatmap(lambda size: arrays(np.bool_, (4, size)))


@pytest.mark.parametrize("codec", ["auto", "raw", "rice"])
@settings(deadline=None)
@given(drawn=gates_of, frees=st.booleans(), fixes=st.booleans())
def test_open_gates_is_the_inverse_of_code_gates(codec: str, drawn: Mask, frees: bool, fixes: bool) -> None:
    gates, free, locked, pruned = drawn
    pruned = pruned & ~locked
    gates = gates & free if frees else gates
    if fixes:
        gates = (gates | locked) & ~pruned
        gates = gates & free if frees else gates
    fixed, given_free = (locked, pruned) if fixes else None, free if frees else None
    coded = code_gates(gates, codec, "w", fixed, given_free)
    searched = (free if frees else np.ones(gates.size, bool)) & ~((locked | pruned) & fixes)
    assert (coded.gates, coded.open) == (searched.sum(), (gates & searched).sum())
    before = drawn.copy()
    assert np.array_equal(open_gates(coded, gates.size, fixed, given_free), gates)
    assert np.array_equal(drawn, before)


def test_gates_that_contradict_fixed_ones_are_refused() -> None:
    yes, no = np.ones(3, bool), np.zeros(3, bool)
    for gates, fixed in ((no, (yes, no)), (yes, (no, yes))):
        with pytest.raises(ValueError, match="the mask of w contradicts the gates that the seed fixes"):
            code_gates(gates, "raw", "w", fixed)
        assert code_gates(gates, "raw", "w", fixed, no).gates == 0  # dropped anyway


def test_another_number_of_gates_is_refused() -> None:
    mask = code_gates(np.ones(9, bool), "raw")
    for count in (8, 10):
        with pytest.raises(TicketError, match=f"should have {count} coded gates, it has 9"):
            open_gates(mask, count)
    with pytest.raises(TicketError, match="should have 0 coded gates, it has 9"):
        open_gates(mask, 9, free=np.zeros(9, bool))


def test_slices_lie_along_their_axis() -> None:
    use = Use(CodedMask(2, 1, "raw", b"\1"), 1, 3)
    found = along_axis(use, (2, 6, 4), np.array([True, False]))
    assert found.shape == (1, 6, 1)
    assert found.ravel().tolist() == [True] * 3 + [False] * 3


def test_fixed_gates_count_in_those_uses_only_that_say_so() -> None:
    origin = SeedRecipe(3, freeze=Freeze(0.5, 0.5))
    locked, pruned = fixed_gates(3, "w", 12, origin.freeze)
    assert not pruned.any()
    none = code_gates(np.zeros(12, bool), "raw")
    layer = Layer("w", (3, 4), (Coat(1.0, (Use(none),)),), 0)
    assert not coat_masks(layer, origin)[0].any()
    coded = code_gates(locked, "raw", "w", (locked, pruned))
    fixed = Layer("w", (3, 4), (Coat(1.0, (Use(coded, fixed=True),)),), int(locked.sum()))
    assert np.array_equal(coat_masks(fixed, origin)[0].ravel(), locked)


def test_the_number_of_kept_weights_is_checked_over_all_coats() -> None:
    halves = [np.array([True, True, False, False]), np.array([True, False, True, False])]
    coats = tuple(Coat(1.0, (Use(code_gates(half, "raw")),)) for half in halves)
    masks = coat_masks(Layer("w", (2, 2), coats, 3), SeedRecipe())
    assert [mask.ravel().tolist() for mask in masks] == [half.tolist() for half in halves]
    assert union(masks).ravel().tolist() == [True, True, True, False]
    with pytest.raises(TicketError, match="the layer w should keep 4 weights, its masks keep 3"):
        coat_masks(Layer("w", (2, 2), coats, 4), SeedRecipe())
