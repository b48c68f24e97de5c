"""Graphs that torch has traced before. A trace takes a second or two, and hundreds of tests export the same networks.

A graph is taken again only if everything that it follows from is equal: the classes of all modules, their settings and
tensors, the code of a rewritten network, and the arguments. Of generated tensors, which become inputs, only the shape
counts: tests/onnx_export/test_trace.py shows that. Modules of a test's own, whose `forward` may be anything, are traced
each time.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import onnx
import torch
from torch import nn
from torch.fx import GraphModule

from slt_compress.onnx_export import trace
from slt_compress.ticket.record import NetworkRecord

LIBRARIES = ("slt_compress.", "timm.", "torch.", "torchvision.")
traced_anew = trace.trace
_known: dict[str, bytes] = {}


def remember() -> None:
    """Let all of this process take graphs again. To be called before `trace` is imported elsewhere."""
    trace.trace = remembered


def remembered(module: nn.Module, record: NetworkRecord, opset: int, generated: Sequence[str] = ()) -> onnx.ModelProto:
    """Return what `trace` does."""
    if not all(type(part).__module__.startswith(LIBRARIES) for part in module.modules()):
        return traced_anew(module, record, opset, generated)
    read = (record.model, record.inputs, len(record.outputs), record.preprocessing is None)  # of the record
    key = identity(module, tuple(generated) or trace.generated_names(module), read, opset)
    if key not in _known:
        _known[key] = traced_anew(module, record, opset, generated).SerializeToString()
    return onnx.load_from_string(_known[key])


def identity(module: nn.Module, generated: Sequence[str], *arguments: Any) -> str:
    """Return a digest of all that a trace of a module follows from."""
    found = hashlib.sha256(repr((generated, arguments)).encode())
    inputs = {id(module.get_parameter(name)) for name in generated}
    places: dict[int, str] = {}
    for name, part in module.named_modules(remove_duplicate=False):
        first = places.setdefault(id(part), name)
        found.update(repr((name, first, type(part), part.extra_repr(), part.training)).encode())
        if isinstance(part, GraphModule):
            found.update(part.code.encode())
        for key, value in {**vars(part), **part._parameters, **part._buffers}.items():
            if isinstance(value, torch.Tensor):
                alias = places.setdefault(id(value), f"{name}.{key}")
                found.update(repr((key, alias, value.dtype, value.shape, value.requires_grad)).encode())
                if id(value) not in inputs:
                    found.update(value.detach().cpu().contiguous().numpy().tobytes())
            elif isinstance(value, bool | int | float | str | tuple | None):
                found.update(repr((key, value)).encode())
    return found.hexdigest()
