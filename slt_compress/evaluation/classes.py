"""How well a classifier does class by class, and whether its probabilities are what they say."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

CALIBRATION_BINS = 15  # as is usual since Guo et al. 2017


@dataclass(frozen=True)
class ClassFigures:
    """What became of the images of one class. A share of nothing is None.

    Attributes:
        name: of the class.
        images: how many there are of it.
        precision: share of the images predicted as this class that are of it.
        recall: share of its images that are predicted as it.
        f1: harmonic mean of the two.
    """

    name: str
    images: int
    precision: float | None
    recall: float | None
    f1: float | None


def confusion_matrix(predictions: torch.Tensor, targets: torch.Tensor, classes: int) -> torch.Tensor:
    """Return int64 (classes, classes): how many images of the class of a row are predicted as that of a column.

    `predictions` and `targets` are int64 (n,).
    """
    return torch.bincount(targets * classes + predictions, minlength=classes**2).reshape(classes, classes)


def class_figures(confusion: torch.Tensor, names: Sequence[str]) -> list[ClassFigures]:
    """Return the figures of each class of a confusion matrix."""
    hits = confusion.diagonal().tolist()
    found = []
    for name, right, true, predicted in zip(
        names, hits, confusion.sum(1).tolist(), confusion.sum(0).tolist(), strict=True
    ):
        precision, recall, f1 = _share(right, predicted), _share(right, true), _share(2 * right, true + predicted)
        found.append(ClassFigures(name, true, precision, recall, f1))
    return found


def calibration_error(confidence: torch.Tensor, right: torch.Tensor) -> float:
    """Return the expected calibration error: how far, on average over the images, the probability of the predicted
    class is from the share that is right among images of like probability, in 15 bins of equal width (Guo et al. 2017,
    arXiv:1706.04599, equation 3).

    `confidence` is float32 (n,), `right` bool (n,).
    """
    bins = (confidence.double() * CALIBRATION_BINS).ceil().long().sub(1).clamp(0, CALIBRATION_BINS - 1)
    gaps = torch.zeros(CALIBRATION_BINS, dtype=torch.float64).index_add_(0, bins, confidence.double() - right.double())
    return gaps.abs().sum().item() / len(confidence)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
