"""An exported network under onnxruntime, on the CPU."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnxruntime
import torch
from torch.utils._pytree import tree_leaves

from slt_compress.data.batches import Feed, Tensors, as_given
from slt_compress.data.preprocessing import as_pixels
from slt_compress.errors import VerificationError, first_line
from slt_compress.ticket.record import PIXELS, NetworkRecord

METADATA_KEY = "slt_compress"


def open_session(model: str | bytes, options: onnxruntime.SessionOptions | None = None) -> Any:
    """Return a session for a file, given by name or content, with as many threads as torch has and no warnings."""
    options = options or onnxruntime.SessionOptions()
    options.log_severity_level = 3
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
    """An exported network as a classifier.

    Attributes:
        record: what `export` recorded in the file.
        feed: what turns the inputs of a split, such as uint8 (n, channels, size, size), into the file's.
    """

    def __init__(self, path: Path) -> None:
        """Raises VerificationError if the file is not an ONNX model, or not one that `export` wrote."""
        try:
            self._session = open_session(str(path))
            recorded = self._session.get_modelmeta().custom_metadata_map
            self.record = NetworkRecord.from_json(json.loads(recorded[METADATA_KEY]))
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise VerificationError(f"{path} was not exported by slt-compress: it records no preprocessing") from error
        except Exception as error:  # onnxruntime's errors share no base class
            raise VerificationError(f"onnxruntime cannot load {path}: {first_line(error)}") from error
        self.feed: Feed = as_pixels if self.record.input == PIXELS else self.record.preprocessing or as_given

    def __call__(self, inputs: Tensors) -> Tensors:
        return run(self._session, inputs)
