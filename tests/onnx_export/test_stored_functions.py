"""Stored weights in a graph equal those that numpy reads from the ticket, and no node is left unfolded."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from slt_compress.errors import UnreachableError
from slt_compress.onnx_export import stored_functions
from slt_compress.onnx_export.stored_functions import StoredLayer, int8_numbers
from slt_compress.ticket.stored import WEIGHT_TYPES, StoredWeights
from tests.support.graphs import run_part


def stored(shape: tuple[int, ...], density: float, kind: str) -> tuple[np.ndarray, StoredWeights]:
    draw = np.random.default_rng(0)
    mask = draw.random(shape) < density
    return mask, StoredWeights.of(draw.standard_normal(shape, np.float32), mask, kind)


@pytest.mark.parametrize("kind", WEIGHT_TYPES)
@pytest.mark.parametrize("shape", [(1, 1), (7, 1), (3, 11), (32, 2), (5, 3, 3, 3), (4099, 2)])
@pytest.mark.parametrize("density", [0.0, 0.01, 0.1, 0.4, 0.97, 1.0])
def test_weights_of_every_type_size_and_density(
    tmp_path: Path, kind: str, shape: tuple[int, ...], density: float
) -> None:
    mask, weights = stored(shape, density, kind)
    found, left = run_part(StoredLayer.of(weights, mask, {}).part("w"), "w", shape, tmp_path)
    expected = weights.weights(mask)
    assert found.tobytes() == expected.tobytes()  # not even minus zero for zero
    assert left == []
