"""Compare what a deployed network sees with its reference, window by window."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from operator import add
from pathlib import Path

from slt_compress.errors import DataError, UsageError
from slt_compress.evaluation.networks import Network, is_onnx, open_network
from slt_compress.models.defaults import torch_defaults
from slt_compress.models.source import Given
from slt_compress.monitoring.counts import Counts, read_counts
from slt_compress.monitoring.judge import FALSE_ALARMS, FEWEST_IMAGES, THRESHOLD, Limits, Window, judge
from slt_compress.monitoring.observe import image_rows, observations
from slt_compress.monitoring.reference_file import load_reference
from slt_compress.prediction.images import named_images
from slt_compress.prediction.log import LoggedRow, read_log
from slt_compress.prediction.predict import check_classifies
from slt_compress.progress import SILENT, ProgressReporter, warn
from slt_compress.ticket.held_out import MAX_IMAGES, Reference
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
    reference_images: AnyPath | None = None,
    window: int | None = None,
    false_alarms: float = FALSE_ALARMS,
    threshold: float = THRESHOLD,
    device: str = "auto",
    source: Given | None = None,
    report: Callable[[Window], None] | None = None,
    reporter: ProgressReporter = SILENT,
) -> MonitorResult:
    """Judge whether a network that classifies images still sees what it was made for.

    Args:
        network: a ticket, the file of one, or an exported `.onnx` file.
        images: what it sees: files, folders or patterns. An image in a folder that is called as a class has a label.
        predictions: instead, the log of its predictions, CSV or JSON lines.
        histograms: instead, what devices have counted, to be added up and judged as one window.
        reference: what to compare with, or the file of that; what the network's file holds if none is given.
        reference_images: instead, images to measure a reference on.
        window: how many images are judged together, in the order of the files or the log; all if it is not given.
        false_alarms: in how many windows of unchanged images there may be an alarm, as a share.
        threshold: PSI of a quantity that an alarm needs besides.
        device, source: as in `evaluate`.
        report: is given every window once it is judged.
        reporter: who is told how it is going.

    Raises UsageError for a network that does not classify images or has no reference, TicketError or VerificationError
    if its file is not what it should be, and DataError for images, a log or histograms that cannot be read or are of
    other classes.
    """
    _check_one(images, predictions, histograms, reference, reference_images)
    limits = Limits(false_alarms, threshold)
    if window is not None and window < FEWEST_IMAGES:
        raise UsageError(f"`window` must be at least {FEWEST_IMAGES}: fewer images cannot be judged; got {window}")
    if window is not None and histograms is not None:
        raise UsageError("`window` has no meaning for `histograms`, which are judged together")
    record, opened = _opened(network, device, source, needed=images is not None or reference_images is not None)
    check_classifies(record)
    unreadable: list[tuple[str, str]] = []
    if reference_images is not None and opened is not None:
        chosen = _measured(opened, reference_images, reporter)
    else:
        chosen = _given(reference, record, network)
    if histograms is not None:
        counted: Iterable[Counts] = [reduce(add, (read_counts(Path(path), chosen) for path in histograms))]
    else:
        rows: Iterator[LoggedRow]
        if images is not None and opened is not None:
            rows = _rows(opened, images, unreadable, reporter)
        else:
            rows = read_log(Path(predictions or ""))
        counted = _counted(rows, chosen, record.classes, window)
    windows = []
    first = 0
    for counts in counted:
        windows.append(judge(chosen, counts, limits, first))
        first += counts.images
        if report:
            report(windows[-1])
    if not windows:
        what = f"none of the {len(unreadable):,} images can be read" if unreadable else f"{predictions} has no rows"
        raise DataError(f"there is nothing to judge: {what}")
    return MonitorResult(record, chosen, tuple(windows), tuple(unreadable))


@torch_defaults()
def measure_reference(
    network: Ticket | AnyPath,
    images: AnyPath,
    *,
    device: str = "auto",
    source: Given | None = None,
    reporter: ProgressReporter = SILENT,
) -> tuple[NetworkRecord, Reference]:
    """Return what is known of a network, and its reference for images that it was not trained on.

    Raises as `monitor` does.
    """
    opened = open_network(network, device, source)
    check_classifies(opened.record)
    return opened.record, _measured(opened, images, reporter)


def _check_one(
    images: object, predictions: object, histograms: Sequence[AnyPath] | None, reference: object, measured: object
) -> None:
    """Raise UsageError unless there is one thing to judge, and at most one to compare it with."""
    given = {"images": images, "predictions": predictions, "histograms": histograms}
    names = [f"`{name}`" for name, value in given.items() if value is not None]
    if len(names) != 1:
        found = " and ".join(names) or "none"
        raise UsageError(f"give either `images`, `predictions` or `histograms` to judge, found {found}")
    if histograms is not None and not histograms:
        raise UsageError("`histograms` must name at least one file")
    if reference is not None and measured is not None:
        raise UsageError("give a `reference`, or `reference_images` to measure one on, not both")


def _opened(
    network: Ticket | AnyPath, device: str, source: Given | None, *, needed: bool
) -> tuple[NetworkRecord, Network | None]:
    """Return what is known of a network, and the network where it has to run."""
    if needed or (not isinstance(network, Ticket) and is_onnx(network)):
        opened = open_network(network, device, source)
        return opened.record, opened
    return NetworkRecord.of(network if isinstance(network, Ticket) else Ticket.load(network)), None


def _given(reference: Reference | AnyPath | None, record: NetworkRecord, network: object) -> Reference:
    if isinstance(reference, Reference):
        return reference
    if reference is not None:
        return load_reference(Path(reference), record.classes)
    if record.held_out is None:
        name = "the ticket" if isinstance(network, Ticket) else network
        raise UsageError(
            f"{name} holds no reference to compare with: give `reference_images`, a folder of images that it was not "
            "trained on, or search with `reference`"
        )
    return record.held_out


def _measured(network: Network, images: AnyPath, reporter: ProgressReporter) -> Reference:
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
    network: Network, images: AnyPath | Sequence[AnyPath], unreadable: list[tuple[str, str]], reporter: ProgressReporter
) -> Iterator[LoggedRow]:
    files, notes = named_images([images] if isinstance(images, str | Path) else images)
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
