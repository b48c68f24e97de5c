"""What counts of a window say, beside those of a reference: drift, accuracy, alarms.

All tests of a window share one rate of false alarms equally (Bonferroni), so that together they raise no more of them,
however the quantities depend on each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from slt_compress.monitoring import drift
from slt_compress.monitoring.config import FEWEST_IMAGES, MonitorConfig
from slt_compress.monitoring.counts import Counts
from slt_compress.ticket.held_out import PROBABILITY, QUANTITIES, Reference

CLASSES = "class"
_LOW_SHARE = 0.1  # of the held-out images, those whose probability counts as low
_DEVIATIONS = 1.96  # of a normal variable: 95 % lie within


@dataclass(frozen=True)
class Drift:
    """How far a quantity is from the reference.

    Attributes:
        quantity: a name among `ticket.held_out.QUANTITIES`, or "class", of the predicted classes.
        images: of which it is known.
        psi, psi_limit: the population stability index, and what it may be by chance.
        ks, ks_limit: the Kolmogorov–Smirnov statistic, likewise; None of classes, which have no order.
        alarm: whether one of them is too large.
    """

    quantity: str
    images: int
    psi: float
    psi_limit: float
    ks: float | None
    ks_limit: float | None
    alarm: bool


@dataclass(frozen=True)
class Window:
    """What is found of some images in a row.

    Attributes:
        first: place of its first image among all, from 0.
        images: how many there are.
        drifts: of the quantities that could be judged.
        not_judged: the other quantities, with the reason.
        low_confidence: share of images whose probability is lower than that of about a tenth of the held-out ones.
        low_confidence_reference: that share of the held-out images.
        estimated_accuracy: share of images that are surer than the bar above which as many held-out images are as were
            classified rightly.
        estimated_error: half of the interval of 95 % around it, as far as it comes from chance.
        calibrated_accuracy: another estimate, by the accuracy of held-out images with the same probability.
        accuracy: of the images with a label.
        labelled: how many have one.
        alarms: the reason of each, empty if there is none.
    """

    first: int
    images: int
    drifts: tuple[Drift, ...]
    not_judged: dict[str, str]
    low_confidence: float | None
    low_confidence_reference: float | None
    estimated_accuracy: float | None
    estimated_error: float | None
    calibrated_accuracy: float | None
    accuracy: float | None
    labelled: int
    alarms: tuple[str, ...]


def judge(reference: Reference, counts: Counts, config: MonitorConfig = MonitorConfig(), first: int = 0) -> Window:
    """Return what the counts of a window say."""
    samples, not_judged = _samples(reference, counts)
    # Two tests of a quantity, one of the classes, which have no order, and one of the accuracy.
    has_accuracy = counts.labelled >= FEWEST_IMAGES and reference.correct is not None
    tests = sum(1 if name == CLASSES else 2 for name in samples) + has_accuracy
    chance = config.false_alarms / max(1, tests)
    drifts = tuple(_drift(name, *sample, chance, config.threshold) for name, sample in samples.items())
    alarms = [_reason(one) for one in drifts if one.alarm]
    if has_accuracy and reference.correct is not None:
        right, correct = counts.right, sum(reference.correct)
        if drift.fewer_right(right, counts.labelled, correct, reference.images) < chance:
            found, before = right / counts.labelled, correct / reference.images
            alarms.append(f"accuracy {found:.2%} of {counts.labelled:,} labelled images, {before:.2%} of held-out ones")
    low, low_reference = _low_confidence(reference, counts)
    return Window(
        first=first,
        images=counts.images,
        drifts=drifts,
        not_judged=not_judged,
        low_confidence=low,
        low_confidence_reference=low_reference,
        **_estimates(reference, counts),
        accuracy=counts.right / counts.labelled if counts.labelled else None,
        labelled=counts.labelled,
        alarms=tuple(alarms),
    )


_Sample = tuple[drift.Counts, drift.Counts]


def _samples(reference: Reference, counts: Counts) -> tuple[dict[str, _Sample], dict[str, str]]:
    """Return what can be compared, in bins that are wide enough, and why the rest cannot."""
    there: dict[str, tuple[Sequence[int], Sequence[int]] | None] = {
        name: (reference.quantities[name].counts, counts.quantities.get(name, ()))
        if name in reference.quantities
        else None
        for name in QUANTITIES
    }
    samples: dict[str, _Sample] = {}
    not_judged: dict[str, str] = {}
    for name, pair in {**there, CLASSES: (reference.classes, counts.classes)}.items():
        if pair is None:
            not_judged[name] = "not in the reference"
        elif not sum(pair[1]):
            not_judged[name] = "not known of these images"
        elif min(map(sum, pair)) < FEWEST_IMAGES:
            whose = "the window has" if sum(pair[1]) < FEWEST_IMAGES else "the reference has"
            not_judged[name] = f"{whose} {min(map(sum, pair))} images, {FEWEST_IMAGES} are needed"
        else:
            sample = drift.joined(*pair)
            if len(sample[0]) > 1:
                samples[name] = sample
            else:
                not_judged[name] = "nearly the same for all held-out images"
    return samples, not_judged


def _drift(name: str, reference: drift.Counts, window: drift.Counts, chance: float, threshold: float) -> Drift:
    psi, psi_limit = drift.psi(reference, window), drift.psi_limit(reference, window, chance)
    ks = ks_limit = None
    alarm = psi > psi_limit
    if name != CLASSES:
        ks, ks_limit = drift.ks(reference, window), drift.ks_limit(reference, window, chance)
        alarm = alarm or ks > ks_limit
    return Drift(name, int(window.sum()), psi, psi_limit, ks, ks_limit, alarm and psi >= threshold)


def _reason(found: Drift) -> str:
    ks = "" if found.ks is None else f", KS {found.ks:.3f} (chance: up to {found.ks_limit:.3f})"
    return f"{found.quantity} PSI {found.psi:.3f} (chance: up to {found.psi_limit:.3f}){ks}"


def _low_confidence(reference: Reference, counts: Counts) -> tuple[float | None, float | None]:
    """Return the share of images in the lowest bins of the probability, in the window and the reference."""
    if PROBABILITY not in counts.quantities:
        return None, None
    held_out, window = reference.quantities[PROBABILITY].counts, counts.quantities[PROBABILITY]
    shares = [sum(held_out[:end]) / sum(held_out) for end in range(len(held_out))]
    end = min(range(len(shares)), key=lambda place: abs(shares[place] - _LOW_SHARE))
    return sum(window[:end]) / sum(window), shares[end]


def _estimates(reference: Reference, counts: Counts) -> dict[str, float | None]:
    """Return the accuracy that the probabilities of the images speak for, in two ways, see docs/monitoring.md.

    The first one takes for wrong what is less sure than as many held-out images as were wrong; its error is that of two
    binomial shares. The second one takes for each bin the accuracy that held-out images had there.
    """
    if PROBABILITY not in counts.quantities or reference.correct is None:
        return dict.fromkeys(("estimated_accuracy", "estimated_error", "calibrated_accuracy"))
    window, held_out = counts.quantities[PROBABILITY], reference.quantities[PROBABILITY].counts
    images, sure, calibrated = sum(window), 0.0, 0.0
    wrong = sum(held_out) - sum(reference.correct)
    for number, there, correct in zip(window, held_out, reference.correct, strict=True):
        least_sure = min(wrong, there)
        wrong -= least_sure
        sure += number * (1 - least_sure / there) if there else number * (wrong == 0)
        calibrated += number * (correct / there if there else 0.5)
    share = (sure + 1) / (images + 2)  # no share of a few images is certain
    variance = share * (1 - share) * (1 / images + 1 / reference.images)
    return {
        "estimated_accuracy": sure / images,
        "estimated_error": _DEVIATIONS * sqrt(variance),
        "calibrated_accuracy": calibrated / images,
    }
