"""Each config leads to its format, says whether it is exact, and a note tells what could not be run here."""

from pathlib import Path
from typing import Any

import pytest

from slt_compress.c_export import proof
from slt_compress.c_export.export import CExportConfig, Examples
from slt_compress.errors import UnreachableError
from slt_compress.formats.writers import check, what_is_exact, write
from slt_compress.html_export import wasm
from slt_compress.html_export.export import HtmlExportConfig
from slt_compress.onnx_export.export import ExportConfig
from slt_compress.progress import SILENT
from slt_compress.ticket.ticket import Ticket
from slt_compress.web_export.export import WebExportConfig
from tests.support.c_code import Sequence, ticket_of
from tests.support.pages import fake_runtime, needs_wasm


def configs(folder: Path) -> dict[str, Any]:
    """Return by the name of an output what makes it, and says all its words."""
    return {
        "t.onnx": ExportConfig(),
        "t.c": CExportConfig(),
        "t.html": HtmlExportConfig(),
        "t.web": WebExportConfig(runtime=fake_runtime(folder / "dist")),
    }


@needs_wasm
def test_a_config_decides_what_is_written(ticket: Ticket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wasm, "node", lambda: None)
    monkeypatch.setattr(proof, "compiler", lambda: None)
    notes: list[str] = []
    monkeypatch.setattr(SILENT, "note", notes.append)
    for name, config in configs(tmp_path).items():
        notes.clear()
        assert check(ticket, tmp_path / name, config)
        found = write(ticket.restore(), ticket, tmp_path / name, config, Examples(), SILENT)
        assert found.file == tmp_path / name
        assert found.file.exists()
        assert found.agreement is None
        assert notes[0].startswith("exporting ")
        words = {"t.onnx": [], "t.c": ["no C compiler here"], "t.html": ["no Node.js here to run the page's module"]}
        expected = words.get(name, ["no Node.js here to run onnxruntime-web"])
        assert [one.partition(" (")[0].partition(":")[0] for one in notes[1:]] == expected


def test_what_is_not_exact_is_named() -> None:
    for config, words in (
        (ExportConfig("int8"), "`weights=int8`"),
        (WebExportConfig("int8"), "`weights=int8`"),
        (CExportConfig(arithmetic="fixed"), "`arithmetic=fixed`"),
        (HtmlExportConfig(arithmetic="fixed"), "`arithmetic=fixed`"),
    ):
        assert what_is_exact(config) == words


@needs_wasm
def test_each_format_checks_for_itself(ticket: Ticket, tmp_path: Path) -> None:
    dist = fake_runtime(tmp_path / "dist")
    assert not check(ticket, tmp_path / "site", WebExportConfig("int8", runtime=dist))
    assert not check(ticket, tmp_path / "t.onnx", ExportConfig("int8"))
    vectors = ticket_of(Sequence(), Sequence.shape)
    for config in (HtmlExportConfig(), WebExportConfig(runtime=dist)):
        with pytest.raises(UnreachableError, match="classifies grey or colour images"):
            check(vectors, tmp_path / "t", config)
