"""Small ONNX files that no exporter has written."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

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
