"""Compare what a deployed network sees with its reference, window by window."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from operator import add
from pathlib import Path
from typing import Any

from slt_compress.config import with_settings
from slt_compress.errors import DataError, UsageError
from slt_compress.evaluation.networks import Network, is_onnx, open_network
from slt_compress.files import same
from slt_compress.models.defaults import torch_defaults
from slt_compress.monitoring.config import FEWEST_IMAGES, MonitorConfig
from slt_compress.monitoring.counts import Counts, read_counts
from slt_compress.monitoring.judge import Window, judge
from slt_compress.monitoring.observe import image_rows, observations
from slt_compress.monitoring.reference_file import load_reference
from slt_compress.prediction.images import named_images
from slt_compress.prediction.log import LoggedRow, read_log
from slt_compress.prediction.predict import check_classifies
from slt_compress.progress import SILENT, ProgressReporter, warn
from slt_compress.ticket.held_out import MAX_IMAGES, Reference, group_count
from slt_compress.ticket.record import NetworkRecord
from slt_compress.ticket.ticket import Ticket

_AT_ONCE = 4_096  # rows that are held in memory
AnyPath = str | Path


@dataclass(frozen=True)
class MonitorResult:
    """What is found of the images of a deployed network.

    Attributes:
        record: what is known of the network.
        reference: what they are compared with.
        windows: what is found of each, in their order.
        unreadable: images that cannot be read, and so are in none, each with the reason.
    """

    record: NetworkRecord
    reference: Reference
    windows: tuple[Window, ...]
    unreadable: tuple[tuple[str, str], ...]

    @property
    def alarms(self) -> tuple[str, ...]:
        """The reasons of all alarms."""
        return tuple(reason for window in self.windows for reason in window.alarms)


@torch_defaults()
def monitor(
    network: Ticket | AnyPath,
    images: AnyPath | Sequence[AnyPath] | None = None,
    *,
    predictions: AnyPath | None = None,
    histograms: Sequence[AnyPath] | None = None,
    reference: Reference | AnyPath | None = None,
    config: MonitorConfig | None = None,
    report: Callable[[Window], None] | None = None,
    reporter: ProgressReporter = SILENT,
    **settings: Any,
) -> MonitorResult:
    """Judge whether a network that classifies images still sees what it was made for.

    Args:
        network: a ticket, the file of one, or an exported `.onnx` file.
        images: what it sees: files, folders or patterns. An image in a folder that is called as a class has a label.
        predictions: instead, the log of its predictions, CSV or JSON lines.
        histograms: instead, the files of what devices have counted, to be added up and judged as one window.
        reference: what to compare with: a reference, the file of one, or a folder of images that the network was not
            trained on, to measure one; what the network's file holds if none is given.
        config: how it is judged.
        report: is given every window once it is judged.
        reporter: who is told how it is going.
        settings: fields of `MonitorConfig` that differ from `config`: `window`, `false_alarms`, `threshold`, `device`
            and `source`.

    Raises UsageError for a network that does not classify images or has no reference, TicketError or VerificationError
    if its file is not what it should be, and DataError for images, a log or histograms that cannot be read or are of
    other classes.
    """
    _check_one(images, predictions, histograms)
    chosen = with_settings(config or MonitorConfig(), settings)
    if chosen.window is not None and histograms is not None:
        raise UsageError("`window` has no meaning for `histograms`, which are judged together")
    runs = images is not None or _is_folder(reference)
    idle = "device" if chosen.device != "auto" else "source" if chosen.source is not None else ""
    if idle and (not runs or (not isinstance(network, Ticket) and is_onnx(network))):
        raise UsageError(f"`{idle}` has no meaning here: it is for a ticket that looks at images")
    record, opened = _opened(network, chosen, runs=runs)
    check_classifies(record)
    compared = _reference(reference, record, opened, reporter)
    unreadable: list[tuple[str, str]] = []
    counted: Iterable[Counts]
    if histograms is not None:
        counted = [reduce(add, (read_counts(Path(path), compared) for path in histograms))]
    elif predictions is not None:
        counted = _counted(read_log(Path(predictions)), compared, record.classes, chosen.window)
    else:
        rows = _rows(opened, images, unreadable, reporter)
        counted = _counted(rows, compared, record.classes, chosen.window)
    windows: list[Window] = []
    for counts in counted:
        windows.append(judge(compared, counts, chosen, sum(window.images for window in windows)))
        if report:
            report(windows[-1])
    if not windows:
        what = f"none of the {len(unreadable):,} images can be read" if unreadable else f"{predictions} has no rows"
        raise DataError(f"there is nothing to judge: {what}")
    return MonitorResult(record, compared, tuple(windows), tuple(unreadable))


@torch_defaults()
def measure_reference(
    network: Ticket | AnyPath,
    images: AnyPath,
    config: MonitorConfig = MonitorConfig(),
    reporter: ProgressReporter = SILENT,
) -> tuple[NetworkRecord, Reference]:
    """Return what is known of a network, and its reference for images that it was not trained on.

    Raises as `monitor` does.
    """
    record, opened = _opened(network, config, runs=True)
    check_classifies(record)
    return record, _measured(opened, images, reporter)


def _check_one(images: object, predictions: object, histograms: Sequence[AnyPath] | None) -> None:
    """Raise UsageError unless there is one thing to judge."""
    given = {"images": images, "predictions": predictions, "histograms": histograms}
    names = [f"`{name}`" for name, value in given.items() if value is not None]
    if len(names) != 1:
        found = " and ".join(names) or "none"
        raise UsageError(f"give one of `images`, `predictions` and `histograms` to judge, found {found}")
    if histograms is not None and not histograms:
        raise UsageError("`histograms` must name at least one file")
    for place, path in enumerate(histograms or ()):
        if any(same(Path(path), Path(other)) for other in (histograms or ())[:place]):
            raise UsageError(f"`histograms` has {path} twice: its images would count twice")


def _opened(network: Ticket | AnyPath, config: MonitorConfig, *, runs: bool) -> tuple[NetworkRecord, Network | None]:
    """Return what is known of a network, and the network where it has to run."""
    if runs or (not isinstance(network, Ticket) and is_onnx(network)):
        opened = open_network(network, config.device, config.source)
        return opened.record, opened
    return NetworkRecord.of(network if isinstance(network, Ticket) else Ticket.load(network)), None


def _is_folder(reference: Reference | AnyPath | None) -> bool:
    return isinstance(reference, str | Path) and Path(reference).is_dir()


def _reference(
    reference: Reference | AnyPath | None, record: NetworkRecord, network: Network | None, reporter: ProgressReporter
) -> Reference:
    if isinstance(reference, Reference):
        if len(reference.classes) != group_count(len(record.classes)):
            raise UsageError(f"the `reference` is of other classes than the network's {len(record.classes)}")
        return reference
    if reference is None:
        if record.held_out is None:
            raise UsageError(
                "this network's file holds no reference to compare with: give a `reference`, such as a folder of "
                "images that it was not trained on, or search, prune or train with `reference`"
            )
        return record.held_out
    if _is_folder(reference):
        return _measured(network, reference, reporter)
    return load_reference(Path(reference), record.classes)


def _measured(network: Network | None, images: AnyPath, reporter: ProgressReporter) -> Reference:
    assert network
    unreadable: list[tuple[str, str]] = []
    files, notes = named_images([images])
    for note in notes:
        warn(reporter, note)
    if len(files) > MAX_IMAGES:  # evenly, as files of a class lie together
        files = [files[place * len(files) // MAX_IMAGES] for place in range(MAX_IMAGES)]
    with reporter.counter("measuring the reference") as report:
        rows = image_rows(network, files, lambda name, error: unreadable.append((name, str(error))))
        found = observations(_reported(rows, len(files), report), network.record.classes)
    if unreadable:
        warn(reporter, f"left out of the reference: {len(unreadable):,} images, such as: {unreadable[0][1]}")
    if len(found) < FEWEST_IMAGES:
        raise DataError(f"{images} has {len(found)} images that can be read, a reference needs {FEWEST_IMAGES}")
    labels = found.labels if (found.labels >= 0).all() else None
    return Reference.of(found.quantities, found.predicted, labels, len(network.record.classes))


def _rows(
    network: Network | None,
    images: AnyPath | Sequence[AnyPath] | None,
    unreadable: list[tuple[str, str]],
    reporter: ProgressReporter,
) -> Iterator[LoggedRow]:
    assert network
    files, notes = named_images([images] if isinstance(images, str | Path) else images or ())
    for note in notes:
        warn(reporter, note)
    with reporter.counter("looking at the images") as report:
        rows = image_rows(network, files, lambda name, error: unreadable.append((name, str(error))))
        yield from _reported(rows, len(files), report)


def _reported(rows: Iterable[LoggedRow], total: int, report: Callable[[int, int], None] | None) -> Iterator[LoggedRow]:
    for done, row in enumerate(rows, 1):
        if report:
            report(done, total)
        yield row


def _counted(
    rows: Iterator[LoggedRow], reference: Reference, classes: Sequence[str], window: int | None
) -> Iterator[Counts]:
    """Yield the counts of each window, the last of which may be shorter."""
    while part := list(islice(rows, min(_AT_ONCE, window or _AT_ONCE))):
        counts = Counts(0, {}, (0,) * len(reference.classes))
        while part:
            counts += Counts.of(observations(part, classes), reference, len(classes))
            left = _AT_ONCE if window is None else min(_AT_ONCE, window - counts.images)
            part = list(islice(rows, left))
        yield counts
