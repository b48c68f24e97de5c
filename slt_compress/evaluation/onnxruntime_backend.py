"""An exported network under onnxruntime, on the CPU."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch.utils._pytree import tree_leaves, tree_map

from slt_compress.data.batches import Feed, Tensors, as_given, join, length
from slt_compress.data.preprocessing import as_pixels
from slt_compress.errors import TicketError, VerificationError, first_line
from slt_compress.ticket.record import PIXELS, NetworkRecord

METADATA_KEY = "slt_compress"
_EXPORTED_OUTPUTS = ("logits", "output")  # what `export` calls them: of several that fit, these are meant

# What a graph may take or give -> the array's type.
_FLOATS: dict[str, npt.DTypeLike] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}
_NUMPY: dict[str, npt.DTypeLike] = {
    **_FLOATS,
    "tensor(bool)": np.bool_,
    **{f"tensor({name})": name for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")},
}


def open_session(model: str | bytes, options: onnxruntime.SessionOptions | None = None) -> Any:
    """Return a session for a file, given by name or content, with as many threads as torch has.

    It logs nothing: what goes wrong, it raises.
    """
    options = options or onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)


def as_feeds(names: Sequence[str], inputs: Tensors) -> dict[str, npt.NDArray[Any]]:
    """Return a batch as a session takes it: arrays by the names of the graph's inputs."""
    return {name: leaf.cpu().numpy() for name, leaf in zip(names, tree_leaves(inputs), strict=True)}


def run(session: Any, inputs: Tensors) -> Tensors:
    """Return what a session computes of a batch: a tensor, or a tuple of them where the graph has several outputs."""
    names = [value.name for value in session.get_inputs()]
    outputs = tuple(torch.from_numpy(array) for array in session.run(None, as_feeds(names, inputs)))
    return outputs if len(outputs) > 1 else outputs[0]


class OnnxClassifier:
    """An exported network as a classifier; also one whose file another tool has changed, as far as it can be used.

    Such a tool may have renamed inputs and outputs, added outputs, fixed the size of a batch, or changed the type of
    numbers.

    Attributes:
        record: what `export` recorded in the file.
        feed: what turns the inputs of a split, such as uint8 (n, channels, size, size), into the file's.
    """

    def __init__(self, path: Path) -> None:
        """Raises VerificationError if the file is not an ONNX model, or not one that `export` wrote."""
        self._path = path
        try:
            self._session = open_session(str(path))
            recorded = self._session.get_modelmeta().custom_metadata_map
        except Exception as error:  # onnxruntime's errors share no base class
            raise VerificationError(f"onnxruntime cannot load {path}: {first_line(error)}") from error
        if METADATA_KEY not in recorded:
            raise VerificationError(f"{path} was not exported by slt-compress, or has lost what that records")
        try:
            self.record = NetworkRecord.from_json(json.loads(recorded[METADATA_KEY]))
        except (TicketError, ValueError, RecursionError) as error:
            reason = error if isinstance(error, TicketError) else f"it is no JSON document ({first_line(error)})"
            raise VerificationError(f"what slt-compress recorded in {path} was changed: {reason}") from error
        self.feed: Feed = as_pixels if self.record.input == PIXELS else self.record.preprocessing or as_given
        self._batch = self._fixed_batch()
        self._outputs = self._recorded_outputs()

    def __call__(self, inputs: Tensors) -> Tensors:
        """Return the outputs for a batch of any size, a tensor or a tuple of them.

        Raises VerificationError if onnxruntime fails, or gives something else than a row for each example.
        """
        count = length(inputs)
        size = self._batch or count
        parts = [self._run(tree_map(lambda leaf, at=at: leaf[at : at + size], inputs)) for at in range(0, count, size)]
        outputs = join(parts)
        if length(outputs) != count:
            raise VerificationError(f"{self._path} gives {length(outputs)} rows for {count} examples")
        return outputs

    def _run(self, inputs: Tensors) -> Tensors:
        """Run a batch; one that is too small for the graph is filled up with its last example."""
        missing = (self._batch or 0) - length(inputs)
        arrays = []
        for value, leaf in zip(self._session.get_inputs(), tree_leaves(inputs), strict=True):
            array = leaf.cpu().numpy().astype(_NUMPY[value.type], copy=False)
            arrays.append(np.concatenate([array, np.repeat(array[-1:], missing, 0)]) if missing > 0 else array)
        names = [value.name for value in self._session.get_inputs()]
        try:
            found = self._session.run(self._outputs, dict(zip(names, arrays, strict=True)))
        except Exception as error:  # as above
            raise VerificationError(f"onnxruntime cannot run {self._path}: {first_line(error)}") from error
        outputs = tuple(torch.from_numpy(array[: length(inputs)]) for array in found)
        return outputs if len(outputs) > 1 else outputs[0]

    def _fixed_batch(self) -> int | None:
        """Return the only size of a batch that the graph takes, None if it takes any.

        Raises VerificationError if its inputs are not those that are recorded.
        """
        found, recorded = self._session.get_inputs(), [one.shape for one in self.record.inputs]
        if self.record.input == PIXELS:
            recorded = [(*shape[1:], shape[0]) for shape in recorded]
        if len(found) != len(recorded):
            raise self._other("takes", found, recorded)
        fits = map(_fits, found, recorded)
        real = self.record.input != PIXELS
        taken = [
            _FLOATS if real and one.dtype.startswith(("float", "bfloat")) else _NUMPY for one in self.record.inputs
        ]
        if not all(fits) or any(value.type not in types for value, types in zip(found, taken, strict=True)):
            raise self._other("takes", found, recorded)
        sizes = {value.shape[0] for value in found if isinstance(value.shape[0], int)}
        if len(sizes) > 1 or 0 in sizes:
            raise self._other("takes", found, recorded)
        return sizes.pop() if sizes else None

    def check_outputs(self) -> None:
        """Raise VerificationError if the outputs cannot have the recorded shapes."""
        recorded = [one.shape for one in self.record.outputs]
        found = [value for value in self._session.get_outputs() if value.name in self._outputs]
        if not all(map(_fits, found, recorded)):
            raise self._other("gives", found, recorded)

    def _recorded_outputs(self) -> list[str]:
        """Return the names of as many outputs as are recorded: if a tool has added others, of those that fit.

        Raises VerificationError if some are missing.
        """
        recorded = [one.shape for one in self.record.outputs]
        found = sorted(self._session.get_outputs(), key=lambda value: not value.name.startswith(_EXPORTED_OUTPUTS))
        chosen: list[Any] = []
        for value in found:
            if len(found) == len(recorded) or (len(chosen) < len(recorded) and _fits(value, recorded[len(chosen)])):
                chosen.append(value)
        if len(chosen) != len(recorded) or any(value.type not in _NUMPY for value in chosen):
            raise self._other("gives", found, recorded)
        return [value.name for value in chosen]

    def _other(self, verb: str, found: Sequence[Any], recorded: Sequence[tuple[int, ...]]) -> VerificationError:
        shapes = ", ".join(f"{value.type.removeprefix('tensor')} {value.shape}" for value in found) or "nothing"
        expected = ", ".join(str(("batch", *shape)) for shape in recorded)
        return VerificationError(f"{self._path} was changed: it {verb} {shapes}, expected {expected}")


def _fits(value: Any, shape: tuple[int, ...]) -> bool:
    """Return whether an input or output may have this shape, without the batch; a length without a number is open."""
    found = value.shape or []
    return len(found) == 1 + len(shape) and all(
        not isinstance(length, int) or length == wanted for length, wanted in zip(found[1:], shape, strict=True)
    )
