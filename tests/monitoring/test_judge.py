"""Windows judged: false alarms over all quantities together, shifts found, accuracy with and without labels."""

from dataclasses import replace

import numpy as np
import pytest

from slt_compress.monitoring.config import MonitorConfig
from slt_compress.monitoring.counts import Counts, Observations
from slt_compress.monitoring.judge import Window, judge
from slt_compress.ticket.held_out import QUANTITIES, Reference
from tests.support.references import CLASSES, reference_of, seen

NO_THRESHOLD = MonitorConfig(threshold=0)
WINDOWS = 300


def window_of(reference: Reference, observations: Observations, config: MonitorConfig = NO_THRESHOLD) -> Window:
    return judge(reference, Counts.of(observations, reference, CLASSES), config)


@pytest.mark.parametrize(("held_out", "images"), [(143, 100), (143, 1000), (5000, 500)])
def test_unchanged_images_raise_an_alarm_in_at_most_a_hundredth_of_the_windows(held_out: int, images: int) -> None:
    """Of ten independent quantities and the accuracy, each time with a new reference: its error counts too."""
    generator = np.random.default_rng(held_out + images)
    alarms = 0
    for _ in range(WINDOWS):
        reference = reference_of(seen(held_out, generator))
        window = window_of(reference, seen(images, generator))
        assert len(window.drifts) == len(QUANTITIES) + 1
        alarms += bool(window.alarms)
    assert alarms <= 0.01 * WINDOWS + 3 * (0.01 * WINDOWS) ** 0.5


def test_a_changed_quantity_raises_an_alarm_of_itself() -> None:
    generator = np.random.default_rng(0)
    reference = reference_of(seen(2000, generator))
    for name in QUANTITIES:
        found = seen(500, generator)
        quantities = {**found.quantities, name: found.quantities[name] * 1.5 + 0.5}
        window = window_of(reference, Observations(quantities, found.predicted, found.labels))
        assert [one.quantity for one in window.drifts if one.alarm] == [name]
        assert window.alarms[0].startswith(f"{name} PSI ")
    biased = replace(
        found, predicted=np.where(generator.random(500) < 0.3, 3, found.predicted), labels=found.labels * 0 - 1
    )
    assert [one.quantity for one in window_of(reference, biased).drifts if one.alarm] == ["class"]


def test_a_drift_below_the_threshold_raises_none() -> None:
    generator = np.random.default_rng(1)
    reference = reference_of(seen(5000, generator))
    found = seen(5000, generator, shift=0.15)
    assert len(window_of(reference, found).alarms) == len(QUANTITIES)
    small = window_of(reference, found, MonitorConfig(threshold=0.05))
    assert all(one.psi > one.psi_limit and one.psi < 0.05 for one in small.drifts if one.quantity != "class")
    assert not small.alarms


def test_the_accuracy_is_estimated_from_probabilities_and_measured_where_there_are_labels() -> None:
    """Of a network whose images are right with their probability, also where it is less sure than before."""
    generator = np.random.default_rng(2)

    def sure(images: int, power: float) -> Observations:
        found = seen(images, generator)
        probability = generator.random(images) ** power
        wrong = generator.random(images) > probability
        labels = np.where(wrong, (found.predicted + 1) % CLASSES, found.predicted)
        return Observations({"probability": probability}, found.predicted, labels)

    reference = reference_of(sure(5000, 0.1))
    for power in (0.1, 0.2, 0.3):
        found = sure(5000, power)
        window = window_of(reference, found)
        assert window.accuracy is not None
        assert window.accuracy == pytest.approx((found.predicted == found.labels).mean())
        least = window.accuracy - (0.02 if power == 0.1 else 0.25)  # too careful where probabilities can be trusted
        assert window.estimated_accuracy is not None
        assert least < window.estimated_accuracy < window.accuracy + 0.02
        assert window.calibrated_accuracy == pytest.approx(window.accuracy, abs=0.05)
        assert window.estimated_error is not None
        assert 0 < window.estimated_error < 0.1
        assert bool([alarm for alarm in window.alarms if alarm.startswith("accuracy ")]) == (power > 0.1)
    assert window.low_confidence is not None
    assert window.low_confidence > 2 * (window.low_confidence_reference or 0)


def test_what_cannot_be_judged_is_named() -> None:
    generator = np.random.default_rng(3)
    reference = reference_of(seen(200, generator))
    few = window_of(reference, seen(29, generator))
    assert not few.drifts
    assert not few.alarms
    assert set(few.not_judged) == {*QUANTITIES, "class"}
    assert few.not_judged["entropy"] == "the window has 29 images, 30 are needed"
    found = seen(100, generator)
    log = Observations({"margin": found.quantities["margin"]}, found.predicted - 100, found.labels)
    window = window_of(reference, log)
    assert [one.quantity for one in window.drifts] == ["margin"]
    assert window.not_judged["class"] == window.not_judged["entropy"] == "not known of these images"
    assert (window.accuracy, window.estimated_accuracy, window.low_confidence, window.labelled) == (None, None, None, 0)
    without = replace(reference, quantities={"margin": reference.quantities["margin"]}, correct=None)
    assert window_of(without, found).not_judged["entropy"] == "not in the reference"
    assert window_of(without, found).estimated_accuracy is None
    same = Observations({"margin": np.ones(200)}, found.predicted.repeat(2), found.labels.repeat(2))
    constant = Reference.of(same.quantities, same.predicted, None, CLASSES)
    assert window_of(constant, same).not_judged["margin"] == "nearly the same for all held-out images"
