"""The settings of a monitor. Needs no torch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slt_compress.errors import UsageError

if TYPE_CHECKING:
    from slt_compress.models.source import Given

FEWEST_IMAGES = 30  # that can be judged


@dataclass(frozen=True)
class MonitorConfig:
    """How images are judged.

    Attributes:
        window: how many are judged together, in the order of the files or the log; None: all.
        false_alarms: in how many windows of unchanged images there may be an alarm, as a share.
        threshold: PSI of a quantity that an alarm needs besides.
        device: where a ticket's network computes: "auto", "cpu", "cuda" or "mps".
        source: your module, or the function that builds it, for a ticket of one.

    Raises UsageError, when made, for what is out of range.
    """

    window: int | None = None
    false_alarms: float = 0.01
    threshold: float = 0.02
    device: str = "auto"
    source: "Given | None" = None

    def __post_init__(self) -> None:
        if self.window is not None and self.window < FEWEST_IMAGES:
            raise UsageError(
                f"`window` must be at least {FEWEST_IMAGES}: fewer images cannot be judged; got {self.window}"
            )
        if not 1e-9 <= self.false_alarms < 1:
            raise UsageError(f"`false_alarms` must be at least 1e-9 and below 1, got {self.false_alarms:g}")
        if not 0 <= self.threshold <= 100:
            raise UsageError(f"`threshold` must be from 0 to 100, got {self.threshold:g}")
