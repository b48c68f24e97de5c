"""Write a network as ONNX and prove that the written file computes what the network does."""

import contextlib
import json
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from slt_compress.errors import UsageError, VerificationError
from slt_compress.files import check_writable, write_atomically

DEFAULT_OPSET = 20
OPSETS = range(18, 24)  # what torch's exporter writes and the oldest supported onnxruntime reads
TOLERANCE = 1e-3  # of the logits' largest magnitude: another order of summation, over a whole network
_PROBE_BATCHES = (1, 3)  # two sizes, so that a batch dimension that is not dynamic shows


@dataclass(frozen=True)
class Exported:
    """What was written, and how far its outputs are from torch's on random inputs, absolute and at most."""

    bytes: int
    opset: int
    max_abs_difference: float


def export_dense(
    module: nn.Module,
    input_shape: tuple[int, int, int],
    path: Path,
    metadata: dict[str, Any],
    opset: int | None = None,
) -> Exported:
    """Write `module` with its weights as fp32 constants; input `images` (batch, *input_shape), output `logits`.

    `metadata` is stored as JSON under the key `slt_compress`. The file appears only after onnxruntime has loaded it and
    agreed with torch.

    Raises UsageError for an opset out of range, VerificationError if the exported graph does not agree.
    """
    opset = opset or DEFAULT_OPSET
    if opset not in OPSETS:
        raise UsageError(f"--opset must be from {OPSETS.start} to {OPSETS.stop - 1}, got {opset}")
    check_writable(path)
    module = module.cpu().eval()
    example = torch.zeros(2, *input_shape)
    with _quiet():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=opset,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["images"],
            output_names=["logits"],
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    entry = model.metadata_props.add()
    entry.key, entry.value = "slt_compress", json.dumps(metadata, sort_keys=True)
    model.producer_name = "slt-compress"
    content = model.SerializeToString()
    difference = _max_difference(module, content, input_shape)
    write_atomically(path, content)
    return Exported(len(content), opset, difference)


def _max_difference(module: nn.Module, content: bytes, input_shape: tuple[int, int, int]) -> float:
    """Check the graph, run it beside torch, and return the largest difference of a logit."""
    import onnx
    import onnxruntime

    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    worst = 0.0
    generator = torch.Generator().manual_seed(0)
    for batch in _PROBE_BATCHES:
        images = torch.randn(batch, *input_shape, generator=generator)
        with torch.no_grad():
            expected = module(images).numpy()
        (found,) = session.run(None, {"images": images.numpy()})
        difference = float(np.abs(found - expected).max())
        if found.shape != expected.shape or not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
            raise VerificationError(
                f"the exported graph differs from torch by {difference:.2g} on logits up to "
                f"{np.abs(expected).max():.2g}: nothing was written"
            )
        worst = max(worst, difference)
    return worst


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
