"""The generator of portable graphs makes the words of `prng`, in integers that stay small."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.inliner
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from slt_compress import prng
from slt_compress.onnx_export.portable_functions import BLOCK, functions
from slt_compress.onnx_export.weight_functions import DOMAIN
from slt_compress.ticket.stored import nibbles


def test_four_bits_are_signed() -> None:
    numbers = np.array([7, -7, 0, 1, -1, 3, -4], np.int8)
    graph = helper.make_graph(
        [helper.make_node("Unpacked", ["packed"], ["numbers"], domain=DOMAIN)],
        "numbers",
        [],
        [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.frombuffer(nibbles(numbers), np.uint8), "packed")],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8, functions=functions(18))
    (found,) = ReferenceEvaluator(onnx.inliner.inline_local_functions(model)).run(None, {})
    assert np.asarray(found).tolist() == [*numbers.tolist(), 0]


@pytest.mark.parametrize("opset", [18, 23])
def test_words_are_those_of_the_generator_and_sums_stay_small(opset: int) -> None:
    """A slow evaluator shows every intermediate result."""
    names, blocks, seed = ("a", "layer.weight", "z"), (1, 3, 2), 2**63
    starts = [0, 1, 4]
    keys = []
    for name, start in zip(names, starts, strict=True):
        first, second = prng.stream_key(seed, "signs", name)
        keys.append(np.array([(first - BLOCK * start) % 2**32, second], "<u4").view(np.uint8))
    constants: dict[str, npt.NDArray[Any]] = {
        "keys": np.array(keys),
        "starts": np.array(starts[1:], np.int32),
        "end": np.array(sum(blocks), np.int32),
    }
    nodes = [
        helper.make_node("Table", [], ["bits"], domain=DOMAIN),
        helper.make_node("Words", [*constants, "bits"], ["bytes"], domain=DOMAIN),
    ]
    graph = helper.make_graph(
        nodes,
        "words",
        [],
        [helper.make_tensor_value_info("bytes", TensorProto.INT32, [None, 4])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=9, functions=functions(opset))
    model = onnx.inliner.inline_local_functions(model)
    arithmetic = [node.output[0] for node in model.graph.node if node.op_type in ("Add", "Mul", "ReduceSum")]
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.INT32, None) for name in arithmetic)
    found, *between = (np.asarray(values) for values in ReferenceEvaluator(model).run(None, {}))
    expected = np.concatenate(
        [prng.words(seed, "signs", name, BLOCK * count) for name, count in zip(names, blocks, strict=True)]
    )
    assert np.array_equal(found.astype(np.uint8).view("<u4").ravel(), expected)
    assert all(values.dtype == np.int32 and values.min() >= 0 and values.max() < 2**27 for values in between)
