"""Reporters that tests look into."""

import contextlib
from collections.abc import Iterator

from slt_compress.progress import ReportCount, ReportTraining, TrainingProgress


class RecordingReporter:
    """A reporter that remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[TrainingProgress] = []
        self.counted: dict[str, tuple[int, int]] = {}

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextlib.contextmanager
    def counter(self, what: str) -> Iterator[ReportCount]:
        yield lambda done, total: self.counted.update({what: (done, total)})

    @contextlib.contextmanager
    def training_progress(self) -> Iterator[ReportTraining]:
        yield self.steps.append
