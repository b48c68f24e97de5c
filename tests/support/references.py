"""References and observations without a network."""

import numpy as np

from slt_compress.monitoring.counts import Observations
from slt_compress.ticket.held_out import QUANTITIES, Reference

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
