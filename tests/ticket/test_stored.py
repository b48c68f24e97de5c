"""Stored numbers: what comes back is what was rounded, by the formulas of the page, and nothing else is read."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from slt_compress.errors import TicketError, UnreachableError
from slt_compress.ticket.stored import BUFFER_TYPES, WEIGHT_TYPES, StoredTensor, StoredWeights, stored_bytes

small_shapes = array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
moderate = st.floats(-1000, 1000, width=32)


@pytest.mark.parametrize("kind", BUFFER_TYPES)
@settings(deadline=None)
@given(values=arrays(np.float32, small_shapes, elements=moderate))
def test_a_tensor_comes_back_within_half_a_step(kind: str, values: np.ndarray) -> None:
    values = np.abs(values) if kind == "uint8-squared" else values
    stored = StoredTensor.of(values, kind)
    assert len(stored.data) == stored_bytes(kind, values.size)
    found = stored.values()
    assert found.shape == values.shape
    assert found.dtype == np.float32
    if kind == "fp32":
        assert np.array_equal(found, values)
    elif kind == "fp16":
        assert np.array_equal(found, values.astype(np.float16).astype(np.float32))
    elif values.size:
        exact, back = (np.sqrt(x.astype(np.float64)) if kind == "uint8-squared" else x for x in (values, found))
        step = (float(exact.max()) - float(exact.min())) / 255
        assert np.abs(back - exact).max() <= 0.5 * step + 1e-6 * np.abs(exact).max()
    assert np.array_equal(StoredTensor(kind, values.shape, stored.data).values(), found)


def test_uint8_is_computed_in_double_precision_and_rounded_once() -> None:
    low, high = np.float32(-0.1), np.float32(3.3)
    data = struct.pack("<ff", low, high) + bytes(range(256))
    for kind in ("uint8", "uint8-squared"):
        if kind == "uint8-squared":
            data = struct.pack("<ff", 0.1, high) + bytes(range(256))
        ends = struct.unpack_from("<ff", data)
        expected = [ends[0] + (ends[1] - ends[0]) * q / 255 for q in range(256)]
        expected = [x * x for x in expected] if kind == "uint8-squared" else expected
        assert StoredTensor(kind, (256,), data).values().tolist() == np.array(expected).astype(np.float32).tolist()


def test_the_ends_of_a_range_are_exact() -> None:
    for values in ([3.0, 3.0], [-1.0], [0.1, 0.7, 0.2]):
        found = StoredTensor.of(values, "uint8").values()
        assert {found.min(), found.max()} == {np.float32(min(values)), np.float32(max(values))}


def test_infinite_values_are_stored_as_floats_only() -> None:
    """A causal mask is such a buffer."""
    values = np.array([0, -np.inf, np.inf], np.float32)
    for kind in ("fp32", "fp16"):
        assert np.array_equal(StoredTensor.of(values, kind).values(), values)
    for kind in ("uint8", "uint8-squared"):
        with pytest.raises(UnreachableError, match=f"do not fit into {kind}; use fp32"):
            StoredTensor.of(values, kind)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UnreachableError, match=r"a value of 7e\+04 does not fit into fp16; use fp32"):
        StoredTensor.of([7e4, np.inf], "fp16")
    with pytest.raises(UnreachableError, match="negative variances"):
        StoredTensor.of([-1], "uint8-squared")
    with pytest.raises(TicketError, match="not a number"):
        StoredTensor.of([np.nan])
    with pytest.raises(ValueError, match="not as 'int8'"):
        StoredTensor.of([1], "int8")
    with pytest.raises(ValueError, match="not as 'uint8'"):
        StoredWeights.of([[1]], np.ones((1, 1), bool), "uint8")


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("fp32", struct.pack("<f", np.nan)),
        ("fp32", b"\1\0\x80\x7f"),  # a signalling NaN
        ("fp16", b"\1\x7c"),
        ("fp16", struct.pack("<e", np.nan)),
        ("fp32", b"\0\0\0"),
        ("uint8", struct.pack("<ffB", 1, 0, 0)),
        ("uint8", struct.pack("<ffB", 0, np.inf, 0)),
        ("uint8", struct.pack("<ffB", np.nan, 0, 0)),
        ("uint8", struct.pack("<ff", 0, 1)),
        ("uint8-squared", struct.pack("<ffB", -1, 1, 0)),
        ("uint8-squared", struct.pack("<ffB", 0, 2e19, 0)),
    ],
)
def test_bytes_that_no_values_have_are_refused(kind: str, data: bytes) -> None:
    with pytest.raises(TicketError):
        StoredTensor(kind, (1,), data).values()


@pytest.mark.parametrize("kind", WEIGHT_TYPES)
@settings(deadline=None)
@given(data=st.data())
def test_weights_come_back_as_good_as_by_the_plain_scale_of_their_row(kind: str, data: st.DataObject) -> None:
    shape = data.draw(array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=4))
    values = data.draw(arrays(np.float32, shape, elements=moderate))
    mask = data.draw(arrays(np.bool_, shape))
    found = StoredWeights.of(values, mask, kind).weights(mask)
    assert found.shape == shape
    assert found.dtype == np.float32
    assert not found[~mask].any()
    assert not np.signbit(found[found == 0]).any()
    rows, back = (np.where(mask, x, 0).reshape(len(x), -1).astype(np.float64) for x in (values, found))
    if kind in ("fp32", "fp16"):
        assert np.array_equal(back, rows.astype(np.float16 if kind == "fp16" else np.float32))
    else:
        step = np.abs(rows).max(1, keepdims=True) / {"int8": 127, "int4": 7}[kind]
        step[step < 1e-37] = 1
        plain = step * np.rint(rows / step)
        lost, lost_plain = (((x - rows) ** 2).sum(1) for x in (back, plain))
        rounding = np.abs(rows).max(1) ** 2 * rows.shape[1] * 1e-12
        assert (lost <= lost_plain * (1 + 1e-5) + rounding).all()
        numbers, scales = StoredWeights.of(values, mask, kind).numbers(mask)
        assert scales is not None
        assert np.array_equal(found[mask], numbers * scales[np.nonzero(mask.reshape(rows.shape))[0]])


def test_int4_takes_half_a_byte_a_weight_and_a_scale_a_row() -> None:
    mask = np.ones((2, 3), bool)
    mask[1, 2] = False
    stored = StoredWeights.of(np.array([[7, -7, 2], [0, 0, 100]]), mask, "int4")
    assert stored.data == struct.pack("<ff", 1, 1) + bytes([0x97, 0x02, 0x00])
    assert stored.weights(mask).tolist() == [[7, -7, 2], [0, 0, 0]]


def test_rows_of_tiny_numbers_become_zero() -> None:
    stored = StoredWeights.of(np.array([[1e-40, 0], [1, 2]]), np.ones((2, 2), bool), "int8")
    assert stored.weights(np.ones((2, 2), bool))[0].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("fp32", struct.pack("<ff", 1, np.inf)),
        ("fp32", struct.pack("<ff", 1, np.nan)),
        ("fp32", struct.pack("<ff", 1, -0.0)),
        ("fp32", struct.pack("<f", 1)),
        ("fp16", struct.pack("<ee", 1, -0.0)),
        ("fp16", b"\1\x7c\0\0"),
        ("int8", struct.pack("<fbb", 1, -128, 0)),
        ("int8", struct.pack("<fbb", 0, 1, 0)),
        ("int8", struct.pack("<fbb", -1, 1, 0)),
        ("int8", struct.pack("<fbb", np.inf, 0, 0)),
        ("int8", struct.pack("<fbb", np.nan, 0, 0)),
        ("int8", struct.pack("<fbb", 3e38, 2, 0)),
        ("int8", struct.pack("<fbbb", 1, 1, 1, 1)),
        ("int4", struct.pack("<fB", 1, 0x08)),
        ("int4", struct.pack("<fB", 1, 0x80)),
    ],
)
def test_weights_that_nobody_stores_are_refused(kind: str, data: bytes) -> None:
    mask = np.ones((1, 2), bool)
    with pytest.raises(TicketError):
        StoredWeights(kind, data).weights(mask)


def test_bits_past_the_last_int4_are_refused() -> None:
    mask = np.array([[True, False]])
    assert StoredWeights("int4", struct.pack("<fB", 1, 0x03)).weights(mask).tolist() == [[3, 0]]
    with pytest.raises(TicketError, match="bits set past their end"):
        StoredWeights("int4", struct.pack("<fB", 1, 0x13)).weights(mask)
    with pytest.raises(TicketError, match="must be finite"):
        StoredWeights.of([[np.inf, 0]], mask, "fp32")
