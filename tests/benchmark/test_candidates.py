"""What a file stands for, and what it is compared with."""

from pathlib import Path

import pytest
from torch import nn

from slt_compress.benchmark.candidates import Candidates, File, candidates
from slt_compress.errors import TicketError, UsageError, VerificationError
from slt_compress.progress import SILENT
from slt_compress.ticket.sample import with_values
from slt_compress.ticket.ticket import Ticket
from tests.support.graphs import save_linear
from tests.support.reporters import RecordingReporter
from tests.support.tickets import make_ticket


@pytest.fixture
def found(exports: Path, tmp_path: Path) -> "type[Found]":
    Found.exports, Found.folder = exports, tmp_path
    return Found


class Found:
    """Candidates, as the files and what each is compared with."""

    exports: Path
    folder: Path

    def __init__(self, *names: str) -> None:
        files = [self.exports / name for name in names]
        self.result: Candidates = candidates(files, self.folder, None, SILENT)
        for one in self.result.found:
            one.file = Path(one.file).name
        labels = [one.label for one in self.result.found]
        self.pairs = [(one.label, labels[one.reference]) for one in self.result.found]


def test_a_ticket_stands_for_its_compact_export(found: type[Found]) -> None:
    case = found("t.safetensors", "int8.onnx")
    dense = "t.safetensors (dense export)"
    assert case.pairs == [("t.safetensors (compact export)", dense), ("int8.onnx", dense), (dense, dense)]
    sizes = [one.graph.bytes for one in case.result.found]
    assert sizes[0] == (found.exports / "compact.onnx").stat().st_size
    assert sizes[2] >= (found.exports / "dense.onnx").stat().st_size  # with its dead neurons


def test_exports_are_compared_with_the_dense_one_among_them(found: type[Found]) -> None:
    assert found("int8.onnx", "compact.onnx", "dense.onnx").pairs == [
        ("int8.onnx", "dense.onnx"),
        ("compact.onnx", "dense.onnx"),
        ("dense.onnx", "dense.onnx"),
    ]


def test_a_compact_export_has_the_dense_network_in_it(found: type[Found]) -> None:
    case = found("compact.onnx", "int8.onnx")
    rebuilt = "compact.onnx (weights as constants)"
    assert case.pairs == [("compact.onnx", rebuilt), ("int8.onnx", rebuilt), (rebuilt, rebuilt)]
    assert not case.result.notes


def test_an_int8_export_alone_is_compared_with_the_first_file(found: type[Found], tmp_path: Path) -> None:
    save_linear(tmp_path / "foreign.onnx")
    result = candidates([tmp_path / "foreign.onnx", found.exports / "int8.onnx"], tmp_path, None, SILENT)
    assert [one.reference for one in result.found] == [0, 0]
    assert "int8.onnx: compared with the first file; to compare it with the dense network" in result.notes[0]


def test_foreign_files_are_compared_with_the_first(found: type[Found], tmp_path: Path) -> None:
    paths = [save_linear(tmp_path / f"{name}.onnx") for name in "ab"]
    first = found.exports / "compact.onnx"
    result = candidates([paths[0], first, paths[1]], tmp_path, None, SILENT)
    assert [one.reference for one in result.found] == [0, 3, 0, 3]


def test_a_ticket_that_has_no_compact_form_is_measured_dense(tmp_path: Path) -> None:
    ticket = make_ticket("lenet-300-100", 0.1, size=8, channels=1, initialiser="kaiming-normal")
    reporter = RecordingReporter()
    result = candidates([ticket], tmp_path, None, reporter)
    assert [(one.measured, one.reference) for one in result.found] == [("dense export", 0)]
    assert result.notes == [
        "the ticket of lenet-300-100: its weights cannot be regenerated in a graph, so its dense export is measured"
    ]
    assert reporter.notes == ["exporting the ticket of lenet-300-100 with dense weights"]


def test_a_ticket_with_stored_weights_is_measured_compact(tmp_path: Path) -> None:
    ticket = with_values(make_ticket("lenet-300-100", 0.1, size=8, channels=1), "int8")
    result = candidates([ticket], tmp_path, None, SILENT)
    assert [(one.measured, one.reference) for one in result.found] == [("compact export", 1), ("dense export", 1)]
    assert result.found[0].graph.bytes < result.found[1].graph.bytes / 5
    assert not result.notes


def test_all_files_are_read_before_any_is_exported(exports: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"x")
    (tmp_path / "bad.safetensors").write_bytes(b"x")
    ticket = Ticket.load(exports / "t.safetensors")
    wrong: list[tuple[list[File], type[Exception]]] = [
        ([ticket, tmp_path / "bad.onnx"], VerificationError),
        ([ticket, tmp_path / "bad.safetensors"], TicketError),
    ]
    for files, error in wrong:
        reporter = RecordingReporter()
        with pytest.raises(error):
            candidates(files, tmp_path, None, reporter)
        assert not reporter.notes
    with pytest.raises(UsageError, match="`source` has no meaning"):
        candidates([ticket], tmp_path, nn.Identity, SILENT)
