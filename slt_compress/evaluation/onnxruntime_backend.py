"""An exported network under onnxruntime, on the CPU."""

import json
from pathlib import Path
from typing import Any

import onnxruntime
import torch

from slt_compress.data.preprocessing import as_pixels
from slt_compress.errors import VerificationError
from slt_compress.ticket.record import PIXELS, NetworkRecord

METADATA_KEY = "slt_compress"


def open_session(model: str | bytes, options: onnxruntime.SessionOptions | None = None) -> Any:
    """Return a session for a file, given by name or content, with as many threads as torch has and no warnings."""
    options = options or onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)


class OnnxClassifier:
    """An exported network as a classifier.

    Attributes:
        record: what `export` recorded in the file.
        feed: what turns uint8 (n, channels, size, size) into the file's input.
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
            raise VerificationError(f"onnxruntime cannot load {path}: {_first_line(error)}") from error
        self.feed = as_pixels if self.record.input == PIXELS else self.record.preprocessing
        self._input = self._session.get_inputs()[0].name

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        (logits,) = self._session.run(None, {self._input: images.cpu().numpy()})
        return torch.from_numpy(logits)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
