"""What an assessment is asked for. Needs no torch."""

from dataclasses import dataclass

from slt_compress.assessment.fleet import Fleet
from slt_compress.errors import UsageError

SPARSITIES = (0.8, 0.9, 0.95)
MINUTES = 3.0
_MOST_MINUTES = 10_000


@dataclass(frozen=True)
class AssessConfig:
    """All that is asked for but the search itself.

    Raises UsageError, when made, for what is out of range.

    Attributes:
        sparsities: targets that are tried, in [0, 1).
        budget: minutes that the pilot may take.
        target_bytes: that the ticket may have at most.
        target_accuracy: that the network should have at least, a fraction.
        fleet: the devices that it is for.
    """

    sparsities: tuple[float, ...] = SPARSITIES
    budget: float = MINUTES
    target_bytes: int | None = None
    target_accuracy: float | None = None
    fleet: Fleet | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sparsities", tuple(sorted(dict.fromkeys(self.sparsities))))
        for value in self.sparsities:
            if not 0 <= value < 1:
                raise UsageError(f"`sparsities` must be numbers of at least 0 and below 1, got {value:g}")
        if not self.sparsities:
            raise UsageError("`sparsities` is empty, expected numbers such as 0.9,0.95")
        if not 0 < self.budget < _MOST_MINUTES:
            raise UsageError(f"`budget` must be a positive number of minutes, got {self.budget:g}")
        if self.target_bytes is not None and self.target_bytes < 1:
            raise UsageError(f"`target_bytes` must be at least 1, got {self.target_bytes}")
        if self.target_accuracy is not None and not 0 < self.target_accuracy < 1:
            raise UsageError(f"`target_accuracy` must be a fraction between 0 and 1, got {self.target_accuracy:g}")
