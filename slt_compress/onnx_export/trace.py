"""From a torch module to an ONNX graph that has the generated tensors as inputs.

Generated tensors are the gated weights and the embeddings. The exporter's optimiser renames, transposes and folds
constants, but not inputs. So each of these tensors keeps its name and shape, and `forms` can put in its place whatever
makes it.

Left out: whatever does not change the result of a network in evaluation mode, such as added zeros, and what the
exporter notes down about the source code.
"""

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir
import onnxscript.optimizer
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from slt_compress.data.batches import blank
from slt_compress.data.preprocessing import Preprocessing
from slt_compress.errors import UnreachableError
from slt_compress.masking.parameters import embedding_names, gated_names
from slt_compress.models.quiet import quiet
from slt_compress.onnx_export import shrink
from slt_compress.structure.trace import any_batch
from slt_compress.ticket.record import NetworkRecord

OPSETS = range(18, 24)  # that torch's exporter writes and the oldest supported onnxruntime reads


def trace(module: nn.Module, record: NetworkRecord, opset: int, generated: Sequence[str] = ()) -> onnx.ModelProto:
    """Return the module's graph with its generated tensors as inputs behind its own: those of these names, or all.

    All of its own inputs and outputs have any batch. Those of a network for images are `images`, float32 (batch,
    channels, size, size), and `logits`; others are `input` and `output`, or numbered, `input_0`, where there are
    several. A graph for an opset above `OPSETS` is traced with the newest of these and converted.

    Raises UnreachableError if torch cannot trace the network with a batch of any size.
    """
    examples = blank(record.inputs)
    batch = torch.export.Dim("batch")
    of_images = record.preprocessing is not None
    with quiet():
        try:
            program = torch.onnx.export(
                module,
                examples,
                dynamo=True,
                opset_version=min(opset, OPSETS[-1]),
                dynamic_shapes=any_batch(module, len(examples), batch),
                input_names=["images"] if of_images else _numbered("input", len(examples)),
                output_names=["logits"] if of_images else _numbered("output", len(record.outputs)),
                verbose=False,
                optimize=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise UnreachableError(
                f"torch cannot trace {record.model} for ONNX with a batch of any size: {_reason(error)}"
            ) from error
        assert program is not None
        _turn_into_inputs(program.model.graph, module, generated or generated_names(module))
        onnxscript.optimizer.optimize(program.model)
    model = program.model_proto
    if any(not value.type.tensor_type.shape.dim[0].dim_param for value in model.graph.input[: len(examples)]):
        raise UnreachableError(
            f"torch has traced {record.model} for batches of two alone: what it computes depends on the size of a batch"
        )
    model.producer_name = "slt-compress"
    for node in model.graph.node:  # the exporter's stack traces are most of a small file
        del node.metadata_props[:]
        node.doc_string = ""
    shrink.drop_zero_terms(model)
    del model.graph.value_info[:], model.graph.metadata_props[:]
    if opset > OPSETS[-1]:
        model = onnx.version_converter.convert_version(model, opset)
        del model.graph.value_info[:]  # shapes that the converter has inferred; other graphs do not have them either
    # The lowest that the opset allows: older runtimes refuse a newer one without looking at the graph.
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)
    return model


def generated_names(module: nn.Module) -> tuple[str, ...]:
    """Return the names of the tensors of a module that are generated from a seed."""
    return (*gated_names(module), *embedding_names(module))


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


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}_{index}" for index in range(count)]


def _reason(error: BaseException) -> str:
    """Return what lies at the root of an error of the exporter, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


def _turn_into_inputs(graph: onnx_ir.Graph, module: nn.Module, generated: Sequence[str]) -> None:
    """Make inputs of the generated tensors. Where a tensor has several names, all its uses get the first of ours."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    for name in generated:
        used = [other for other in names[id(module.get_parameter(name))] if other in graph.initializers]
        values = [graph.initializers.pop(other) for other in used]
        if not values:
            continue
        values[0].const_value = None
        values[0].name = name
        graph.inputs.append(values[0])
        for value in values[1:]:
            onnx_ir.convenience.replace_all_uses_with(value, values[0])
