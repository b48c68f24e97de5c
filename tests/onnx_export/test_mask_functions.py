"""Masks are coded in the shorter way, and a graph decodes what was coded."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from slt_compress.onnx_export.mask_functions import MASK_ATTRIBUTES, MASKS, coded_mask, sources
from slt_compress.onnx_export.weight_functions import TABLE, call
from tests.support.graphs import run_part


def test_the_shorter_code_is_taken() -> None:
    for density, expected in ((0.5, "Raw"), (0.1, "Rice"), (0.9, "Rice")):
        kind, code, attributes = coded_mask(np.random.default_rng(0).random(10_000) < density)
        assert kind == expected
        assert sorted(attributes) == sorted(MASK_ATTRIBUTES[kind])
        assert code.size <= 1252


@pytest.mark.parametrize("density", [0.0, 0.05, 0.4, 0.95, 1.0])
def test_a_decoded_mask_is_minus_one_where_a_weight_is_kept(tmp_path: Path, density: float) -> None:
    mask = np.random.default_rng(0).random((40, 25)) < density
    kind, code, attributes = coded_mask(mask)
    nodes = [
        helper.make_node("Constant", [], ["count"], value_int=32),  # words of 32 gates
        call(f"{kind}Mask", ["code", "count", TABLE], "mask", **attributes),
    ]
    found, left = run_part(
        (nodes, [numpy_helper.from_array(code, "code")]), "mask", (32, 4, 8), tmp_path, kind=TensorProto.INT8
    )
    assert np.array_equal(found.ravel()[: mask.size], -mask.ravel().astype(np.int8))
    assert left == []


def test_there_is_a_function_for_each_kind() -> None:
    assert {text.partition("Mask")[0] for text in sources()} == set(MASKS)
