"""Stored weights in a graph equal those that numpy reads from the ticket, and no node is left unfolded."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from slt_compress.errors import UnreachableError
from slt_compress.onnx_export.mask_functions import Mask
from slt_compress.onnx_export.stored_functions import StoredLayer, int8_numbers
from slt_compress.ticket.stored import WEIGHT_TYPES, StoredWeights
from tests.support.graphs import run_part

SIZES = {"fp32": 4, "fp16": 2, "int8": 1, "int4": 0.5}


def stored(shape: tuple[int, ...], density: float, kind: str) -> tuple[Mask, StoredWeights]:
    draw = np.random.default_rng(0)
    mask = draw.random(shape) < density
    return mask, StoredWeights.of(draw.standard_normal(shape, np.float32), mask, kind)


@pytest.mark.parametrize("kind", WEIGHT_TYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 11), (32, 2), (5, 3, 3, 3), (4099, 2)])
@pytest.mark.parametrize("density", [0.0, 0.1, 0.4, 0.97, 1.0])
def test_weights_of_every_type_size_and_density(
    tmp_path: Path, kind: str, shape: tuple[int, ...], density: float
) -> None:
    mask, weights = stored(shape, density, kind)
    found, left = run_part(StoredLayer.of(weights, mask, {}).part("w"), "w", shape, tmp_path)
    assert found.tobytes() == weights.weights(mask).tobytes()  # not even minus zero for zero
    assert left == []


@pytest.mark.parametrize("opset", [18, 19, 21, 23])
@pytest.mark.parametrize("density", [0.1, 0.5])
def test_every_opset_gives_the_same_weights(tmp_path: Path, opset: int, density: float) -> None:
    for kind in WEIGHT_TYPES:
        mask, weights = stored((7, 111), density, kind)
        found, left = run_part(StoredLayer.of(weights, mask, {}).part("w"), "w", (7, 111), tmp_path, opset)
        assert np.array_equal(found, weights.weights(mask))
        assert left == []


@pytest.mark.parametrize("kind", WEIGHT_TYPES)
def test_what_is_left_of_a_layer(tmp_path: Path, kind: str) -> None:
    mask, weights = stored((8, 6, 3), 0.3, kind)
    kept = {0: np.array([1, 2, 7]), 1: np.array([0, 3, 4, 5])}
    layer = StoredLayer.of(weights, mask, kept)
    assert layer.numbers.size == np.count_nonzero(mask[kept[0]][:, kept[1]]) < np.count_nonzero(mask)
    found, _ = run_part(layer.part("w"), "w", (3, 4, 3), tmp_path)
    assert np.array_equal(found, weights.weights(mask)[kept[0]][:, kept[1]])


@pytest.mark.parametrize("kind", WEIGHT_TYPES)
def test_numbers_take_the_bytes_of_their_type(kind: str) -> None:
    for density, function in ((0.1, "Sparse"), (0.5, "Raw"), (0.9, "Rice"), (1.0, "Whole")):
        mask, weights = stored((10, 1000), density, kind)
        (node,), constants = StoredLayer.of(weights, mask, {}).part("w")
        assert node.op_type.startswith(function)
        numbers = next(tensor for tensor in constants if tensor.name == "w/numbers")
        kept = int(np.count_nonzero(mask))
        led = kept + (density < 1)  # by a zero
        assert len(numbers.raw_data) == -(-int(2 * SIZES[kind] * led) // 2)
        assert len(constants) == (density < 1) + 1 + (kind in ("int8", "int4"))


@pytest.mark.parametrize("density", [0.1, 0.6])
def test_whole_numbers_stay_whole(tmp_path: Path, density: float) -> None:
    draw = np.random.default_rng(0)
    values = np.where(draw.random((9, 50)) < density, draw.integers(-64, 65, (9, 50)), 0).astype(np.int8)
    found, left = run_part(int8_numbers("q", values), "q", (9, 50), tmp_path, kind=TensorProto.INT8)
    assert np.array_equal(found, values)
    assert left == []


def test_a_tensor_too_large_to_decode_is_refused() -> None:
    layer = StoredLayer("fp32", np.broadcast_to(np.zeros(1, np.bool_), (2**29 + 1,)), np.zeros(0, np.float32))
    with pytest.raises(UnreachableError, match=r"w has 536,870,913 weights.*at most 536,870,912; use `weights=dense`"):
        layer.part("w")
