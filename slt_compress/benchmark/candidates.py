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
from slt_compress.hub.download import located
from slt_compress.models.source import Given
from slt_compress.models.spec import PYTHON
from slt_compress.onnx_export.export import ExportConfig, check, export
from slt_compress.progress import ProgressReporter
from slt_compress.ticket.ticket import Ticket

COMPACT, DENSE = "compact", "dense"  # of `onnx_export.forms`
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

    def add(self, file: str, measured: str, graph: Graph) -> int:
        """Add an ONNX file, which is compared with itself so far, and return its place."""
        place = len(self.found)
        self.found.append(Candidate(file, measured, graph, place))
        return place


@dataclass
class _Exporter:
    """Exports tickets into a folder.

    Attributes:
        folder: where to.
        source: builds the network of tickets of a user's own.
        reporter: who is told.
    """

    folder: Path
    source: Given | None
    reporter: ProgressReporter

    def export(self, ticket: Ticket, name: str, form: str) -> Graph:
        """Return the graph of an export in a form; `name` is that of the ticket in messages."""
        self.reporter.note(f"exporting {name} with {form} weights")
        path = self.folder / f"{len(list(self.folder.iterdir()))}-{form}.onnx"
        try:
            # What things are compared with is the whole network, with its dead neurons.
            config = ExportConfig(form, keep_structure=form == DENSE)
            export(module_of(ticket, self.source if _is_own(ticket) else None), ticket, path, config)
        except (UnreachableError, VerificationError) as error:
            raise type(error)(f"{name} cannot be exported: {error}") from error
        return read_graph(path, name)


def candidates(files: Sequence[File], folder: Path, source: Given | None, reporter: ProgressReporter) -> Candidates:
    """Export what has to be exported into `folder`, and find what each file is compared with.

    `source` builds the network of tickets of a user's own. Raises UsageError, TicketError, VerificationError or
    UnreachableError if a file is not what it should be or cannot be exported.
    """
    opened = [_open(file) for file in files]  # all of them before any export: that takes long
    tickets = {place: one for place, one in enumerate(opened) if isinstance(one, Ticket)}
    if source is not None and not any(map(_is_own, tickets.values())):
        raise UsageError("`source` has no meaning without a ticket of a network of your own")
    exporter = _Exporter(folder, source, reporter)
    result = Candidates()
    for file, one in zip(files, opened, strict=True):
        if isinstance(one, Graph):
            result.add(str(file), "", one)
            continue
        name = f"the ticket of {one.provenance.model.title}" if isinstance(file, Ticket) else str(file)
        form = _form(one)
        if form == DENSE:
            result.notes.append(
                f"{name}: its weights cannot be regenerated in a graph, so its dense export is measured"
            )
        result.add(name, f"{form} export", exporter.export(one, name, form))
    references = _of_tickets(tickets, result, exporter)
    for place in range(len(files)):
        digest = result.found[place].graph.ticket
        if digest is not None and digest not in references:
            references[digest] = _of_exports(digest, result, folder)
        result.found[place].reference = references.get(digest, 0)
    return result


def _open(file: File) -> Ticket | Graph:
    if isinstance(file, Ticket):
        return file
    path = located(file)
    return read_graph(path, str(file)) if is_onnx(path) else Ticket.load(path)


def _form(ticket: Ticket) -> str:
    """Return the form that a ticket is measured in."""
    try:
        check(ticket, ExportConfig(COMPACT))
    except UnreachableError:
        return DENSE
    return COMPACT


def _of_tickets(tickets: dict[int, Ticket], result: Candidates, exporter: _Exporter) -> dict[str | None, int]:
    """Return the places of the dense exports of tickets, by their digests."""
    references: dict[str | None, int] = {}
    for place, ticket in tickets.items():
        if _form(ticket) == DENSE:
            references[ticket.digest] = place
        elif ticket.digest not in references:
            name = result.found[place].file
            references[ticket.digest] = result.add(name, f"{DENSE} export", exporter.export(ticket, name, DENSE))
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
    dense = read_graph(target, first.file)
    same = [place for place in in_full if result.found[place].graph.bytes >= _AS_DENSE * dense.bytes]
    return same[0] if same else result.add(first.file, "weights as constants", dense)


def _is_own(ticket: Ticket) -> bool:
    return ticket.provenance.model.builder == PYTHON
