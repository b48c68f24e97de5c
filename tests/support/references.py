"""References and observations, without a network and of the session's ticket."""

from pathlib import Path

import numpy as np
from PIL import Image

from slt_compress.monitoring.counts import Observations
from slt_compress.monitoring.observe import observe_split
from slt_compress.ticket.held_out import QUANTITIES, Reference
from slt_compress.ticket.ticket import Ticket
from tests.support.digits import CPU, DIGITS, PREPROCESSING, VALIDATION

CLASSES = 10


def seen(count: int, generator: np.random.Generator, shift: float = 0.0, accuracy: float = 0.9) -> Observations:
    """Return what a made-up network sees of `count` images: independent quantities, each moved by `shift` of its
    standard deviations, and labels for all.
    """
    values = dict(zip(QUANTITIES, generator.normal(shift, 1, (len(QUANTITIES), count)), strict=True))
    values["probability"] = 1 / (1 + np.exp(-values["probability"]))
    predicted = generator.integers(0, CLASSES, count)
    wrong = generator.random(count) > accuracy
    return Observations(values, predicted, np.where(wrong, (predicted + 1) % CLASSES, predicted))


def reference_of(observations: Observations) -> Reference:
    return Reference.of(observations.quantities, observations.predicted, observations.labels, CLASSES)


def with_reference(ticket: Ticket) -> Ticket:
    """Return a ticket of digits with how it sees the held-out ones."""
    held_out = observe_split(ticket.restore(), VALIDATION, PREPROCESSING, CPU)
    return ticket.with_reference(reference_of(held_out))


def write_pictures(folder: Path) -> Path:
    """Write the 360 test images of digits into folders 0 to 9, by their place in the split."""
    images, labels = next(DIGITS.read("test", 8).batches(1000))
    for place, (image, label) in enumerate(zip(images.numpy(), labels.tolist(), strict=True)):
        (folder / str(label)).mkdir(exist_ok=True)
        Image.fromarray(image[0]).save(folder / str(label) / f"{place:03}.png")
    return folder
