"""Cut tensors that a graph regenerates equal the slices of the whole ones, and no node is left unfolded."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from slt_compress import prng
from slt_compress.masking.codecs import shannon_bound
from slt_compress.onnx_export import sliced_functions, weight_functions
from slt_compress.onnx_export.mask_functions import Mask
from slt_compress.onnx_export.sliced_functions import Kept, Slices
from slt_compress.onnx_export.weight_functions import INT8_MAGNITUDE
from tests.support.graphs import run_part

SEED = 11
SHAPES = [(12, 9), (32, 16), (7, 1), (24, 10, 3, 3), (40, 1, 5, 5), (6, 64), (9, 32, 3, 3), (5, 3, 4, 8)]


def kept_of(shape: tuple[int, ...], axes: str) -> Kept:
    rng = np.random.default_rng(0)
    lengths = {axis: shape[axis] for axis in (0, 1) if str(axis) in axes}
    return {
        axis: np.sort(rng.choice(length, max(1, length * 2 // 3), replace=False)) for axis, length in lengths.items()
    }


def mask_of(shape: tuple[int, ...], kind: str) -> Mask:
    rng = np.random.default_rng(1)
    if kind == "whole":
        return np.ones(shape, np.bool_)
    if kind == "weights":
        return rng.random(shape) < 0.1
    mask = np.ones(shape, np.bool_)
    if "rows" in kind:
        mask[rng.random(shape[0]) < 0.4] = False
    if "columns" in kind:
        mask[:, rng.random(shape[1]) < 0.4] = False
    return mask


@pytest.mark.parametrize("kind", ["whole", "rows", "columns", "rows and columns", "weights"])
@pytest.mark.parametrize("axes", ["", "0", "1", "01"])
@pytest.mark.parametrize("shape", SHAPES)
def test_they_equal_slices_of_the_whole_tensor(tmp_path: Path, shape: tuple[int, ...], axes: str, kind: str) -> None:
    mask, kept = mask_of(shape, kind), kept_of(shape, axes)
    scale = float(np.float32(0.3))
    whole = np.where(mask, prng.signs(SEED, "w", mask.size).reshape(shape), 0)
    for axis, indices in kept.items():
        whole = whole.take(indices, axis)
    found, left = run_part(Slices(SEED).signs("w", mask, kept, "w", scale), "w", whole.shape, tmp_path)
    assert np.array_equal(found, whole * np.float32(scale))
    assert left == []
    part = Slices(SEED).signs("w", mask, kept, "w", None)
    bytes_found, left = run_part(part, "w", whole.shape, tmp_path, kind=TensorProto.INT8)
    assert np.array_equal(bytes_found, whole * INT8_MAGNITUDE)
    assert left == []


@pytest.mark.parametrize("axes", ["", "0", "1", "01"])
def test_a_tensor_with_a_mask_of_its_own_is_cut_by_plain_nodes(tmp_path: Path, axes: str) -> None:
    shape = (24, 10, 3, 3)
    mask, kept = mask_of(shape, "weights"), kept_of(shape, axes)
    name = "whole" if axes else "w"
    whole = weight_functions.signs(name, mask, SEED, "w", 1.0)
    cut = Slices(SEED).taken("whole", "w", kept, shape)
    expected = np.where(mask, prng.signs(SEED, "w", mask.size).reshape(shape), 0).astype(np.float32)
    for axis, indices in kept.items():
        expected = expected.take(indices, axis)
    found, left = run_part(([*whole[0], *cut[0]], [*whole[1], *cut[1]]), "w", expected.shape, tmp_path)
    assert np.array_equal(found, expected)
    assert left == []


def test_tensors_that_share_neurons_share_their_bits(tmp_path: Path) -> None:
    slices, kept = Slices(SEED), kept_of((30, 20), "0")
    first, constants = slices.signs("a", np.ones((30, 20), np.bool_), kept, "a", 1.0)
    assert len(constants) == 1
    second, more = slices.signs("b", np.ones((5, 30), np.bool_), {1: kept[0]}, "b", 1.0)
    assert more == []
    assert [node.op_type for node in (*first, *second)].count("Left") == 1
    assert run_part(([*first, *second], constants), "b", (5, 20), tmp_path)[1] == []


def test_a_mask_of_whole_slices_takes_a_bit_for_each() -> None:
    shape = (64, 128, 3, 3)
    _, constants = Slices(SEED).signs("w", mask_of(shape, "rows and columns"), {}, "w", 1.0)
    assert sum(len(constant.raw_data) for constant in constants) == (64 + 128) // 8


def test_a_mask_of_weights_is_coded_as_near_to_the_bound_as_elsewhere() -> None:
    mask, kept = mask_of((300, 100), "weights"), kept_of((300, 100), "01")
    left = mask.take(kept[0], 0).take(kept[1], 1)
    _, constants = Slices(SEED).signs("w", mask, kept, "w", 1.0)
    code = next(constant for constant in constants if constant.name == "w/code")
    assert len(code.raw_data) < 1.05 * shannon_bound(left.size, int(left.sum())) + 8


def test_every_function_has_a_name_of_its_own() -> None:
    names = [text.partition(" ")[0] for text in sliced_functions.sources()]
    assert len(set(names)) == len(names)
