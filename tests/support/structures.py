"""Random structures of layers, and what they keep and weigh, computed weight by weight: slow, but plain to see.

And random values beside them.
"""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from slt_compress import prng
from slt_compress.prng import SeedRecipe
from slt_compress.ticket.assembly import AxisGates, CoatParts, LayerParts
from slt_compress.ticket.stored import BUFFER_TYPES, PARAMETER_TYPES, StoredTensor

Mask = Any


@st.composite
def structures(draw: st.DrawFn) -> tuple[list[LayerParts], SeedRecipe]:
    """Draw layers with coats, shared gates of slices and stored values, and the recipe that their masks agree with."""
    shares = sorted(draw(st.tuples(*[st.sampled_from([0.0, 0.0, 0.3, 0.7, 1.0])] * 2)))
    recipe = SeedRecipe(
        draw(st.integers(0, 2**64 - 1)),
        draw(st.sampled_from(list(prng.INITIALISERS))),
        prng.Freeze(shares[1], shares[0]),
    )
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    groups = [random.random(draw(st.integers(1, 5))) < draw(st.sampled_from([0.2, 0.7, 1.0])) for _ in range(3)]
    return [_layer(draw, f"layer{index}", recipe, random, groups) for index in range(draw(st.integers(1, 4)))], recipe


@st.composite
def stored_values(draw: st.DrawFn) -> dict[str, Any]:
    """Draw statistics, parameters and constants, as arguments of `Ticket.assemble`."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    odd = st.sampled_from([-0.0, 1e-45, float("inf"), -65504.0, 3e38])

    def tensors(kind: str, types: tuple[str, ...]) -> dict[str, StoredTensor]:
        found = {}
        for index in range(draw(st.integers(0, 3))):
            array = np.abs(random.standard_normal(draw(st.lists(st.integers(0, 3), max_size=4)))).astype(np.float32)
            type_ = draw(st.sampled_from(types))
            if type_ == "fp32" and array.size:
                array.flat[0] = draw(odd)
            found[f"{kind}.{index}"] = StoredTensor.of(array, type_)
        return found

    constants = st.dictionaries(st.sampled_from("xyz"), st.floats(allow_nan=False, allow_infinity=False, width=32))
    return {
        "statistics": tensors("buffer", BUFFER_TYPES),
        "parameters": tensors("parameter", PARAMETER_TYPES),
        "constants": draw(constants),
    }


def _layer(
    draw: st.DrawFn, name: str, recipe: SeedRecipe, random: np.random.Generator, groups: list[Mask]
) -> LayerParts:
    shape, axes = [], []
    for axis in range(draw(st.integers(2, 4))):
        gates, repeat = draw(st.sampled_from(groups)), draw(st.integers(1, 3))
        shape.append(gates.size * repeat)
        axes.append(AxisGates(gates, axis, repeat))
    stores = draw(st.booleans())
    coats = []
    for index in range(1 if stores else draw(st.integers(1, 3))):
        mask = None
        if draw(st.booleans()):
            mask = random.random(shape) < draw(st.sampled_from([0.05, 0.5, 0.95]))
            if index == 0 and recipe.freeze.ratio:
                locked, pruned = prng.fixed_gates(recipe.seed, name, mask.size, recipe.freeze)
                mask = (mask | locked.reshape(shape)) & ~pruned.reshape(shape)
        slices = [one for one in axes if draw(st.booleans())][: 3 if mask is not None else 4]
        coats.append(CoatParts(mask, slices, 1.0 if stores else draw(st.sampled_from([1.0, 0.1, 0.333, 7.5]))))
    values = random.standard_normal(shape).astype(np.float32) if stores else None
    return LayerParts(name, tuple(shape), coats, values, draw(st.sampled_from(["fp32", "fp16", "int8", "int4"])))


def kept_by(coat: CoatParts, index: tuple[int, ...]) -> bool:
    """Return whether a coat keeps the weight at an index."""
    in_slices = all(one.open[index[one.axis] // one.repeat] for one in coat.slices)
    return in_slices and (coat.mask is None or bool(coat.mask[index]))


def slow_mask(layer: LayerParts) -> Mask:
    """Return which weights a layer keeps."""
    mask = np.zeros(layer.shape, np.bool_)
    for index in np.ndindex(layer.shape):
        mask[index] = any(kept_by(coat, index) for coat in layer.coats)
    return mask


def slow_weights(layer: LayerParts, recipe: SeedRecipe) -> Any:
    """Return the weights of a layer without stored values, float32."""
    elements = prng.INITIALISERS[recipe.initialiser](recipe.seed, layer.name, int(np.prod(layer.shape)))
    weights = np.zeros(layer.shape, np.float32)
    for place, index in enumerate(np.ndindex(layer.shape)):
        scale = np.float32(0)
        for coat in layer.coats:
            if kept_by(coat, index):
                scale = scale + np.float32(coat.scale)
        if scale:
            weights[index] = elements[place] * scale
    return weights


def coded_gates(layer: LayerParts, recipe: SeedRecipe) -> list[int]:
    """Return how many gates the masks of single weights code, coat by coat."""
    counts = []
    for number, coat in enumerate(layer.coats):
        if coat.mask is None:
            continue
        searched: Mask = np.ones(coat.mask.shape, np.bool_)
        if number == 0 and recipe.freeze.ratio:
            locked, pruned = prng.fixed_gates(recipe.seed, layer.name, searched.size, recipe.freeze)
            searched = ~(locked | pruned).reshape(layer.shape)
        in_slices = CoatParts(None, coat.slices)
        counts.append(sum(bool(searched[index]) and kept_by(in_slices, index) for index in np.ndindex(layer.shape)))
    return counts
