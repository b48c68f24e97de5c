"""Small ONNX files that no exporter has written, and single parts of those that one writes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import NodeProto, TensorProto, helper, numpy_helper

from slt_compress.onnx_export import sliced_functions, stored_functions, weight_functions
from slt_compress.onnx_export.weight_functions import Part

Shape = Sequence[int | str | None]


def save_graph(
    path: Path,
    inputs: Mapping[str, tuple[int, Shape]],
    nodes: Sequence[NodeProto],
    constants: dict[str, Any] | None = None,
    gives: int = TensorProto.FLOAT,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a graph; `inputs` are (type, shape), and its output is `y`, of the type `gives`."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, *described) for name, described in inputs.items()],
        [helper.make_tensor_value_info("y", gives, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


def save_linear(path: Path, batch: int | str | None = "N", **metadata: str) -> Path:
    """Write a layer of 4 inputs and 5 outputs."""
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)]
    inputs = {"x": (TensorProto.FLOAT, [batch, 4])}
    return save_graph(path, inputs, nodes, {"w": np.ones((5, 4), np.float32)}, metadata=metadata)


def run_part(
    part: Part,
    name: str,
    shape: tuple[int, ...],
    folder: Path,
    opset: int = 20,
    kind: "TensorProto.DataType" = TensorProto.FLOAT,
) -> tuple[npt.NDArray[np.float32], list[str]]:
    """Return what onnxruntime makes of a part, and the operators that its optimised graph still has."""
    nodes, initializers = part
    further = [*sliced_functions.sources(), *stored_functions.sources()]
    output = helper.make_tensor_value_info(name, kind, shape)
    nodes = [weight_functions.table(), *nodes]
    graph = helper.make_graph(nodes, "weights", [], [output], initializers)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(weight_functions.DOMAIN, 1)]
    model = helper.make_model(
        graph,
        opset_imports=imports,
        ir_version=9,
        functions=weight_functions.functions(nodes, opset, further),
    )
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    left = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    return session.run(None, {})[0], left
