"""Images as a network sees them, and counts of them in the bins of a reference, which add up.

A device need not send more than such counts. Its file is a JSON object:

    format       "slt-compress histogram"
    reference    the digest of the reference whose bins these are
    images       how many there were
    quantities   by name, the counts in each bin
    classes      images by group of the predicted class
    labelled, right   how many had a label, and of them were classified rightly; 0 if they are missing
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slt_compress.errors import DataError
from slt_compress.ticket.held_out import Classes, Reference, Values, count, group_of

FORMAT = "slt-compress histogram"
MOST_IMAGES = 2**40  # of a device, so that the sum of millions of devices fits 64 bits
_FIELDS = {"format", "reference", "images", "quantities", "classes"}
_OPTIONAL = {"labelled", "right"}
_MOST_BYTES = 1_000_000


@dataclass(frozen=True, eq=False)
class Observations:
    """What a network makes of n images, in their order.

    Attributes:
        quantities: float64 (n,), by names among `ticket.held_out.QUANTITIES`; not a number where it is not known.
        predicted: classes, int64 (n,), -1 where they are not known.
        labels: true classes, likewise.
    """

    quantities: Mapping[str, Values]
    predicted: Classes
    labels: Classes

    def __len__(self) -> int:
        return len(self.predicted)

    def part(self, start: int, end: int) -> "Observations":
        """Return those from one place to before another."""
        quantities = {name: values[start:end] for name, values in self.quantities.items()}
        return Observations(quantities, self.predicted[start:end], self.labels[start:end])


@dataclass(frozen=True)
class Counts:
    """Images in the bins of a reference.

    Attributes:
        images: how many there are.
        quantities: by name, the counts in each bin; of a quantity that is not known of any image, there are none.
        classes: by group of the predicted class.
        labelled: images whose true class is known.
        right: those of them that were classified rightly.
    """

    images: int
    quantities: Mapping[str, tuple[int, ...]]
    classes: tuple[int, ...]
    labelled: int = 0
    right: int = 0

    @classmethod
    def of(cls, observations: Observations, reference: Reference, number_of_classes: int) -> "Counts":
        """Count images in the bins of a reference."""
        counts = {
            name: count(observations.quantities[name], bins.edges)
            for name, bins in reference.quantities.items()
            if name in observations.quantities
        }
        predicted, labels = observations.predicted, observations.labels
        known = predicted[predicted >= 0]
        groups = np.bincount(group_of(known, number_of_classes), minlength=len(reference.classes))
        labelled = (labels >= 0) & (predicted >= 0)
        return cls(
            images=len(observations),
            quantities={name: numbers for name, numbers in counts.items() if sum(numbers)},
            classes=tuple(groups.tolist()),
            labelled=int(labelled.sum()),
            right=int((labels == predicted)[labelled].sum()),
        )

    def __add__(self, other: "Counts") -> "Counts":
        names = [*self.quantities, *(name for name in other.quantities if name not in self.quantities)]
        both = [(name, self.quantities.get(name), other.quantities.get(name)) for name in names]
        return Counts(
            self.images + other.images,
            {name: _sum(mine, others) if mine and others else mine or others or () for name, mine, others in both},
            _sum(self.classes, other.classes),
            self.labelled + other.labelled,
            self.right + other.right,
        )

    def to_json(self, reference: Reference) -> dict[str, Any]:
        """Return what the file of a device says."""
        return {
            "format": FORMAT,
            "reference": reference.digest,
            "images": self.images,
            "quantities": {name: list(counts) for name, counts in self.quantities.items()},
            "classes": list(self.classes),
            "labelled": self.labelled,
            "right": self.right,
        }


def read_counts(path: Path, reference: Reference) -> Counts:
    """Read the counts that a device has sent. Raises DataError, naming the file, unless they fit the reference."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path} is no histogram: it has {path.stat().st_size:,} bytes")
        fields = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read the histogram {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no histogram: it is not valid JSON, or only a part of it") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise DataError(f"{path} is no histogram: expected a JSON object with the format {FORMAT!r}")
    if not _FIELDS <= set(fields) <= _FIELDS | _OPTIONAL:
        wrong = sorted(_FIELDS - set(fields)) or sorted(set(fields) - _FIELDS - _OPTIONAL)
        raise DataError(f"{path} is a damaged histogram: it lacks or should not have {wrong[0]!r}")
    if fields["reference"] != reference.digest:
        raise DataError(
            f"{path} counts in the bins of the reference {str(fields['reference'])[:16]}, this one is "
            f"{reference.digest}: it comes from another network"
        )
    found, problem = _read(fields, reference)
    if problem or found is None:
        raise DataError(f"{path} is a damaged histogram: {problem}")
    return found


def _read(fields: dict[str, Any], reference: Reference) -> tuple[Counts | None, str]:
    """Return the counts, or what is wrong with them."""
    images, labelled, right = fields["images"], fields.get("labelled", 0), fields.get("right", 0)
    if not _is_count(images, MOST_IMAGES) or not _is_count(labelled, images) or not _is_count(right, labelled):
        return None, f"it has {right!r} right of {labelled!r} labelled of {images!r} images"
    if not isinstance(fields["quantities"], dict):
        return None, f"its quantities should be an object, found {str(fields['quantities'])[:40]}"
    expected = {name: len(bins.counts) for name, bins in reference.quantities.items()}
    for name, counts in (*fields["quantities"].items(), ("classes", fields["classes"])):
        length = len(reference.classes) if name == "classes" else expected.get(name)
        if length is None:
            return None, f"the reference has no quantity {name[:40]!r}"
        if not isinstance(counts, list) or len(counts) != length or not all(_is_count(one, images) for one in counts):
            return None, f"{name} should have {length} counts of images, found {str(counts)[:60]}"
        if sum(counts) > images:
            return None, f"{name} counts {sum(counts)} of {images} images"
    quantities = {name: tuple(fields["quantities"][name]) for name in expected if name in fields["quantities"]}
    return Counts(images, quantities, tuple(fields["classes"]), labelled, right), ""


def _is_count(value: object, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _sum(mine: tuple[int, ...], others: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(mine, others, strict=True))
