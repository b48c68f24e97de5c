"""Classes of labels: joined, fixed, and known by their smallest member."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from slt_compress.structure.labels import FIXED, NONE, Labels


def test_fresh_labels_are_classes_of_their_own() -> None:
    labels = Labels()
    first, second = labels.new(3), labels.new(2)
    assert torch.equal(labels.of(torch.cat([first, second])), torch.arange(2, 7))
    assert labels.count == 7


@given(st.lists(st.tuples(st.integers(1, 11), st.integers(1, 11)), max_size=15))
def test_classes_are_those_of_a_slow_reference(pairs: list[tuple[int, int]]) -> None:
    labels = Labels()
    labels.new(10)
    classes = [{label} for label in range(12)]
    for one, other in pairs:
        found = labels.join(torch.tensor([one]), torch.tensor([other]))
        both = classes[one] | classes[other]
        for label in both:
            classes[label] = both
        assert int(found) == min(both)
    assert labels.of(torch.arange(12)).tolist() == [min(one) for one in classes]


def test_what_broadcasts_is_joined_and_constants_join_nothing() -> None:
    labels = Labels()
    rows, columns = labels.new(2)[:, None], labels.new(3)
    found = labels.join(rows, torch.tensor([NONE, int(columns[1]), NONE]))
    assert found.shape == (2, 3)
    assert len(set(labels.of(rows).flatten().tolist())) == 1  # through the column that both meet
    assert len(set(labels.of(columns).tolist())) == 3
    assert labels.join(torch.tensor(NONE), torch.tensor(NONE)) == NONE


def test_labels_are_joined_along_dimensions() -> None:
    labels = Labels()
    table = labels.new(12).view(3, 4)
    found = labels.join_along(table, (0,))
    assert found.shape == (1, 4)
    assert torch.equal(labels.of(table), found.expand(3, 4))
    assert len(set(found.flatten().tolist())) == 4
    table[0, 0] = NONE
    assert torch.equal(labels.join_along(table, ()), labels.of(table))


def test_what_is_fixed_stays_so_with_all_that_joins_it() -> None:
    labels = Labels()
    some = labels.new(4)
    labels.fix(torch.tensor([NONE, int(some[0])]))
    labels.join(some[0], some[1])
    assert labels.of(some).tolist() == [FIXED, FIXED, int(some[2]), int(some[3])]
    assert int(labels.of(torch.tensor(NONE))) == NONE


def test_long_chains_become_one_class() -> None:
    labels = Labels()
    some = labels.new(500)
    for place in np.random.default_rng(0).permutation(499):
        labels.join(some[place], some[place + 1])
    assert (labels.of(some) == 2).all()
