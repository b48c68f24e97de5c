"""What a ticket's weights are for C code: one type or none, and what their numbers are multiplied with."""

import numpy as np
import pytest

from slt_compress.c_export.values import Weights, stored_type
from slt_compress.errors import UnreachableError
from slt_compress.ticket.sample import with_values
from slt_compress.ticket.ticket import Ticket
from tests.support.tickets import make_ticket


def test_generated_weights_have_one_scale_a_layer(ticket: Ticket) -> None:
    assert stored_type(ticket) is None
    assert Weights(ticket).units == {layer.name: layer.scale for layer in ticket.layers}


@pytest.mark.parametrize("kind", ["fp32", "fp16", "int8", "int4"])
def test_stored_weights_are_numbers_times_units(ticket: Ticket, kind: str) -> None:
    stored = with_values(ticket, kind)
    assert stored_type(stored) == kind
    for layer in stored.layers:
        assert layer.values
        mask = stored.mask(layer.name)
        numbers = np.zeros(mask.shape, np.float32)
        numbers[mask] = layer.values.numbers(mask)[0]
        unit = np.broadcast_to(Weights(stored).units[layer.name], len(mask))
        assert np.array_equal(numbers * unit[:, None], stored.weights(layer.name))


@pytest.mark.parametrize("kind", [None, "fp16", "int4"])
def test_of_cut_tensors_all_is_cut_alike(kind: str | None) -> None:
    ticket = make_ticket("lenet-5", 0.4, size=28)
    stored = with_values(ticket, kind) if kind else ticket
    name = next(layer.name for layer in ticket.layers if len(layer.shape) == 4 and layer.shape[1] > 4)
    kept = {0: np.array([0, 2, 5]), 1: np.array([1, 4])}
    weights = Weights(stored, {name: kept})
    expected = stored.weights(name)[kept[0]][:, kept[1]]
    assert weights.shape(name) == stored.weights(name).shape
    assert np.array_equal(weights.values(name), expected)
    mask = weights.mask(name)
    assert np.array_equal(mask, stored.mask(name)[kept[0]][:, kept[1]])
    numbers = np.zeros(mask.shape, np.float32)
    numbers[mask] = weights.numbers(name) if kind else np.where(weights.negative(name), -1, 1)[mask]
    unit = np.broadcast_to(weights.units[name], len(mask))
    assert np.array_equal(numbers * unit[:, None, None, None], expected)


def test_a_mixture_is_refused_by_name(ticket: Ticket) -> None:
    first, second, *_ = (layer.name for layer in ticket.layers)
    part = with_values(ticket, "int8", {second})
    with pytest.raises(UnreachableError) as refusal:
        stored_type(part, "html")
    assert str(refusal.value) == (
        "`format=html` is for weights that are all generated or all stored as one type, those of "
        f"{first} are int8, of {second} generated; use `format=onnx`"
    )
