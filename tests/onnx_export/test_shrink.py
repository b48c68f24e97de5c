"""Shrunk graphs compute what they did before, from fewer bytes."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from slt_compress.onnx_export import shrink

Array = npt.NDArray[Any]


def model(nodes: list[NodeProto], constants: dict[str, Array], shape: list[int | str]) -> onnx.ModelProto:
    """A graph from x to y, both float32 of this shape, with the shapes of everything between recorded."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    initializers = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], initializers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return onnx.shape_inference.infer_shapes(made)


def run(found: onnx.ModelProto, images: Array) -> Array:
    onnx.checker.check_model(found, full_check=True)
    session = onnxruntime.InferenceSession(found.SerializeToString(), providers=["CPUExecutionProvider"])
    result: Array = session.run(None, {"x": images})[0]
    return result


@pytest.mark.parametrize(
    ("values", "at_most"),
    [
        (np.full((3, 100), 0.1, np.float32), 150),
        (np.zeros(5000, np.int8), 150),
        (np.arange(600, dtype=np.float32) / 8, 1250),  # exact as float16
        (np.arange(600, dtype=np.float32) / 7, 2500),  # not
        (np.arange(200, dtype=np.int64), 250),
        (np.arange(-200, 200, dtype=np.int64), 1650),
        (np.arange(400, dtype=np.int32) * 100_000, 1650),
        (np.where(np.arange(4096) % 64 < 9, -100, 0.5).astype(np.float32), 700),  # two values: a mask
    ],
)
def test_a_shortened_constant_is_the_same_constant(values: Array, at_most: int) -> None:
    kind = helper.np_dtype_to_tensor_dtype(values.dtype)
    output = helper.make_tensor_value_info("c", kind, values.shape)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["c"])], "g", [], [output], [numpy_helper.from_array(values, "w")]
    )
    plain = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    short = shrink.compact(plain)
    onnx.checker.check_model(short, full_check=True)
    (found,) = onnxruntime.InferenceSession(short.SerializeToString()).run(None, {})
    assert found.dtype == values.dtype
    assert np.array_equal(found, values)
    assert sum(part.ByteSize() for part in (*short.graph.initializer, *short.graph.node)) <= at_most


def test_equal_constants_become_one() -> None:
    nodes = [helper.make_node("Mul", ["x", "a"], ["h"]), helper.make_node("Sub", ["h", "b"], ["y"])]
    found = model(nodes, {"a": np.array([1, 2], np.float32), "b": np.array([1, 2], np.float32)}, ["n", 2])
    shrink.share_constants(found)
    assert len(found.graph.initializer) == 1
    images = np.array([[3, 4]], np.float32)
    assert np.array_equal(run(found, images), images * [1, 2] - [1, 2])


def test_zero_terms_go_unless_they_widen_the_sum() -> None:
    nodes = [
        helper.make_node("Add", ["x", "zero"], ["a"]),
        helper.make_node("Gemm", ["a", "w", "zero"], ["b"]),
        helper.make_node("Add", ["b", "one"], ["c"]),
        helper.make_node("Add", ["zero", "c"], ["d"]),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    constants = {"zero": np.zeros(2, np.float32), "one": np.ones(2, np.float32), "w": np.eye(2, dtype=np.float32)}
    found = model(nodes, constants, ["n", 2])
    images = np.array([[3, -4], [0, 1]], np.float32)
    before = run(found, images)
    shrink.drop_zero_terms(found)
    assert [node.op_type for node in found.graph.node] == ["Gemm", "Add", "Relu"]
    assert [tensor.name for tensor in found.graph.initializer] == ["one", "w"]
    assert np.array_equal(run(found, images), before)
    widening = [helper.make_node("Add", ["x", "zeros"], ["s"]), helper.make_node("ReduceSum", ["s", "axis"], ["y"])]
    found = model(widening, {"zeros": np.zeros((3, 1, 2), np.float32), "axis": np.array([0], np.int64)}, [1, 2])
    shrink.drop_zero_terms(found)
    assert len(found.graph.node) == 2


def test_attributes_with_their_default_value_go() -> None:
    nodes = [
        helper.make_node("Softmax", ["x"], ["a"], name="first", axis=-1),
        helper.make_node("Softmax", ["a"], ["b"], axis=0),
        helper.make_node("Transpose", ["b"], ["c"], perm=[1, 0]),
        helper.make_node("Transpose", ["c"], ["d"], perm=[0, 1]),
        helper.make_node("Reshape", ["d", "shape"], ["y"], allowzero=1),
    ]
    found = model(nodes, {"shape": np.array([2, -1], np.int64)}, [2, 2])
    images = np.array([[3, -4], [0, 1]], np.float32)
    before = run(found, images)
    shrink.drop_defaults(found)
    assert [[attribute.name for attribute in node.attribute] for node in found.graph.node] == [
        *([], ["axis"], [], ["perm"], []),
    ]
    assert np.array_equal(run(found, images), before)


def test_slices_keep_different_names() -> None:
    """onnxruntime 1.20 fuses slices of one value into a node named after the first of them."""
    constants = {"one": np.array([1], np.int64), "two": np.array([2], np.int64), "three": np.array([3], np.int64)}
    nodes = [
        helper.make_node("Slice", ["x", "one", "two", "one"], ["left"], name="long.left"),
        helper.make_node("Slice", ["x", "two", "three", "one"], ["right"], name="long.right"),
        helper.make_node("Mul", ["left", "right"], ["product"], name="product"),
        helper.make_node("Add", ["x", "product"], ["y"], name="sum"),
    ]
    found = model(nodes, constants, [3, 3])
    images = np.arange(9, dtype=np.float32).reshape(3, 3)
    before = run(found, images)
    shrink.shorten_names(found)
    names = [node.name for node in found.graph.node]
    assert names[0] != names[1]
    assert [len(name) for name in names] == [1, 1, 0, 0]
    assert np.array_equal(run(found, images), before)


def test_names_become_short_except_those_of_inputs_and_outputs() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "a.long.name"], ["another"], name="n"),
        helper.make_node("Relu", ["another"], ["y"]),
    ]
    found = model(nodes, {"a.long.name": np.array([1, 2], np.float32)}, ["n", 2])
    shrink.shorten_names(found)
    names = {name for node in found.graph.node for name in (*node.input, *node.output)}
    assert names >= {"x", "y"}
    assert all(len(name) == 1 for name in names)
    assert np.array_equal(run(found, np.array([[3, -4]], np.float32)), np.array([[3, 0]], np.float32))
