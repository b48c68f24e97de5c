"""Classify images in files."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from slt_compress.data.preprocessing import Preprocessing
from slt_compress.errors import DataError, UsageError
from slt_compress.evaluation.accuracy import Details
from slt_compress.evaluation.networks import Network, open_network
from slt_compress.evaluation.scores import InputFeatures, Scores
from slt_compress.models.defaults import torch_defaults
from slt_compress.models.source import Given
from slt_compress.prediction.log import Prediction
from slt_compress.tasks.record import CLASSIFICATION
from slt_compress.ticket.record import NetworkRecord
from slt_compress.ticket.ticket import Ticket

BATCH_SIZE = 32  # images that are decoded before the network runs

Unreadable = Callable[[str, DataError], None]  # an image as it was named, what is wrong with it


def predict(
    network: Ticket | Network | str | Path,
    images: Iterable[str | Path],
    *,
    top: int = 1,
    features: bool = False,
    unreadable: Unreadable | None = None,
    device: str = "auto",
    source: Given | None = None,
) -> Iterator[Prediction]:
    """Return an iterator over what a classifier makes of images in files, which it decodes as it goes.

    Args:
        network: a ticket, the file of one, or an exported `.onnx` file, which runs under onnxruntime.
        images: files, any number of them.
        top: how many classes are given of each image.
        features: whether the features of the image and of the outputs are given too, see `prediction.log`.
        unreadable: is called with an image that cannot be read, which is then left out. Without it, the error is
            raised.
        device: where a ticket's network computes: "auto", "cpu", "cuda" or "mps".
        source: your module, or the function that builds it, for a ticket of one.

    Raises UsageError if the network does not give one class an image, or has fewer than `top` classes; TicketError or
    VerificationError if the file is not what it should be; DataError, while it iterates, if an image cannot be read.
    """
    with torch_defaults():
        opened = network if isinstance(network, Network) else open_network(network, device, source)
    prepare = check_classifies(opened.record)
    if not 1 <= top <= len(opened.record.classes):
        raise UsageError(f"`top` must be from 1 to the network's {len(opened.record.classes)} classes, got {top}")
    return _predictions(opened, prepare, iter(images), top, features, unreadable)


def check_classifies(record: NetworkRecord) -> Preprocessing:
    """Return how images are prepared for a network that gives one class an image. Raises UsageError for another one."""
    if record.preprocessing is None:
        raise UsageError("this network does not take images: it was found on data of your own")
    if record.task.name != CLASSIFICATION or [one.shape for one in record.outputs] != [(len(record.classes),)]:
        raise UsageError(f"this network does not give one class an image: it is for {record.task.name}")
    return record.preprocessing


def _predictions(
    network: Network,
    prepare: Preprocessing,
    images: Iterator[str | Path],
    top: int,
    features: bool,
    unreadable: Unreadable | None,
) -> Iterator[Prediction]:
    classes = network.record.classes
    while batch := list(itertools.islice(images, BATCH_SIZE)):
        names, decoded = _decoded(batch, prepare, unreadable)
        if not names:
            continue
        pixels = torch.cat(decoded)
        with torch_defaults(), torch.no_grad():
            logits: Any = network.classifier(network.feed(pixels.to(network.device)))
            scores = Scores.of(logits, top)
        inputs = InputFeatures.of(pixels) if features else None
        for place, name in enumerate(names):
            yield _prediction(name, scores, inputs, place, classes)


def logged(details: Details, classes: Sequence[str], unnamed: str) -> Iterator[Prediction]:
    """Yield a line of a log for each image of an evaluation, with features and the true class.

    An image that has no name gets `unnamed` and its place, such as cifar10/test/17.
    """
    for place, target in enumerate(details.targets.tolist()):
        name = details.names[place] if details.names else f"{unnamed}/{place}"
        yield _prediction(name, details.scores, details.inputs, place, classes, classes[target])


def _prediction(
    name: str,
    scores: Scores,
    inputs: InputFeatures | None,
    place: int,
    classes: Sequence[str],
    label: str | None = None,
) -> Prediction:
    """Return the line of a log for the image at a place among scores."""
    ranked = zip(scores.classes[place].tolist(), scores.probabilities[place].tolist(), strict=True)
    values = (scores.entropy, scores.largest_logit, inputs.mean, inputs.contrast) if inputs else ()
    return Prediction(
        path=name,
        ranked=tuple((classes[index], probability) for index, probability in ranked),
        margin=scores.margin[place].item(),
        features=tuple(value[place].item() for value in values),
        label=label,
    )


def _decoded(
    files: Sequence[str | Path], prepare: Preprocessing, unreadable: Unreadable | None
) -> tuple[list[str], list[torch.Tensor]]:
    """Return the names of the images that can be read, and each as uint8 (1, channels, size, size)."""
    names, decoded = [], []
    for file in files:
        try:
            decoded.append(prepare.open(file))
        except DataError as error:
            if unreadable is None:
                raise
            unreadable(str(file), error)
            continue
        names.append(str(file))
    return names, decoded
