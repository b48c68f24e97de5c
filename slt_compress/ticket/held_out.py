"""The reference of a network: how it saw held-out images, in a few hundred bytes, to compare later images with.

Of each quantity, the file holds the edges of about ten bins, which are quantiles of the held-out images, rounded to
float16, and how many of these images fell into each. A value counts into the bin whose number is that of the edges that
are not above it. Predicted classes are counted too, and for each bin of the probability the images that were classified
rightly.

docs/ticket-format-2.md has the bytes. Needs no torch.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from slt_compress.errors import TicketError

PROBABILITY = "probability"
QUANTITIES = (  # in the order of the file
    *(PROBABILITY, "margin", "entropy", "largest_logit", "input_mean", "input_contrast"),
    *("feature_mean", "feature_std", "feature_norm"),
)
MAX_IMAGES = 2**16 - 1
MAX_GROUPS = 48  # of classes: more would take more bytes, and have too few images each
MAX_CLASSES = 100_000

# Of the images, the shares below the edges. Thin bins at both ends show a few images that are unlike all others: with
# deciles, a window of 2,000 with 2 % of foreign images raised an alarm in 5 % of all cases, with these in all.
_SHARES = (0.01, 0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99)
# What a network is unsure of tells most about its accuracy.
_SHARES_OF_PROBABILITY = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8)

Values = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Bins:
    """How a quantity was distributed.

    Attributes:
        edges: ascending, each a float16.
        counts: of the images below the first edge, between two, and from the last on.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, values: Values, shares: tuple[float, ...] = _SHARES) -> "Bins":
        """Return bins of values, (n,), whose edges are their quantiles; equal ones are one edge."""
        limit = float(np.finfo(np.float16).max)
        quantiles = np.quantile(values, shares, method="inverted_cdf").clip(-limit, limit)
        edges = np.unique(quantiles.astype(np.float16)).astype(np.float64)
        return cls(tuple(edges.tolist()), count(values, tuple(edges.tolist())))


@dataclass(frozen=True)
class Reference:
    """How a network saw held-out images.

    Attributes:
        images: how many there were.
        quantities: their bins, by names among `QUANTITIES` and in that order.
        classes: images by the group of the predicted class, see `group_of`.
        correct: of the images in each bin of the probability, those that were classified rightly; None where nobody
            knows.

    Raises TicketError for what does not fit together.
    """

    images: int
    quantities: Mapping[str, Bins]
    classes: tuple[int, ...]
    correct: tuple[int, ...] | None

    def __post_init__(self) -> None:
        names = list(self.quantities)
        if not 1 <= self.images <= MAX_IMAGES:
            raise TicketError(f"its reference should be of 1 to {MAX_IMAGES:,} images, found {self.images}")
        if names != [name for name in QUANTITIES if name in names]:
            raise TicketError(f"the quantities of its reference should be some of {', '.join(QUANTITIES)} in order")
        for name, bins in self.quantities.items():
            if not all(np.isfinite(bins.edges)) or not all(np.diff(bins.edges) > 0):
                raise TicketError(f"the edges of {name} in its reference should be finite and ascend")
            _check_counts(name, bins.counts, len(bins.edges) + 1, self.images)
        if not 1 <= len(self.classes) <= MAX_GROUPS:
            raise TicketError(f"its reference should have 1 to {MAX_GROUPS} groups of classes")
        _check_counts("the classes", self.classes, len(self.classes), self.images)
        if self.correct is not None:
            counts = self.quantities[PROBABILITY].counts if PROBABILITY in names else ()
            if len(self.correct) != len(counts) or not all(map(_within, self.correct, counts)):
                raise TicketError("its reference should have at most as many right images as images in each bin")

    @property
    def accuracy(self) -> float | None:
        """Share of the images that were classified rightly, None where nobody knows."""
        return None if self.correct is None else sum(self.correct) / self.images

    @property
    def digest(self) -> str:
        """What names the reference where its bins are used."""
        return sha256(self.to_bytes()).hexdigest()[:16]

    @classmethod
    def of(
        cls,
        quantities: Mapping[str, Values],
        predicted: Classes,
        labels: Classes | None,
        number_of_classes: int,
    ) -> "Reference":
        """Return the reference of images, by their quantities and predicted and true classes, each (n,)."""
        chosen = {}
        for name in (one for one in QUANTITIES if one in quantities):
            shares = _SHARES_OF_PROBABILITY if name == PROBABILITY else _SHARES
            chosen[name] = Bins.of(quantities[name], shares)
        groups = np.bincount(group_of(predicted, number_of_classes), minlength=group_count(number_of_classes))
        correct = None
        if labels is not None:
            right = quantities[PROBABILITY][predicted == labels]
            correct = count(right, chosen[PROBABILITY].edges)
        return cls(len(predicted), chosen, tuple(groups.tolist()), correct)

    def to_json(self) -> dict[str, Any]:
        """Return the reference for people and other tools; it is read from `to_bytes` alone."""
        return {
            "images": self.images,
            "accuracy": self.accuracy,
            "quantities": {name: {"edges": one.edges, "counts": one.counts} for name, one in self.quantities.items()},
            "classes": self.classes,
            "correct": self.correct,
            "digest": self.digest,
        }

    def to_bytes(self) -> bytes:
        """Return the bytes that `from_bytes` reads; equal references have equal bytes."""
        parts = [struct.pack("<HBBB", self.images, len(self.classes), self.correct is not None, len(self.quantities))]
        for name, bins in self.quantities.items():
            parts.append(struct.pack("<BB", QUANTITIES.index(name), len(bins.edges)))
            parts += [np.array(bins.edges, "<f2").tobytes(), np.array(bins.counts, "<u2").tobytes()]
        parts += [np.array(counts, "<u2").tobytes() for counts in (self.classes, self.correct or ())]
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Reference":
        """Read what `to_bytes` wrote. Raises TicketError for anything else."""
        rest = _Rest(content)
        images, groups, labelled, number = struct.unpack("<HBBB", rest.take(5))
        quantities: dict[str, Bins] = {}
        for _ in range(number):
            place, edges = rest.take(2)
            if place >= len(QUANTITIES) or QUANTITIES[place] in quantities:
                raise TicketError(f"its reference has the quantity {place} twice, or there is none such")
            quantities[QUANTITIES[place]] = Bins(rest.floats(edges), rest.counts(edges + 1))
        classes = rest.counts(groups)
        correct = None
        if labelled:
            if labelled > 1 or PROBABILITY not in quantities:
                raise TicketError("its reference says of right images what cannot be")
            correct = rest.counts(len(quantities[PROBABILITY].counts))
        if rest.left:
            raise TicketError(f"its reference has {rest.left} bytes too many")
        return cls(images, quantities, classes, correct)


def count(values: Values, edges: tuple[float, ...]) -> tuple[int, ...]:
    """Return how many values, (n,), lie in each bin; those that are not a number lie in none."""
    known = values[~np.isnan(values)]
    places = np.searchsorted(np.array(edges, np.float64), known, side="right")
    return tuple(np.bincount(places, minlength=len(edges) + 1).tolist())


def group_count(classes: int) -> int:
    """Return how many groups so many classes make."""
    return min(MAX_GROUPS, classes)


def group_of(classes: Classes, number: int) -> Classes:
    """Return the group of each class: itself, or where there are more than `MAX_GROUPS`, that of its neighbours too."""
    return classes if number <= MAX_GROUPS else classes * MAX_GROUPS // number


class _Rest:
    """What is left to read."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._content) - self._at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise TicketError(f"its reference is too short: {size} bytes are needed, {self.left} are left")
        self._at += size
        return self._content[self._at - size : self._at]

    def floats(self, number: int) -> tuple[float, ...]:
        return tuple(np.frombuffer(self.take(2 * number), "<f2").astype(np.float64).tolist())

    def counts(self, number: int) -> tuple[int, ...]:
        return tuple(np.frombuffer(self.take(2 * number), "<u2").tolist())


def _check_counts(what: str, counts: tuple[int, ...], length: int, images: int) -> None:
    if len(counts) != length or min(counts) < 0 or sum(counts) != images:
        raise TicketError(f"{what} in its reference should have {length} counts of {images:,} images together")


def _within(part: int, whole: int) -> bool:
    return 0 <= part <= whole
