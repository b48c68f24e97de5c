"""What must be known of an ONNX file before it runs: what it takes, how large it is, and where it comes from."""

import contextlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from slt_compress.errors import UsageError, VerificationError, first_line
from slt_compress.evaluation.onnxruntime_backend import METADATA_KEY, open_session

_NUMPY = {
    *(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BOOL),
    *(TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64),
    *(TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64),
}  # what numpy has, and onnxruntime takes from it
_QUANTISING = {"QuantizeLinear", "DynamicQuantizeLinear"}  # operators that activations pass on their way to 8 bits

Entry = tuple[str, str, tuple[int, ...]]  # name, dtype and shape of an input


@dataclass(frozen=True)
class Input:
    """An input of a graph.

    Attributes:
        name: its name.
        dtype: numpy's name of its type.
        shape: lengths of its dimensions; a name where a length is open, None where it is open and has no name.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


@dataclass(frozen=True)
class Graph:
    """What is known of an ONNX file.

    Attributes:
        path: the file.
        bytes: its size, with that of the files that hold its weights, if there are any.
        inputs: what it takes.
        ticket: digest of the ticket that `export` made it from; None if it was not.
        quantised: whether it computes in 8 bits, at least in part.
    """

    path: Path
    bytes: int
    inputs: tuple[Input, ...]
    ticket: str | None
    quantised: bool

    @property
    def fixed_batch(self) -> int | None:
        """The only number of images that it takes in a run; None if it takes any."""
        first = [one.shape[0] for one in self.inputs if one.shape]
        if any(not isinstance(length, int) for length in first):
            return None
        return next((length for length in first if isinstance(length, int)), 1)

    def entries(self, label: str, batch: int, dims: Mapping[str, int]) -> list[Entry]:
        """Return name, dtype and shape of each input for a batch.

        The batch is the first dimension of an input, where it is open, and every other of the same name. Raises
        UsageError for other open dimensions that are not in `dims`.
        """
        leading = [one.shape[0] for one in self.inputs if one.shape and not isinstance(one.shape[0], int)]
        names = [name for name in leading if name is None or name not in dims]
        if leading and not names:
            raise UsageError(f"`dims` sets {leading[0]}, which is the batch of {label}; use `batch`")
        sizes: dict[Any, int] = {**dims, **({names[0]: batch} if names else {})}
        found = []
        for one in self.inputs:
            shape = [batch if not place and length is None else length for place, length in enumerate(one.shape)]
            lengths = [sizes.get(length) if isinstance(length, str) else length for length in shape]
            known = tuple(length for length in lengths if length is not None)
            if len(known) < len(shape):
                raise _open_dimension(label, one, shape, sizes)
            found.append((one.name, one.dtype, known))
        return found


def read_graph(path: Path, label: str) -> Graph:
    """Read a file; `label` is its name in messages.

    Raises VerificationError if it is no ONNX model, UsageError if it takes anything but numbers that numpy has.
    """
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
        size = path.stat().st_size
    except OSError as error:
        raise VerificationError(f"cannot read {label}: {error.strerror or error}") from error
    except Exception as error:  # protobuf's have no types that mypy knows
        raise VerificationError(f"{label} is no ONNX model, or is damaged: {first_line(error)}") from error
    graph = model.graph
    if not graph.node:
        raise VerificationError(f"{label} is no ONNX model: it has no graph")
    stored = {tensor.name for tensor in graph.initializer}
    operators = {node.op_type for part in (graph, *model.functions) for node in part.node}
    return Graph(
        path=path,
        bytes=size + sum(_sizes_of_external_data(path, graph.initializer)),
        inputs=tuple(_read_input(label, value) for value in graph.input if value.name not in stored),
        ticket=_ticket(model),
        quantised=not _QUANTISING.isdisjoint(operators),
    )


def write_dense(path: Path, target: Path) -> None:
    """Write the graph of a file with its weights as constants, by onnxruntime's own folding, to `target`.

    Raises VerificationError if onnxruntime cannot load the file.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    try:
        open_session(str(path), options)
    except Exception as error:  # onnxruntime's errors share no base class
        raise VerificationError(f"onnxruntime cannot load {path}: {first_line(error)}") from error


def _read_input(label: str, value: onnx.ValueInfoProto) -> Input:
    kind = value.type.WhichOneof("value")
    tensor = value.type.tensor_type
    if kind != "tensor_type" or tensor.elem_type not in _NUMPY:
        name = TensorProto.DataType.Name(tensor.elem_type) if kind == "tensor_type" else str(kind).partition("_")[0]
        raise UsageError(f"{label} takes {value.name} as {name}, expected a tensor of numbers that numpy has")
    shape = tuple(
        dim.dim_param or (dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None)
        for dim in tensor.shape.dim
    )
    if 0 in shape:
        raise UsageError(f"{label} takes {value.name} of shape {shape}, which has no values")
    return Input(value.name, np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name, shape)


def _open_dimension(label: str, one: Input, shape: list[Any], sizes: Mapping[Any, int]) -> UsageError:
    described = ", ".join("?" if length is None else str(length) for length in shape)
    names = [length for length in shape if isinstance(length, str) and length not in sizes]
    way_out = f"give the length of {names[0]} with `dims`" if names else "export it with a fixed length in place of ?"
    return UsageError(f"{label} takes {one.name} of shape ({described}): {way_out}")


def _ticket(model: onnx.ModelProto) -> str | None:
    """Return the digest of the ticket in what `export` has recorded."""
    recorded = {entry.key: entry.value for entry in model.metadata_props}
    with contextlib.suppress(KeyError, TypeError, ValueError, RecursionError):
        digest = json.loads(recorded[METADATA_KEY])["ticket"]
        return digest if isinstance(digest, str) else None
    return None


def _sizes_of_external_data(path: Path, tensors: Iterable[TensorProto]) -> list[int]:
    """Return the sizes of the files beside `path` that hold weights."""
    names = {
        entry.value
        for tensor in tensors
        if tensor.data_location == TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    sizes = []
    for name in names:
        with contextlib.suppress(OSError, ValueError):  # onnxruntime says what is missing
            sizes.append((path.parent / name).stat().st_size)
    return sizes


def input_bytes(entries: Iterable[Entry]) -> int:
    """Return the memory that inputs take."""
    return sum(np.dtype(dtype).itemsize * math.prod(shape) for _, dtype, shape in entries)
