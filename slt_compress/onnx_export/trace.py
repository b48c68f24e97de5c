"""From a torch module to an ONNX graph that has the generated tensors as inputs.

Generated tensors are the gated weights and the embeddings. The exporter's optimiser renames, transposes and folds
constants, but not inputs. So each of these tensors keeps its name and shape, and `forms` can put in its place whatever
makes it.

Left out: whatever does not change the result of a network in evaluation mode, such as added zeros, and what the
exporter notes down about the source code.
"""

import numpy as np
import onnx
import onnxscript.optimizer
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from slt_compress.data.preprocessing import Preprocessing
from slt_compress.masking.parameters import embedding_names, gated_names
from slt_compress.onnx_export import shrink
from slt_compress.onnx_export.quiet import quiet

OPSETS = range(18, 24)  # that torch's exporter writes and the oldest supported onnxruntime reads


def trace(module: nn.Module, preprocessing: Preprocessing, opset: int) -> onnx.ModelProto:
    """Return the module's graph with its generated tensors as inputs.

    Its first input is `images`, float32 (batch, channels, size, size) with any batch; its output is `logits`. A graph
    for an opset above `OPSETS` is traced with the newest of these and converted.
    """
    images = torch.zeros(2, preprocessing.channels, preprocessing.size, preprocessing.size)
    with quiet():
        program = torch.onnx.export(
            module,
            (images,),
            dynamo=True,
            opset_version=min(opset, OPSETS[-1]),
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
    shrink.drop_zero_terms(model)
    del model.graph.value_info[:], model.graph.metadata_props[:]
    return _converted(model, opset) if opset > OPSETS[-1] else model


def prepend_preprocessing(traced: onnx.ModelProto, preprocessing: Preprocessing) -> None:
    """Let the graph take pixels, uint8 (batch, size, size, channels), and normalise them as `Preprocessing` does."""
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
        ("unit", "Div", (255.0,)),
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


def _converted(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    found = onnx.version_converter.convert_version(model, opset)
    del found.graph.value_info[:]  # shapes that the converter has inferred; other graphs do not have them either
    found.ir_version = max(found.ir_version, helper.find_min_ir_version_for(found.opset_import))
    return found
