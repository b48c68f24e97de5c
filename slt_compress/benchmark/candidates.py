"""From the files that a user names to the ONNX files that are measured, each with the one that it is compared with.

A ticket stands for its `compact` export, made in a folder for temporary files, and is compared with its `dense` export.
If its weights cannot be regenerated in a graph, it stands for its `dense` export.

An exported file is compared with the dense export of the same ticket, by the digest that it records: that of the
ticket, if that is one of the files; else a dense export among the files; else the graph of another export, or its own,
with its weights as constants, which onnxruntime's folding makes. The weights of a graph in 8 bits cannot be had in fp32
that way: without anything else of its ticket, it is compared with the first file, as every foreign file is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slt_compress.benchmark.graph import Graph, read_graph, write_dense
from slt_compress.errors import UnreachableError, UsageError, VerificationError
from slt_compress.evaluation.networks import is_onnx, module_of
from slt_compress.models.source import Given
from slt_compress.models.spec import PYTHON
from slt_compress.onnx_export.export import ExportConfig, check, export
from slt_compress.progress import ProgressReporter
from slt_compress.ticket.ticket import Ticket

_AS_DENSE = 0.98  # of the bytes of a folded graph: a file of this size has its weights as constants, too

File = Ticket | str | Path


@dataclass
class Candidate:
    """An ONNX file that is measured.

    Attributes:
        file: the file that the user named, or the ticket.
        measured: what of it is measured, such as "compact export"; empty for an ONNX file as it is.
        graph: the file.
        reference: place in the list of the candidate that it is compared with.
    """

    file: str
    measured: str
    graph: Graph
    reference: int = 0

    @property
    def label(self) -> str:
        return f"{self.file} ({self.measured})" if self.measured else self.file


@dataclass
class Candidates:
    """The files that are measured, first those that the user named, and what must be said of them."""

    found: list[Candidate] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, file: str, measured: str, path: Path) -> int:
        """Add an ONNX file and return its place; it is compared with itself."""
        place = len(self.found)
        label = file if measured else str(path)
        self.found.append(Candidate(file, measured, read_graph(path, label), place))
        return place


def candidates(files: Sequence[File], folder: Path, source: Given | None, reporter: ProgressReporter) -> Candidates:
    """Export what has to be exported into `folder`, and find what each file is compared with.

    `source` builds the network of tickets of a user's own. Raises UsageError, TicketError, VerificationError or
    UnreachableError if a file is not what it should be or cannot be exported.
    """
    result = Candidates()
    tickets: dict[int, Ticket] = {}
    for place, file in enumerate(files):
        if not isinstance(file, Ticket) and is_onnx(file):
            result.add(str(file), "", Path(file))
            continue
        tickets[place] = ticket = file if isinstance(file, Ticket) else Ticket.load(file)
        name = f"the ticket of {ticket.provenance.model.title}" if isinstance(file, Ticket) else str(file)
        form = "compact"
        try:
            check(ticket, ExportConfig(form))
        except UnreachableError:
            form = "dense"
            result.notes.append(
                f"{name}: its weights cannot be regenerated in a graph, so its dense export is measured"
            )
        result.add(name, f"{form} export", _exported(ticket, name, form, folder, source, reporter))
    if source is not None and not any(map(_is_own, tickets.values())):
        raise UsageError("`source` has no meaning without a ticket of a network of your own")
    references = _of_tickets(tickets, result, folder, source, reporter)
    for place in range(len(files)):
        graph = result.found[place].graph
        if graph.ticket is not None and graph.ticket not in references:
            references[graph.ticket] = _of_exports(graph.ticket, result, folder)
        result.found[place].reference = references.get(graph.ticket, 0)
    return result


def _of_tickets(
    tickets: dict[int, Ticket], result: Candidates, folder: Path, source: Given | None, reporter: ProgressReporter
) -> dict[str | None, int]:
    """Return the places of the dense exports of tickets, by their digests."""
    references: dict[str | None, int] = {}
    for place, ticket in tickets.items():
        one = result.found[place]
        if one.measured == "dense export":
            references[ticket.digest] = place
        elif ticket.digest not in references:
            path = _exported(ticket, one.file, "dense", folder, source, reporter)
            references[ticket.digest] = result.add(one.file, "dense export", path)
    return references


def _of_exports(digest: str, result: Candidates, folder: Path) -> int:
    """Return the place of the dense graph of a ticket's exports, of which the ticket itself is not given."""
    places = [place for place, one in enumerate(result.found) if one.graph.ticket == digest]
    in_full = [place for place in places if not result.found[place].graph.quantised]
    if not in_full:
        names = ", ".join(result.found[place].file for place in places)
        result.notes.append(
            f"{names}: compared with the first file; to compare it with the dense network, add its ticket, or an "
            "export of it that is not int8"
        )
        return 0
    first = result.found[in_full[0]]
    target = folder / f"{len(result.found)}-constants.onnx"
    write_dense(first.graph.path, target)
    limit = _AS_DENSE * target.stat().st_size
    dense = [place for place in in_full if result.found[place].graph.bytes >= limit]
    return dense[0] if dense else result.add(first.file, "weights as constants", target)


def _exported(
    ticket: Ticket, name: str, form: str, folder: Path, source: Given | None, reporter: ProgressReporter
) -> Path:
    reporter.note(f"exporting {name} with {form} weights")
    path = folder / f"{len(list(folder.iterdir()))}-{form}.onnx"
    try:
        export(module_of(ticket, source if _is_own(ticket) else None), ticket, path, ExportConfig(form))
    except (UnreachableError, VerificationError) as error:
        raise type(error)(f"{name} cannot be exported: {error}") from error
    return path


def _is_own(ticket: Ticket) -> bool:
    return ticket.provenance.model.builder == PYTHON
