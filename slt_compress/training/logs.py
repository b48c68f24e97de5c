"""Progress written to disk: JSON lines, and TensorBoard's files where that package is installed.

Both append to what is there, so that a resumed run continues its log. A log that can no longer be written, as on a full
disk, does not end the run: that is noted once, and the run continues without it.
"""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from slt_compress.errors import MissingPackageError
from slt_compress.files import check_folder, check_log, check_writable
from slt_compress.progress import TrainingProgress

Note = Callable[[str], None]


class JsonLines:
    """A file with one JSON object a report.

    Its keys are run (of a comparison: the cell), step, steps, loss, sparsity, validation_accuracy and
    images_per_second; another metric than the accuracy has its own name. It is that of `TrainingProgress`: measured on
    a batch of held-out examples, with the batch's own statistics. A resumed run repeats the steps since its checkpoint.
    """

    def __init__(self, path: Path, note: Note) -> None:
        """Raises OutputError if the file cannot be written. It is made at the first report."""
        check_writable(path)
        check_log(path)
        self._path = path
        self._file: TextIO | None = None
        self._note: Note | None = note

    def __call__(self, run: str, progress: TrainingProgress) -> None:
        if self._note is None:
            return
        try:
            if self._file is None:
                self._file = self._path.open("a", encoding="utf-8")
            self._file.write(json.dumps({"run": run, **fields_of(progress)}) + "\n")
            self._file.flush()
        except OSError as error:
            self._note(f"cannot write {self._path} any more ({error.strerror or error}); continuing without it")
            self._note = None

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what a full disk has left in the buffer
            if self._file is not None:
                self._file.close()


class TensorBoard:
    """A folder for TensorBoard, with a subfolder for each run."""

    def __init__(self, folder: Path, note: Note) -> None:
        """Raises MissingPackageError without TensorBoard, OutputError if the folder cannot be written.

        It is made at the first report.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingPackageError(
                "logs for TensorBoard need the package tensorboard, 2.17 or newer: pip install tensorboard"
            ) from error
        check_folder(folder)
        self._open: Callable[..., Any] = SummaryWriter
        self._folder = folder
        self._writers: dict[str, Any] = {}
        self._note: Note | None = note

    def __call__(self, run: str, progress: TrainingProgress) -> None:
        if self._note is None:
            return
        try:
            if run not in self._writers:
                self._writers[run] = self._open(str(self._folder / run))
            for name, value in fields_of(progress).items():
                if name not in ("step", "steps") and value is not None:
                    self._writers[run].add_scalar(name, value, progress.step)
            self._writers[run].flush()
        except OSError as error:
            self._note(f"cannot write into {self._folder} any more ({error.strerror or error}); continuing without it")
            self._note = None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            for writer in self._writers.values():
                writer.close()


def fields_of(progress: TrainingProgress) -> dict[str, float | None]:
    """Return a report as a log holds it; a loss that is not finite is None."""
    fields = dict(vars(progress))
    fields[f"validation_{fields.pop('metric_name')}"] = fields.pop("metric")
    return {name: value if value is None or abs(value) < float("inf") else None for name, value in fields.items()}
