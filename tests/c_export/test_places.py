"""Where a weight lies in its whole tensor follows from the table as the C functions read it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from slt_compress.c_export.places import Indices, Places

Shape = tuple[int, ...]


@st.composite
def cuts(draw: st.DrawFn) -> tuple[Shape, dict[int, Indices]]:
    """Draw a shape and what is left of its first two axes: anything, or blocks that stand and fall together."""
    block = draw(st.sampled_from([1, 2, 9]))
    shape = (draw(st.integers(1, 40)), block * draw(st.integers(1, 30)), *draw(st.sampled_from([(), (3, 3), (5,)])))
    kept = {}
    for axis in draw(st.sets(st.sampled_from([0, 1]))):
        length = block if axis else 1
        count = shape[axis] // length
        chosen = sorted(draw(st.sets(st.integers(0, count - 1), min_size=1)))
        kept[axis] = (np.array(chosen)[:, None] * length + np.arange(length)).ravel()
    return shape, kept


def read_back(places: Places, values: list[str], rows: int, columns: int) -> list[int]:
    """Return the index of every weight, by the steps of `slt_enter` and `slt_index`."""
    left_rows, left_columns, width, block = map(int, values)
    found = []
    for row in range(rows):
        base, first, left = places.entries[left_rows + row] * width, row * columns, left_columns
        for place in range(row * columns, (row + 1) * columns):
            while place - first >= block:
                left, first = left + 1, first + block
            found.append(base + places.entries[left] * block + place - first)
    return found


@given(st.lists(cuts(), min_size=1, max_size=4))
def test_every_weight_that_is_left_is_found(tensors: list[tuple[Shape, dict[int, Indices]]]) -> None:
    places = Places()
    values = [places.values(shape, kept) for shape, kept in tensors]
    for (shape, kept), row in zip(tensors, values, strict=True):
        indices = np.arange(np.prod(shape)).reshape(shape)
        for axis, left in kept.items():
            indices = indices.take(left, axis)
        found = read_back(places, row, len(indices), indices[0].size)
        assert found == indices.ravel().tolist()


def test_neurons_that_tensors_share_are_listed_once() -> None:
    places, channels = Places(), np.array([0, 3, 4, 200])
    places.values((256, 3, 3, 3), {0: channels})
    before = len(places.entries)
    flattened = (channels[:, None] * 49 + np.arange(49)).ravel()
    places.values((4, 256 * 49), {1: flattened})
    assert places.entries[before:] == [0, 1, 2, 3]
    assert places.bytes == len(places.entries)
    assert "uint8_t slt_left[]" in places.text()


def test_entries_take_as_many_bytes_as_the_largest_needs() -> None:
    places = Places()
    places.values((70_000, 4), {0: np.array([3, 300])})
    assert places.bytes == 2 * len(places.entries)
    places.values((70_000, 4), {0: np.array([69_999])})
    assert places.bytes == 4 * len(places.entries)
    assert "uint32_t slt_left[]" in places.text()
