"""Calls in whole numbers: where the outputs come from, and how much memory is left."""

import numpy as np
import torch
from torch import nn

from slt_compress.c_export import fixed, graph
from slt_compress.c_export.calls import Calls
from slt_compress.c_export.fixed_calls import FixedCalls
from slt_compress.c_export.network import prepared
from slt_compress.c_export.values import Weights
from slt_compress.onnx_export.trace import trace
from slt_compress.ticket.record import NetworkRecord
from tests.support.c_code import Everything, Sums, ticket_of


def both(module: nn.Module, shape: tuple[int, ...]) -> tuple[Calls, FixedCalls]:
    ticket = ticket_of(module, shape)
    restored = ticket.apply_to(module)
    network = graph.read(trace(restored, NetworkRecord.of(ticket), 20), {one.name: one.scale for one in ticket.layers})
    values = {one.name: restored.get_parameter(one.name).detach().sign() for one in ticket.layers}
    whole = prepared(network)
    grids = fixed.grids(whole, values, [torch.randn(8, *shape)])
    weights = Weights(ticket)
    return Calls(network, weights, "rice", None), FixedCalls(whole, weights, "rice", None, grids)


def test_sums_of_the_last_layer_become_the_outputs() -> None:
    _, calls = both(Everything(), Everything.shape)
    assert calls.lines[0].startswith("slt_prepare(input, ")
    assert calls.lines[-1].startswith("slt_linear_outputs(")
    text = "".join(calls.text())
    assert "slt_restore" not in text
    assert "slt_pool_sums" in text


def test_other_outputs_are_made_of_bytes() -> None:
    _, calls = both(Sums(), Sums.shape)
    assert calls.lines[-1].startswith("slt_restore(12, ")
    assert calls.lines[-1].endswith(", outputs);")


def test_values_take_a_quarter_of_the_memory() -> None:
    module = nn.Sequential(*(nn.Linear(40, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 2)))
    calls, fixed_calls = both(module, (40,))
    assert calls.places.size == 800
    assert fixed_calls.places.size == 200
    assert np.isclose(fixed_calls.table_bytes, calls.table_bytes, rtol=0.05)
