"""Measure a classifier, whatever runs it: a torch module or an ONNX file under onnxruntime."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from slt_compress.errors import VerificationError
from slt_compress.parallel import ALONE, Team
from slt_compress.pictures import Preprocessing, Report, Split, as_pixels

Classifier = Callable[[torch.Tensor], torch.Tensor]  # preprocessed pictures -> logits (n, classes)

BATCH_SIZE = 500


@dataclass(frozen=True)
class Evaluation:
    """Accuracy as a fraction, mean cross-entropy in nats, and the predicted class of every picture, int64 (n,)."""

    accuracy: float
    loss: float
    samples: int
    seconds: float
    predictions: torch.Tensor

    @property
    def finite_loss(self) -> float | None:
        """The loss, None if it is not finite, as JSON can tell it."""
        return self.loss if math.isfinite(self.loss) else None


@torch.no_grad()
def evaluate(
    classifier: Classifier,
    split: Split,
    preprocessing: Callable[[torch.Tensor], torch.Tensor],
    report: Report | None = None,
    team: Team = ALONE,
) -> Evaluation:
    """Classify every picture of a split, in stored order. `report` gets the number done and the total.

    `preprocessing` turns uint8 (n, channels, size, size) into what the classifier takes. The processes of a `team`
    share the pictures, and all get the same result.
    """
    start = time.perf_counter()
    loss, predictions, correct = 0.0, [], 0
    part = team.part(split)
    done = 0
    for images, truth in part.batches(BATCH_SIZE):
        logits = classifier(preprocessing(images)).float()
        loss += F.cross_entropy(logits, truth, reduction="sum").item()
        predictions.append(logits.argmax(1).cpu())
        correct += int((predictions[-1] == truth.cpu()).sum())
        done += len(truth)
        if report:
            report(done, len(part))
    predicted = torch.zeros(len(split), dtype=torch.int64)
    predicted[team.rank :: team.size] = torch.cat(predictions)
    sums = team.add_up(torch.tensor([correct, loss], dtype=torch.float64))
    return Evaluation(
        accuracy=sums[0].item() / len(split),
        loss=sums[1].item() / len(split),
        samples=len(split),
        seconds=time.perf_counter() - start,
        predictions=team.add_up(predicted),
    )


def torch_classifier(module: nn.Module, device: torch.device) -> Classifier:
    """Return the module on a device, in evaluation mode, as a classifier."""
    return module.to(device).eval()


class OnnxClassifier:
    """An exported network under onnxruntime on the CPU.

    Attributes:
        metadata: what `export` recorded in the file: data set, classes, preprocessing, sparsity and origin.
        preprocessing: what turns uint8 (n, channels, size, size) into the file's input.
    """

    def __init__(self, path: Path) -> None:
        """Raises VerificationError if the file is not an ONNX model, or not one that `export` wrote."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
            recorded = self._session.get_modelmeta().custom_metadata_map
            self.metadata: dict[str, Any] = json.loads(recorded["slt_compress"])
            normalise = Preprocessing(**self.metadata["preprocessing"])
            self.preprocessing = as_pixels if self.metadata["input"] == "pixels" else normalise
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise VerificationError(f"{path} was not exported by slt-compress: it records no preprocessing") from error
        except Exception as error:  # onnxruntime's errors share no base class
            raise VerificationError(f"onnxruntime cannot load {path}: {_first_line(error)}") from error
        self._input = self._session.get_inputs()[0].name

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        (logits,) = self._session.run(None, {self._input: images.cpu().numpy()})
        return torch.from_numpy(logits)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
