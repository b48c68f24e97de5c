"""Checks of single fields, which say what was found."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slt_compress.errors import TicketError
from slt_compress.prng import Freeze
from slt_compress.ticket import fields


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float32_is_read_from_its_decimal_of_nine_digits(value: float) -> None:
    written = fields.float32_json(value)
    assert fields.read_float32(written, "x") == value
    assert float(f"{written:.9g}") == written


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e39, -1e39, float("inf"), float("nan"), 1, True, "1", None])
def test_other_numbers_are_refused(value: Any) -> None:
    with pytest.raises(TicketError, match="x should be"):
        fields.read_float32(value, "x")
    assert fields.read_float32(0.100000001, "x") == np.float32(0.1)


def test_the_largest_float32_is_one() -> None:
    largest = float(np.finfo(np.float32).max)
    assert fields.rounded_json(largest) == 3.40282347e38
    assert fields.read_float32(3.40282347e38, "x") == largest
    for beyond in (3.4028235e38, 2.0**128):
        with pytest.raises(TicketError, match="x should be"):
            fields.read_float32(beyond, "x")


def test_a_number_is_rounded_before_it_is_written() -> None:
    assert fields.rounded_json(0.1) == 0.100000001
    assert fields.rounded_json(-1e-45) == -1.40129846e-45
    assert fields.rounded_json(1e39) == 1e39


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth > 1 else {}


def test_values_of_a_document_are_bounded() -> None:
    long = "x" * 1000
    right: list[Any] = [-(2**63), 2**64 - 1, long, "\U0001f600" * 1000, True, None, 1e300, nested(32), {long: []}]
    for value in right:
        fields.check_values(value)
    wrong: list[tuple[Any, str]] = [
        (-(2**63) - 1, "a whole number should be from"),
        (2**64, "a whole number should be from"),
        ("x" * 1001, "a text should be at most 1000"),
        ("\ud83d", "a text should be"),
        ({"\ud83d": 1}, "a text should be"),
        ({"x" * 1001: 1}, "a text should be"),
        (nested(33), "nested more than 32 deep"),
    ]
    for value, words in wrong:
        with pytest.raises(TicketError, match=words):
            fields.check_values({"a": value} if not isinstance(value, list) else value)


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-30, 1e30, 1, None, float("nan")])
def test_impossible_scales_are_refused(value: Any) -> None:
    with pytest.raises(TicketError, match="w has an impossible scale"):
        fields.check_scale(value, "w")


def test_names_are_visible_ascii() -> None:
    for name in ("a", "~!", "x" * 256, 'a"b\\', "a-b/c.d"):
        assert fields.read_name(name, "a layer") == name
    for wrong in ("", "x" * 257, "a b", "ä", "a\n", "\x7f", 3, None, ["a"]):
        with pytest.raises(TicketError, match="a layer has an impossible name"):
            fields.read_name(wrong, "a layer")


def test_a_field_may_have_several_types() -> None:
    kinds: dict[str, fields.Types] = {"a": (dict, type(None)), "b": int}
    fields.check_fields("it", {"a": None, "b": 1}, kinds)
    fields.check_fields("it", {"a": {}, "b": 1}, kinds)
    with pytest.raises(TicketError, match=r"it should have a dict or NoneType as 'a', found \[\]"):
        fields.check_fields("it", {"a": [], "b": 1}, kinds)
    with pytest.raises(TicketError, match="it should have a int as 'b', found True"):
        fields.check_fields("it", {"a": None, "b": True}, kinds)
    for found in ({"a": None}, {"a": None, "b": 1, "c": 2}):
        with pytest.raises(TicketError, match=r"it lacks or should not have '[bc]'"):
            fields.check_fields("it", found, kinds)


def test_freeze_is_two_shares() -> None:
    assert fields.read_freeze([0.5, 0.25]) == Freeze(0.5, 0.25)
    for pair in ([], [0.5], [0.5, 0.25, 0.0], [0.25, 0.5], [1, 0], [1.5, 0.0], [0.5, -0.1], [True, 0.0]):
        with pytest.raises(TicketError, match="its freeze should be"):
            fields.read_freeze(list(pair))


def test_a_bool_is_no_whole_number() -> None:
    assert fields.whole(0, 0, 5)
    assert fields.whole(5, 0, 5)
    assert not any(fields.whole(value, 0, 5) for value in (6, -1, True, 1.0, "1", None))
