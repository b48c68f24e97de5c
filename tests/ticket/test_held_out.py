"""The reference: small, the same again from its bytes, and nothing else is read."""

import bisect
from dataclasses import replace

import numpy as np
import pytest

from slt_compress.errors import TicketError
from slt_compress.ticket.held_out import (
    MAX_GROUPS,
    PROBABILITY,
    QUANTITIES,
    Bins,
    Reference,
    count,
    group_count,
    group_of,
)
from slt_compress.ticket.ticket import Ticket
from tests.support.references import CLASSES, reference_of, seen

REFERENCE = reference_of(seen(1000, np.random.default_rng(0)))


@pytest.mark.parametrize("images", [1, 30, 1000, 65_535])
def test_a_reference_is_the_same_again_from_its_bytes(images: int) -> None:
    found = reference_of(seen(images, np.random.default_rng(1)))
    content = found.to_bytes()
    assert Reference.from_bytes(content) == found
    assert len(content) <= 405
    for length in range(len(content)):
        with pytest.raises(TicketError, match="reference is too short"):
            Reference.from_bytes(content[:length])
    with pytest.raises(TicketError, match="1 bytes too many"):
        Reference.from_bytes(content + b"\0")


def test_bins_count_every_value_once_where_a_slow_search_finds_it() -> None:
    generator = np.random.default_rng(2)
    for values in (generator.normal(size=500), np.rint(generator.normal(size=500)), np.full(500, 1e6)):
        bins = Bins.of(values)
        slow = [0] * (len(bins.edges) + 1)
        for value in values.tolist():
            slow[bisect.bisect_right(bins.edges, value)] += 1
        assert list(bins.counts) == slow
        assert [float(np.float16(edge)) for edge in bins.edges] == list(bins.edges)
    counts = Bins.of(generator.normal(size=5000)).counts
    assert counts == pytest.approx([50, 200, 500, 750, 1000, 1000, 750, 500, 200, 50], abs=10)
    assert count(np.array([np.nan, 0.5, np.nan]), (0.5,)) == (0, 1)


def test_a_tenth_of_the_images_is_in_the_lowest_four_bins_of_the_probability() -> None:
    counts = REFERENCE.quantities[PROBABILITY].counts
    assert 90 <= sum(counts[:4]) <= 110
    assert counts[0] < 20
    assert REFERENCE.correct is not None
    assert REFERENCE.accuracy == sum(REFERENCE.correct) / 1000


def test_many_classes_make_groups_of_neighbours() -> None:
    assert group_count(10) == 10
    assert group_of(np.arange(10), 10).tolist() == list(range(10))
    groups = group_of(np.arange(1000), 1000)
    assert group_count(1000) == MAX_GROUPS == groups.max() + 1
    assert np.ptp(np.bincount(groups)) <= 1
    assert (np.diff(groups) >= 0).all()


def test_its_bytes_are_those_of_the_page() -> None:
    content = bytes.fromhex("0500 02 01 01 00 01 0038 0200 0300 0400 0100 0100 0300")
    found = Reference.from_bytes(content)
    assert found == Reference(5, {PROBABILITY: Bins((0.5,), (2, 3))}, (4, 1), (1, 3))
    assert found.to_bytes() == content


def test_what_a_ticket_grows_by() -> None:
    from tests.support.documents import PROVENANCE, small_ticket

    names = [f"class {place}" for place in range(CLASSES)]
    provenance = replace(PROVENANCE, architecture="a" * 64, classes=names, rewind_steps=1)  # of version 2 anyway
    ticket = small_ticket(provenance=provenance)
    larger = ticket.with_reference(REFERENCE)
    assert len(larger.to_bytes()) - len(ticket.to_bytes()) <= 600
    assert larger.reference_bytes == len(REFERENCE.to_bytes())
    assert Ticket.from_bytes(larger.to_bytes()).provenance.held_out == REFERENCE
    with pytest.raises(TicketError, match=r"reference is of other classes: 10 groups, the network has 2 classes"):
        Ticket.from_bytes(
            small_ticket(provenance=replace(provenance, classes=["a", "b"], held_out=REFERENCE)).to_bytes()
        )


def test_a_search_without_a_reference_writes_what_it_wrote() -> None:
    from tests.support.documents import small_ticket

    assert small_ticket().version == 1
    assert small_ticket().reference_bytes == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": 0}, "of 1 to 65,535 images, found 0"),
        ({"images": 999}, "counts of 999 images together"),
        ({"classes": ()}, "1 to 48 groups of classes"),
        ({"classes": (1001, -1)}, "the classes in its reference should have 2 counts"),
        ({"correct": (0,)}, "at most as many right images"),
        ({"correct": REFERENCE.quantities["margin"].counts}, "at most as many right images"),
        ({"quantities": dict(reversed(list(REFERENCE.quantities.items())))}, "should be some of probability, margin"),
        ({"quantities": {"margin": Bins((1.0, 1.0), (500, 0, 500))}, "correct": None}, "edges of margin"),
        ({"quantities": {"margin": Bins((float("nan"),), (500, 500))}, "correct": None}, "finite and ascend"),
        ({"quantities": {"margin": Bins((float("inf"),), (500, 500))}, "correct": None}, "finite and ascend"),
        ({"quantities": {"margin": Bins((0.0,), (1000,))}, "correct": None}, "should have 2 counts"),
    ],
)
def test_what_cannot_be_a_reference_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(TicketError, match=words):
        replace(REFERENCE, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (4, 10, "too short|none such"),
        (5, 9, "has the quantity 9 twice, or there is none such"),
        (3, 2, "says of right images what cannot be"),
        (8, 255, "finite and ascend"),
        (2, 9, "10|bytes|counts"),
    ],
)
def test_damaged_bytes_are_refused(place: int, value: int, words: str) -> None:
    content = bytearray(REFERENCE.to_bytes())
    content[place] = value
    with pytest.raises(TicketError, match=words):
        Reference.from_bytes(bytes(content))


def test_every_quantity_is_of_the_reference() -> None:
    assert list(REFERENCE.quantities) == list(QUANTITIES)
