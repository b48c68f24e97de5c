"""A folder appears only if its graph computes what torch does; served, it then classifies as torch does."""

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch

from slt_compress.c_export.export import Examples
from slt_compress.data.splits import TensorSplit
from slt_compress.errors import MissingPackageError, OutputError, UnreachableError, UsageError, VerificationError
from slt_compress.html_export import wasm
from slt_compress.onnx_export.export import ExportConfig
from slt_compress.onnx_export.export import export as write_graph
from slt_compress.ticket.ticket import Ticket
from slt_compress.web_export import node
from slt_compress.web_export.export import NAMES, WebExportConfig, check, export
from slt_compress.web_export.page import MODEL
from slt_compress.web_export.runtime import SCRIPT
from tests.support.browser import browser, needs_browser
from tests.support.c_code import Sequence, ticket_of
from tests.support.digits import DIGITS
from tests.support.pages import RUNTIME, fake_runtime, needs_node, needs_runtime, served
from tests.support.photographs import ANSWER, ROWS, photograph, probabilities
from tests.support.tickets import make_ticket

VIT = "test_vit"
HINT = "document.querySelector('#hint').textContent"


def digits(count: int) -> TensorSplit:
    """Return the first test images."""
    found = DIGITS.read("test", 8).take(torch.arange(count))
    assert isinstance(found, TensorSplit)
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_folder_holds_the_page_the_graph_and_the_runtime(
    ticket: Ticket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wasm, "node", lambda: None)
    dist = fake_runtime(tmp_path / "dist")
    place = tmp_path / "site"
    config = WebExportConfig(title="<Digits>", runtime=dist)
    found = export(ticket.restore(), ticket, place, config, Examples(digits(50)))
    written = files(place)
    assert set(written) == NAMES
    assert found.files == {name: len(content) for name, content in written.items()}
    assert found.bytes == sum(map(len, written.values())) > found.gzip_bytes > 0
    assert found.run is None
    assert found.agreement
    assert (found.agreement.equal, found.agreement.samples) == (50, 50)
    assert {name: written[name] for name in files(dist)} == files(dist)
    graph = onnx.load_from_string(written[MODEL]).graph
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert b"<h1>&lt;Digits&gt;</h1>" in written["index.html"]
    assert b"It runs in onnxruntime-web 1.30.0." in written["index.html"]
    export(ticket.restore(), ticket, place, config)
    assert files(place) == written
    again = export(ticket.restore(), ticket, place, replace(config, replace=False))
    assert again.file == place
    again = export(ticket.restore(), ticket, place, replace(config, replace=False, title="Other"))
    assert again.file == tmp_path / "site-2"
    assert {path.name for path in tmp_path.iterdir()} == {"dist", "site", "site-2"}


@needs_node
@needs_runtime
@pytest.mark.parametrize("options", [{}, {"portable": True}, {"weights": "dense"}, {"weights": "int8"}])
def test_the_runtime_decides_as_torch(ticket: Ticket, tmp_path: Path, options: dict[str, object]) -> None:
    config = replace(WebExportConfig(runtime=RUNTIME), **options)  # type: ignore[arg-type]
    found = export(ticket.restore(), ticket, tmp_path / "site", config, Examples(digits(100), DIGITS.read("train", 8)))
    assert found.run
    assert found.run.agreement
    assert found.run.agreement.samples == 100
    assert found.run.agreement.equal >= (100 if config.exact else 95)
    assert found.run.session_milliseconds > 0
    assert found.run.heap_bytes > 2**20
    assert found.max_abs_difference == max(found.graph.max_abs_difference, found.run.max_abs_difference)


@needs_node
@needs_runtime
def test_only_the_first_of_many_test_images_are_run_one_by_one(ticket: Ticket, tmp_path: Path) -> None:
    images, labels = next(DIGITS.read("test", 8).batches(360))
    many = TensorSplit(images.repeat(2, 1, 1, 1), labels.repeat(2))
    config = WebExportConfig(runtime=RUNTIME)
    found = export(ticket.restore(), ticket, tmp_path / "site", config, Examples(many))
    assert found.agreement
    assert found.run
    assert found.run.agreement
    assert (found.agreement.samples, found.run.agreement.samples) == (720, 500)


@needs_node
@needs_runtime
def test_a_runtime_that_computes_something_else_is_noticed(
    ticket: Ticket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = node._DRIVER
    config, place = WebExportConfig(runtime=RUNTIME), tmp_path / "site"
    for change, words in (
        ("data[0] += 1;", r"onnxruntime-web [\d.]+ differs from torch by .*: nothing was written"),
        ("if (++count > 4) data.reverse();", r"onnxruntime-web [\d.]+ decides otherwise than torch in \d+ of 40 cases"),
    ):
        assert "const { data } = found[output];" in driver
        changed = driver.replace("const { data } = found[output];", f"const {{ data }} = found[output]; {change}")
        monkeypatch.setattr(node, "_DRIVER", f"let count = 0;{changed}")
        with pytest.raises(VerificationError, match=words):
            export(ticket.restore(), ticket, place, config, Examples(digits(40)))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_a_folder_is_refused_before_any_work(
    ticket: Ticket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dist = fake_runtime(tmp_path / "dist")
    config, place = WebExportConfig(runtime=dist), tmp_path / "site"
    check(ticket, place, config)
    with pytest.raises(UsageError, match="`title` must be a line of text, got ' '"):
        check(ticket, place, replace(config, title=" "))
    with pytest.raises(UsageError, match=r"`weights` must be one of compact, .*, got 'zip'"):
        check(ticket, place, replace(config, weights="zip"))
    with pytest.raises(UsageError, match="`portable` is for "):
        check(ticket, place, replace(config, weights="dense", portable=True))
    with pytest.raises(UsageError, match="`max_accuracy_drop` has no meaning for `weights=compact`"):
        check(ticket, place, replace(config, max_accuracy_drop=0.1))
    with pytest.raises(MissingPackageError, match="npm install onnxruntime-web"):
        check(ticket, place, WebExportConfig())
    with pytest.raises(UnreachableError, match="`format=web` classifies grey or colour images, this network takes inp"):
        check(ticket_of(Sequence(), Sequence.shape), place, config)
    several = replace(ticket.provenance, task=replace(ticket.provenance.task, name="multi-label"))
    with pytest.raises(UnreachableError, match="`format=web` shows one class an image"):
        check(replace(ticket, provenance=several), place, config)
    with pytest.raises(OutputError, match=r"holds ort-wasm-simd-threaded\.wasm, which no export"):
        check(ticket, dist, config)
    check(ticket, dist, replace(config, replace=False))  # it would get another name
    assert list(tmp_path.iterdir()) == [dist]


@needs_runtime
@needs_browser
def test_drawings_are_classified_in_a_browser(ticket: Ticket, tmp_path: Path) -> None:
    photograph(tmp_path / "grey.png", 1)
    (tmp_path / "text.png").write_bytes(b"no image")
    module, place = ticket.restore(), tmp_path / "a folder" / "site"
    place.parent.mkdir()
    export(module, ticket, place, WebExportConfig(title="<Digits> & more", runtime=RUNTIME))
    with browser() as page, served(tmp_path) as address:
        at = f"{address}a%20folder/site/"
        page.show(at)
        assert page.value(HINT) == ""
        assert page.value("document.title") == "<Digits> & more"
        assert page.value(ANSWER) == "–"
        for corner in (0.05, 0.7):  # a small 1, drawn in two corners: the network sees the same
            page.stroke((corner, corner), (corner, corner + 0.25))
            page.wait(f"{ANSWER} === '1'")
            page.value("document.querySelector('#button').click()")
            assert page.value(ANSWER) == "–"
        page.choose(tmp_path / "grey.png")
        expected = [f"{share:.1f}%" for share in probabilities(module, ticket, tmp_path / "grey.png")]
        page.wait(f"{ANSWER} !== '–'")
        assert page.value(ROWS) == [[str(digit), "", share] for digit, share in enumerate(expected)]
        page.choose(tmp_path / "text.png")
        page.wait(f"{HINT} === 'Cannot read text.png'")
        assert {name.removeprefix(at) for name in page.requests} == {"", SCRIPT, MODEL}


@needs_runtime
@needs_browser
def test_a_transformer_tells_a_thousand_classes_of_colour_images(tmp_path: Path) -> None:
    ticket = make_ticket(VIT, 0.3, classes=1000)
    names = [f"</script><b>&\"'\\ 猫 {index}" for index in range(1000)]
    ticket = replace(ticket, provenance=replace(ticket.provenance, classes=names))
    module = ticket.restore()
    photograph(tmp_path / "colour.png", 3)
    export(module, ticket, tmp_path / "site", WebExportConfig(runtime=RUNTIME))
    expected = probabilities(module, ticket, tmp_path / "colour.png")
    order = sorted(range(1000), key=lambda index: -expected[index])[:10]
    with browser() as page, served(tmp_path / "site") as address:
        page.show(address, width=375)
        page.choose(tmp_path / "colour.png")
        page.wait(f"{ANSWER} !== '–'")
        assert page.value(ROWS) == [[names[index], "", f"{expected[index]:.1f}%"] for index in order]
        assert page.value("document.documentElement.scrollWidth <= 375")


@needs_runtime
@needs_browser
def test_a_page_says_why_it_does_not_run(ticket: Ticket, tmp_path: Path) -> None:
    site, other = tmp_path / "site", make_ticket("lenet-300-100", 0.1, size=8, channels=1, seed=1)
    export(ticket.restore(), ticket, site, WebExportConfig(runtime=RUNTIME))
    with browser() as page, served(site) as address:
        page.show(site / "index.html")
        words = "It does not run: a page from a file can load no network. Serve its folder: python -m http.server"
        assert page.value(HINT) == words
        write_graph(other.restore(), other, site / MODEL, ExportConfig(include_preprocessing=True))
        page.show(address)
        assert page.value(HINT) == "It does not run: wrong outputs"
        page.stroke((0.5, 0.1), (0.5, 0.9))
        assert page.value(ANSWER) == "–"
        (site / MODEL).unlink()
        page.show(address)
        assert page.value(HINT) == f"It does not run: {MODEL}: 404"
