"""The weights of a layer, against ones computed one by one."""

import numpy as np
import pytest
from hypothesis import given, settings

from slt_compress import prng
from slt_compress.prng import SeedRecipe
from slt_compress.ticket.assembly import CoatParts, LayerParts
from slt_compress.ticket.ticket import Ticket
from slt_compress.ticket.weights import layer_weights
from tests.support.documents import OWN, SEED
from tests.support.structures import slow_mask, slow_weights, structures


@settings(max_examples=150, deadline=None)
@given(structures())
def test_weights_are_those_computed_one_by_one(structure: tuple[list[LayerParts], SeedRecipe]) -> None:
    layers, recipe = structure
    ticket = Ticket.from_bytes(Ticket.assemble(layers, OWN, origin=recipe).to_bytes())
    for parts in layers:
        found = ticket.weights(parts.name)
        assert found.shape == parts.shape
        assert found.dtype == np.float32
        mask = slow_mask(parts)
        assert not found[~mask].any()
        assert not np.signbit(found[~mask]).any()
        if parts.values is None:
            assert np.array_equal(found, slow_weights(parts, recipe))
        else:
            precision = {"fp32": 0, "fp16": 1e-3, "int8": 0.5 / 127 + 1e-6, "int4": 0.5 / 7 + 1e-6}[parts.type]
            largest = float(np.abs(parts.values * mask).max(initial=0))
            lost = (found - parts.values * mask).astype(np.float64)
            assert (lost**2).sum() <= mask.sum() * (precision * largest) ** 2  # a single weight may lose more


@pytest.mark.parametrize("size", [1, 3, 7, 8, 9, 70_001])
def test_the_table_of_signed_constants_gives_what_the_formula_does(size: int) -> None:
    mask = np.random.default_rng(size).random((1, size)) < 0.5
    parts = LayerParts("w", (1, size), [CoatParts(mask, scale=0.3)])
    layer = Ticket.assemble([parts], OWN, origin=SeedRecipe(SEED)).layers[0]
    found = layer_weights(layer, SeedRecipe(SEED))
    assert np.array_equal(found.ravel(), prng.signs(SEED, "w", size) * np.float32(0.3) * mask.ravel())
    assert not np.signbit(found[found == 0]).any()


def test_the_scales_of_coats_are_summed_in_single_precision_and_in_order() -> None:
    scales = [1.0, 2.0**-24, 2.0**-24]  # each addition is rounded away; from the small end, the sum would be larger
    parts = LayerParts("w", (1, 40), [CoatParts(scale=scale) for scale in scales])
    ticket = Ticket.assemble([parts], OWN, origin=SeedRecipe(SEED))
    assert set(np.abs(ticket.weights("w")).ravel()) == {1.0}
