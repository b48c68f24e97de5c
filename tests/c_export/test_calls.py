"""The tables of a file, and the calls that read them."""

import re

import pytest

from slt_compress.c_export.calls import Calls
from slt_compress.c_export.graph import read
from slt_compress.c_export.values import Weights
from slt_compress.onnx_export.left import left_of
from slt_compress.onnx_export.trace import trace
from slt_compress.ticket.record import NetworkRecord
from tests.support.images import preprocessing_of
from tests.support.neuron_tickets import make_neuron_ticket
from tests.support.tickets import make_ticket


def calls_of(name: str, layout: str) -> Calls:
    ticket = make_ticket(name, 0.1)
    graph = trace(ticket.restore(), NetworkRecord.of(ticket), 20)
    network = read(graph, {layer.name: layer.scale for layer in ticket.layers})
    return Calls(network, Weights(ticket), layout, preprocessing_of(ticket))


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


@pytest.mark.parametrize("layout", ["rice", "gap"])
def test_masks_that_keep_all_that_is_left_take_no_code(layout: str) -> None:
    ticket = make_neuron_ticket("lenet-5", 0.5, size=28)
    left = left_of(ticket.restore(), ticket)
    weights = Weights(ticket, left.kept)
    network = read(trace(left.module, NetworkRecord.of(ticket), 20, left.generated), weights.units)
    calls = Calls(network, weights, layout, preprocessing_of(ticket))
    assert sum(code.size for code in calls.codes) == len(network.layers) * (4 if layout == "rice" else 1)
    assert calls.left.bytes < 256
    channels = sum(step.sums[0] for step in network.layers)
    assert calls.table_bytes < 8 * channels + calls.left.bytes + 600
