"""What long work reports, and to whom. The command line's console is one reporter; `SILENT` is another.

Reports never change a result.
"""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

ReportCount = Callable[[int, int], None]  # number done, total
Counter = Callable[[str], AbstractContextManager[ReportCount | None]]  # what is counted -> whom to tell


@dataclass(frozen=True)
class TrainingProgress:
    """How a search, or the training of a dense network, is going.

    Attributes:
        step: optimiser steps done.
        steps: optimiser steps of the whole run.
        loss: what was minimised on the last batch: of a search, the cross-entropy of the logits times 1.5, in nats.
        sparsity: share of gated weights that the present hard mask makes zero.
        metric: of the network with that mask, on some validation examples; None where there are too few.
        images_per_second: training examples, since the last report.
        metric_name: what `metric` is, by default the accuracy, as a fraction.
    """

    step: int
    steps: int
    loss: float
    sparsity: float
    metric: float | None
    images_per_second: float
    metric_name: str = "accuracy"


ReportTraining = Callable[[TrainingProgress], None]
TrainingLog = Callable[[str, TrainingProgress], None]  # name of the run, its progress


class ProgressReporter(Protocol):
    """Receives progress. A callback that is None means that no reports are wanted."""

    def note(self, text: str) -> None:
        """Take a sentence about what happens next."""

    def counter(self, what: str) -> AbstractContextManager[ReportCount | None]:
        """Follow work that counts something, such as reading images."""

    def training_progress(self) -> AbstractContextManager[ReportTraining | None]:
        """Follow a search or the training of a dense network."""


class CellReporter(ProgressReporter, Protocol):
    """Whom the runs of a comparison tell how they are going."""

    def begin(self, cell: str) -> None: ...

    def finish(self, result: str, steps: int) -> None:
        """Count a run of so many optimiser steps as finished."""


class GridReporter(ProgressReporter, Protocol):
    """Whom a comparison tells how it is going."""

    def grid_progress(self, cells: int, finished: int, steps: int) -> AbstractContextManager[CellReporter]:
        """Follow a grid of `cells` runs, `finished` of them there already, with so many optimiser steps to go."""


def warn(reporter: ProgressReporter, text: str) -> None:
    """Tell a reporter what must not be missed: by its `warn`, if it has one, which shows it even where it is quiet."""
    getattr(reporter, "warn", reporter.note)(text)


class _Silent:
    def note(self, text: str) -> None:
        pass

    def counter(self, what: str) -> AbstractContextManager[None]:  # noqa: ARG002
        return contextlib.nullcontext()

    def training_progress(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()


class _SilentGrid(_Silent):
    def begin(self, cell: str) -> None:
        pass

    def finish(self, result: str, steps: int) -> None:
        pass

    def grid_progress(self, cells: int, finished: int, steps: int) -> AbstractContextManager[CellReporter]:  # noqa: ARG002
        return contextlib.nullcontext(self)


SILENT: ProgressReporter = _Silent()
SILENT_GRID: GridReporter = _SilentGrid()
