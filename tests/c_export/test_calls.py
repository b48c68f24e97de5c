"""The tables of a file, and the calls that read them."""

import re

import numpy as np

from slt_compress.c_export.calls import Calls, number
from slt_compress.c_export.graph import read
from slt_compress.onnx_export.trace import trace
from slt_compress.ticket.record import NetworkRecord
from tests.support.images import preprocessing_of
from tests.support.tickets import make_ticket


def calls_of(name: str, layout: str) -> Calls:
    ticket = make_ticket(name, 0.1)
    graph = trace(ticket.restore(), NetworkRecord.of(ticket), 20)
    network = read(graph, {layer.name: layer.scale for layer in ticket.layers})
    return Calls(network, ticket, layout, preprocessing_of(ticket))


def test_numbers_are_exact_and_finite() -> None:
    for value in (1 / 3, 1e-40, -16777216.0):
        assert np.float32(number(value).removesuffix("f")) == np.float32(value)
    assert number(float("inf")) == "3.4028235e+38f"


def test_equal_rows_are_stored_once() -> None:
    calls = calls_of("resnet20", "rice")
    assert len(calls.tables["layer"]) == 20
    assert len(calls.tables["window"]) < 10
    assert len(calls.tables["grid"]) == 2


def test_a_file_has_only_the_functions_that_it_calls() -> None:
    text = "".join(calls_of("lenet-300-100", "rice").text())
    assert "slt_linear_pixels(" in text
    assert not re.search("convolution|slt_pool|slt_sum|slt_affine|slt_place", text)


def test_layouts_trade_bytes() -> None:
    rice, gap, signs = (calls_of("lenet-5", layout).table_bytes for layout in ("rice", "gap", "signs"))
    assert rice < gap < signs * 1.02
