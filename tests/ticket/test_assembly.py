"""Tickets from parts: every structure comes back as it was, in few bytes, and what does not fit is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from slt_compress.errors import TicketError, UnreachableError
from slt_compress.masking.codecs import shannon_bound
from slt_compress.prng import Freeze, SeedRecipe
from slt_compress.ticket.assembly import AxisGates, CoatParts, LayerParts, neuron_layer, weight_layer
from slt_compress.ticket.stored import StoredTensor
from slt_compress.ticket.ticket import Ticket
from tests.support.documents import OWN, SEED
from tests.support.structures import coded_gates, slow_mask, structures

GATES = np.array([True, False, True])


def assembled(*layers: LayerParts, **changes: Any) -> Ticket:
    return Ticket.assemble(layers, **{"provenance": OWN, "origin": SeedRecipe(SEED), **changes})


@settings(max_examples=150, deadline=None)
@given(structures())
def test_any_structure_comes_back(structure: tuple[list[LayerParts], SeedRecipe]) -> None:
    layers, recipe = structure
    ticket = assembled(*layers, origin=recipe)
    loaded = Ticket.from_bytes(ticket.to_bytes())
    assert loaded.to_bytes() == ticket.to_bytes()
    loaded.check()
    for parts, layer in zip(layers, loaded.layers, strict=True):
        mask = slow_mask(parts)
        assert np.array_equal(loaded.mask(parts.name), mask)
        assert layer.kept == mask.sum()
        uses = [[use for use in coat.uses if use.axis is None] for coat in layer.coats]
        assert [found[0].mask.gates for found in uses if found] == coded_gates(parts, recipe)
        assert (layer.values is None) == (parts.values is None)


def test_the_same_array_of_gates_is_stored_once() -> None:
    other = GATES.copy()
    layers = [
        LayerParts("a", (3, 4), [CoatParts(slices=[AxisGates(GATES)])]),
        LayerParts("b", (5, 6), [CoatParts(slices=[AxisGates(GATES, 1, 2)])]),
        LayerParts("c", (3, 3), [CoatParts(slices=[AxisGates(GATES), AxisGates(GATES, 1)])]),
        LayerParts("d", (3, 2), [CoatParts(slices=[AxisGates(other)])]),
    ]
    ticket = assembled(*layers)
    assert [len(layer.masks) for layer in ticket.layers] == [1, 1, 1, 1]
    assert len(ticket.masks) == 2
    assert ticket.mask_bytes == 2
    loaded = Ticket.from_bytes(ticket.to_bytes())
    assert len(loaded.masks) == 2
    assert loaded.mask("c").tolist() == [[True, False, True], [False] * 3, [True, False, True]]
    assert loaded.mask("b")[0].tolist() == [True, True, False, False, True, True]


def test_weights_in_closed_slices_cost_no_bits() -> None:
    gates = np.zeros(100, bool)
    gates[:10] = True
    mask = np.random.default_rng(0).random((100, 80)) < 0.5
    layer = LayerParts("a", (100, 80), [CoatParts(mask, [AxisGates(gates)])])
    ticket = assembled(layer, codec="raw")
    assert ticket.mask_bytes == 13 + 100
    assert np.array_equal(Ticket.from_bytes(ticket.to_bytes()).mask("a"), mask & gates[:, None])


@pytest.mark.parametrize("density", [0.02, 0.1, 0.3, 0.5])
def test_masks_take_hardly_more_than_the_bound_of_their_gates(density: float) -> None:
    """Two coats, channels shared by two layers: the bound is of the gates that have to be told."""
    draw = np.random.default_rng(0)
    channels = draw.random(256) < 0.5
    layers = [
        LayerParts(
            name,
            (256, 300),
            [
                CoatParts(draw.random((256, 300)) < density, [AxisGates(channels)], 0.5),
                CoatParts(draw.random((256, 300)) < density, scale=0.25),
            ],
        )
        for name in ("a", "b")
    ]
    ticket = assembled(*layers)
    coats = [coat for layer in layers for coat in layer.coats]
    coded = [channels, *(coat.mask[channels] if coat.slices else coat.mask for coat in coats if coat.mask is not None)]
    bound = sum(shannon_bound(mask.size, int(mask.sum())) for mask in coded)
    assert ticket.mask_bound_bytes == bound
    assert bound <= ticket.mask_bytes <= 1.03 * bound
    assert len(ticket.to_bytes()) < ticket.mask_bytes + 2048


def test_stored_weights_take_their_own_bytes_only() -> None:
    mask = np.random.default_rng(0).random((64, 100)) < 0.25
    values = np.ones((64, 100), np.float32)
    for kind, expected in (("fp32", 4.0), ("fp16", 2.0), ("int8", 1.0), ("int4", 0.5)):
        ticket = assembled(LayerParts("a", (64, 100), [CoatParts(mask)], values, kind))
        scales = 4 * 64 if kind.startswith("int") else 0
        assert ticket.values_bytes == scales + np.ceil(expected * mask.sum())
    assert ticket.weights_digest == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # of nothing


def test_statistics_and_parameters_take_the_type_they_are_given() -> None:
    values = np.linspace(-1, 1, 100, dtype=np.float32).reshape(4, 25)
    statistics = {"fp32": values} | {kind: StoredTensor.of(values, kind) for kind in ("fp16", "uint8")}
    parameters = {"p.fp32": values, "p.fp16": StoredTensor.of(values, "fp16")}
    ticket = assembled(LayerParts("a", (3, 3), [CoatParts()]), statistics=statistics, parameters=parameters)
    assert (ticket.statistics_bytes, ticket.parameters_bytes) == (400 + 200 + 108, 600)
    loaded = Ticket.from_bytes(ticket.to_bytes())
    assert {name: stored.type for name, stored in loaded.stored_statistics.items()} == {
        kind: kind for kind in statistics
    }
    assert np.array_equal(loaded.parameters["p.fp32"].values(), values)
    assert np.abs(loaded.statistics["uint8"] - values).max() <= 1 / 255


@pytest.mark.parametrize(
    ("coat", "words"),
    [
        (CoatParts(np.ones((3, 2), bool)), r"the mask of a has the shape \(3, 2\), not \(3, 3\)"),
        (CoatParts(slices=[AxisGates(GATES, 2)]), "3 gates, each for 1, do not fit axis 2 of a"),
        (CoatParts(slices=[AxisGates(GATES, -1)]), "do not fit axis -1 of a"),
        (CoatParts(slices=[AxisGates(GATES, 0, 2)]), "3 gates, each for 2, do not fit axis 0 of a"),
    ],
)
def test_gates_must_fit_their_layer(coat: CoatParts, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        assembled(LayerParts("a", (3, 3), [coat]))


def test_masks_must_agree_with_the_seed_but_in_closed_slices() -> None:
    origin = SeedRecipe(SEED, freeze=Freeze(1.0, 1.0))  # all gates are locked
    open_mask, closed = np.ones((3, 3), bool), np.zeros((3, 3), bool)
    with pytest.raises(ValueError, match="the mask of a contradicts the gates that the seed fixes"):
        assembled(LayerParts("a", (3, 3), [CoatParts(closed)]), origin=origin)
    none_open = AxisGates(np.zeros(3, bool))
    both = LayerParts("a", (3, 3), [CoatParts(open_mask), CoatParts(closed)])
    assert assembled(both, LayerParts("b", (3, 3), [CoatParts(closed, [none_open])]), origin=origin).kept == 9


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (LayerParts("a", (3, 3), []), "1 to 16 coats"),
        (LayerParts("a", (3, 3), [CoatParts()] * 17), "1 to 16 coats"),
        (LayerParts("a", (3, 3), [CoatParts(scale=-1.0)]), "impossible scale"),
        (LayerParts("a", (9,), [CoatParts()]), "impossible shape"),
        (LayerParts("a b", (3, 3), [CoatParts()]), "impossible name"),
        (LayerParts("a", (3, 3), [CoatParts(slices=[AxisGates(GATES)] * 2)]), "uses a mask twice for the same"),
        (LayerParts("a", (3, 3), [CoatParts(scale=2.0)], np.ones((3, 3), np.float32)), "one coat of scale 1.0"),
        (
            LayerParts("a", (3, 3), [CoatParts(np.ones((3, 3), bool), [AxisGates(g.copy()) for g in [GATES] * 4])]),
            "at most 4 uses",
        ),
    ],
)
def test_what_a_reader_would_refuse_is_not_made(layer: LayerParts, words: str) -> None:
    with pytest.raises(TicketError, match=words):
        assembled(layer)


def test_what_a_type_cannot_hold_is_not_made() -> None:
    with pytest.raises(UnreachableError, match="does not fit into fp16"):
        assembled(LayerParts("a", (1, 1), [CoatParts()], np.full((1, 1), 1e6, np.float32), "fp16"))
    layer = LayerParts("a", (1, 1), [CoatParts()])
    with pytest.raises(TicketError, match="parameter p should be fp32 or fp16, found 'uint8'"):
        assembled(layer, parameters={"p": StoredTensor.of([1.0], "uint8")})
    with pytest.raises(TicketError, match="occurs twice"):
        assembled(layer, parameters={"a": np.ones(1, np.float32)})
    with pytest.raises(TicketError, match="the constant c should be a float32"):
        assembled(layer, constants={"c": 1e39})


def test_a_neuron_is_kept_or_dropped_as_a_whole() -> None:
    mask = np.repeat(GATES, 4).reshape(3, 2, 2)
    layer = neuron_layer("a", mask, 0.5, SeedRecipe(), "raw")
    assert (layer.kept, layer.masks[0].gates, layer.coats[0].uses[0].axis) == (8, 3, 0)
    with pytest.raises(ValueError, match="the mask of b keeps a part of a neuron"):
        neuron_layer("b", np.eye(3, dtype=bool), 0.5, SeedRecipe(), "raw")
    assert weight_layer("a", mask, 0.5, SeedRecipe(), "raw").masks[0].gates == 12
