"""Images as a network sees them: of a split, of files, or of a log of predictions.

What goes into the last linear layer are the features that a network classifies by. That layer is found by what it
does, not by its name: it is the one whose outputs are the logits. A network that ends otherwise has no features here,
and neither has an exported file.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from slt_compress.data.splits import Split, count
from slt_compress.errors import DataError, few
from slt_compress.evaluation.accuracy import BATCH_SIZE, torch_classifier
from slt_compress.evaluation.networks import Network
from slt_compress.evaluation.scores import InputFeatures, Scores
from slt_compress.monitoring.counts import Observations
from slt_compress.prediction.log import LoggedRow
from slt_compress.prediction.predict import Unreadable, predict
from slt_compress.progress import ReportCount
from slt_compress.ticket.held_out import QUANTITIES

_OF_LAYER = ("feature_mean", "feature_std", "feature_norm")


class FeatureTap:
    """Keeps, image by image, what a network's features are like, until it is taken; of no network, there are none."""

    def __init__(self, module: nn.Module | None) -> None:
        self._last: tuple[torch.Tensor, torch.Tensor] | None = None
        self._waiting: deque[dict[str, float]] = deque()
        layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)] if module else []
        self._hooks = [layer.register_forward_hook(self._see) for layer in layers]
        self._hooks += [module.register_forward_hook(self._keep)] if module else []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def take(self) -> dict[str, float]:
        """Return the features of the next image, empty if the network has none."""
        return self._waiting.popleft() if self._waiting else {}

    def _see(self, _: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> None:
        self._last = (inputs[0], outputs)

    def _keep(self, _: nn.Module, __: tuple[Any, ...], logits: Any) -> None:
        last, self._last = self._last, None
        if last is None or last[0].ndim != 2 or not isinstance(logits, torch.Tensor) or last[1].shape != logits.shape:
            return
        features = last[0].detach().double()
        columns = (features.mean(1), features.std(1, correction=0), features.norm(dim=1))
        for row in torch.stack(columns, 1).tolist():
            self._waiting.append(dict(zip(_OF_LAYER, row, strict=True)))


@torch.no_grad()
def observe_split(
    module: nn.Module,
    split: Split,
    feed: Callable[[Any], Any],
    device: torch.device,
    report: ReportCount | None = None,
) -> Observations:
    """Return what a network of prepared images makes of a split of them, each with one label."""
    classifier = torch_classifier(module, device)
    rows: list[dict[str, float]] = []
    predicted, labels = [], []
    total = count(split)
    with FeatureTap(module) as tap:
        for images, targets in split.to(device).batches(BATCH_SIZE):
            scores, inputs = Scores.of(classifier(feed(images))), InputFeatures.of(images)
            columns = (scores.probabilities[:, 0], scores.margin, scores.entropy, scores.largest_logit)
            table = torch.stack([*columns, inputs.mean, inputs.contrast], 1).tolist()
            rows += [{**dict(zip(QUANTITIES, row, strict=False)), **tap.take()} for row in table]
            predicted.append(scores.classes[:, 0].numpy())
            labels.append(targets.cpu().numpy())
            if report and total:
                report(len(rows), total)
    return Observations(_columns(rows), np.concatenate(predicted), np.concatenate(labels))


def image_rows(network: Network, files: Iterable[Path], unreadable: Unreadable) -> Iterator[LoggedRow]:
    """Yield a row as in a log for each image that can be read, with the features of the network too.

    An image in a folder that is called as a class has it as its label.
    """
    known = set(network.record.classes)
    with FeatureTap(network.module) as tap:
        for prediction in predict(network, files, features=True, unreadable=unreadable):
            row: dict[str, Any] = {**prediction.fields(), **tap.take()}
            folder = Path(prediction.path).absolute().parent.name
            yield {**row, "label": folder} if folder in known else row


def observations(rows: Iterable[LoggedRow], classes: Sequence[str]) -> Observations:
    """Return rows as in a log as arrays. Raises DataError for a class that is none of the network's."""
    found = list(rows)
    places = {name: place for place, name in enumerate(classes)}
    predicted, labels = (_places(found, column, places) for column in ("class", "label"))
    return Observations(_columns(found), predicted, labels)


def _places(rows: Sequence[LoggedRow], column: str, places: dict[str, int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    try:
        return np.array([places[row[column]] if column in row else -1 for row in rows], np.int64)
    except KeyError as error:
        raise DataError(
            f"the {column} {str(error.args[0])!r} is none of the network's {len(places)} ({few(list(places))})"
        ) from error


def _columns(rows: Sequence[LoggedRow]) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    there = [name for name in QUANTITIES if any(name in row for row in rows)]
    return {name: np.array([row.get(name, np.nan) for row in rows], np.float64) for name in there}
