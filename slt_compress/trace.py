"""From a torch module to an ONNX graph whose seeded tensors are inputs, ready to be given any form.

As inputs, they cannot be renamed, transposed or folded by what optimises the graph around them.
"""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxscript.optimizer
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from slt_compress import graphs
from slt_compress.network import embedding_names, gated_names
from slt_compress.pictures import Preprocessing


def trace(module: nn.Module, preprocessing: Preprocessing, opset: int) -> onnx.ModelProto:
    """Return the module's graph with its gated weights and embeddings as inputs, optimised around them.

    Its first input is `images`, float32 (batch, channels, size, size) with a dynamic batch, its output `logits`.
    """
    images = torch.zeros(2, preprocessing.channels, preprocessing.size, preprocessing.size)
    with _quiet():
        program = torch.onnx.export(
            module,
            (images,),
            dynamo=True,
            opset_version=opset,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["images"],
            output_names=["logits"],
            verbose=False,
            optimize=False,
        )
        assert program is not None
        for name in (*gated_names(module), *embedding_names(module)):
            if name not in program.model.graph.initializers:
                continue
            value = program.model.graph.initializers.pop(name)
            value.const_value = None
            program.model.graph.inputs.append(value)
        onnxscript.optimizer.optimize(program.model)
    model = program.model_proto
    model.producer_name = "slt-compress"
    for node in model.graph.node:  # the exporter's stack traces are most of a small file
        del node.metadata_props[:]
        node.doc_string = ""
    graphs.drop_zero_terms(model)
    del model.graph.value_info[:], model.graph.metadata_props[:]
    return model


def prepend_preprocessing(traced: onnx.ModelProto, preprocessing: Preprocessing) -> None:
    """Let the graph take pixels, uint8 (batch, size, size, channels), and do with them what `Preprocessing` does."""
    graph = traced.graph
    images = next(value for value in graph.input if value.name == "images")
    for node in graph.node:
        node.input[:] = ["normalised" if name == "images" else name for name in node.input]
    dims = images.type.tensor_type.shape.dim
    size = [preprocessing.size, preprocessing.size, preprocessing.channels]
    images.CopyFrom(helper.make_tensor_value_info("images", TensorProto.UINT8, [dims[0].dim_param, *size]))
    steps = [helper.make_node("Transpose", ["images"], ["planes"], perm=[0, 3, 1, 2])]
    steps.append(helper.make_node("Cast", ["planes"], ["pixels"], to=TensorProto.FLOAT))
    last = "pixels"
    for name, operator, values in (
        ("unit", "Div", [255.0]),
        ("mean", "Sub", preprocessing.mean),
        ("std", "Div", preprocessing.std),
    ):
        constant = np.array(values, np.float32).reshape(-1, 1, 1)
        graph.initializer.append(numpy_helper.from_array(constant, f"preprocessing/{name}"))
        output = "normalised" if name == "std" else f"preprocessing/{name}/output"
        steps.append(helper.make_node(operator, [last, f"preprocessing/{name}"], [output]))
        last = output
    for node in reversed(steps):
        graph.node.insert(0, node)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and advice, meant for authors of exporters, off the user's terminal."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            Path(os.devnull).open("w") as sink,
            contextlib.redirect_stdout(sink),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
