"""Weights regenerated in a graph equal those that numpy regenerates from the ticket, and no node is left unfolded."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from slt_compress import prng
from slt_compress.errors import UnreachableError
from slt_compress.onnx_export import weight_functions
from slt_compress.onnx_export.mask_functions import Mask
from tests.support.graphs import run_part


def random_mask(shape: tuple[int, ...], density: float) -> Mask:
    return np.random.default_rng(0).random(shape) < density


@pytest.mark.parametrize("shape", [(1, 1), (7, 1), (8, 1), (3, 11), (32, 1), (1000, 1), (5, 3, 3, 3), (4099, 2)])
@pytest.mark.parametrize("density", [0.0, 0.01, 0.1, 0.3, 0.5, 0.8, 0.97, 1.0])
def test_signed_constants_of_every_size_and_density(tmp_path: Path, shape: tuple[int, ...], density: float) -> None:
    mask = random_mask(shape, density)
    scale = float(np.float32(0.1))
    part = weight_functions.signs("w", mask, 2**64 - 1, "layer.w", scale)
    found, left = run_part(part, "w", shape, tmp_path)
    expected = np.where(mask, prng.signs(2**64 - 1, "layer.w", mask.size).reshape(shape) * np.float32(scale), 0)
    assert np.array_equal(found, expected)
    assert left == []


@pytest.mark.parametrize("kept", [0, 1, 999])
def test_a_single_weight_kept_or_dropped(tmp_path: Path, kept: int) -> None:
    for inverted in (False, True):
        mask = np.full(1000, inverted)
        mask[kept] = not inverted
        part = weight_functions.signs("w", mask, 1, "w", 1.0)
        found, left = run_part(part, "w", (1000,), tmp_path)
        assert np.array_equal(found != 0, mask)
        assert left == []


@pytest.mark.parametrize("density", [0.0003, 0.001, 0.003])
def test_very_sparse_masks(tmp_path: Path, density: float) -> None:
    mask = random_mask((100_003,), density)
    found, left = run_part(weight_functions.signs("w", mask, 5, "w", 1.0), "w", mask.shape, tmp_path)
    assert np.array_equal(found, np.where(mask, prng.signs(5, "w", mask.size), 0))
    assert left == []


@pytest.mark.parametrize("shape", [(3, 11), (32, 2)])
def test_int8_weights_and_choices(tmp_path: Path, shape: tuple[int, ...]) -> None:
    mask = random_mask(shape, 0.3)
    expected = np.where(mask, 64 * prng.signs(5, "w", mask.size).reshape(shape), 0)
    found, _ = run_part(weight_functions.int8_signs("w", mask, 5, "w"), "w", shape, tmp_path, kind=TensorProto.INT8)
    assert np.array_equal(found, expected)
    found, left = run_part(weight_functions.choice("c", mask, -100.0, 0.1), "c", shape, tmp_path)
    assert np.array_equal(found, np.where(mask, np.float32(0.1), np.float32(-100)))
    assert left == []


@pytest.mark.parametrize("size", [1, 9, 1000])
@pytest.mark.parametrize("scale", [1.0, 0.1, 1 / 3])
def test_uniform_values_are_exact(tmp_path: Path, size: int, scale: float) -> None:
    values = prng.uniform(3, "embedding", size) * np.float32(scale)
    part = weight_functions.embedding("e", (size, 1), 3, "embedding", scale)
    found, left = run_part(part, "e", (size, 1), tmp_path)
    assert np.array_equal(found.ravel(), values)
    assert left == []
    mask = random_mask((size,), 0.4)
    part = weight_functions.uniform("w", mask, 3, "embedding", scale)
    assert np.array_equal(run_part(part, "w", (size,), tmp_path)[0], np.where(mask, values, 0))


@pytest.mark.parametrize("opset", [18, 19, 21, 23])
def test_every_opset_gives_the_same_weights(tmp_path: Path, opset: int) -> None:
    mask = random_mask((777,), 0.1)
    part = weight_functions.signs("w", mask, 1, "w", 1.0)
    found, left = run_part(part, "w", (777,), tmp_path, opset)
    assert np.array_equal(found != 0, mask)
    assert left == []


def test_a_tensor_too_large_to_regenerate_is_refused() -> None:
    mask = np.broadcast_to(np.zeros(1, np.bool_), (2**29 + 1,))
    with pytest.raises(UnreachableError, match=r"w has 536,870,913 weights.*at most 536,870,912; use `weights=dense`"):
        weight_functions.signs("w", mask, 0, "w", 1.0)
