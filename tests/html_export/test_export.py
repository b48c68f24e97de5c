"""A page is written only if its module computes what torch does; in a browser, it then classifies as torch does."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from slt_compress.c_export import kernels, proof
from slt_compress.c_export.export import Examples
from slt_compress.errors import MissingPackageError, OutputError, UnreachableError, UsageError, VerificationError
from slt_compress.html_export import wasm
from slt_compress.html_export.export import HtmlExportConfig, check, export
from slt_compress.ticket.sample import with_values
from slt_compress.ticket.ticket import Ticket
from tests.support.browser import browser, needs_browser
from tests.support.c_code import Sequence, ticket_of
from tests.support.digits import DIGITS
from tests.support.neuron_tickets import make_neuron_ticket
from tests.support.pages import needs_node, needs_wasm
from tests.support.photographs import ANSWER, ROWS, photograph, probabilities
from tests.support.tickets import make_ticket

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.html"


@needs_wasm
@needs_node
def test_the_module_decides_as_torch_on_all_images(ticket: Ticket, tmp_path: Path) -> None:
    for layout, arithmetic in (("rice", "float"), ("signs", "fixed")):
        examples = Examples(DIGITS.read("test", 8), DIGITS.read("train", 8))
        config = HtmlExportConfig(layout, arithmetic)
        found = export(ticket.restore(), ticket, tmp_path / "t.html", config, examples)
        assert found.bytes == (tmp_path / "t.html").stat().st_size
        assert found.module_run
        assert found.agreement
        assert found.agreement.equal >= (360 if config.exact else 350)
        assert found.calibration_images == (0 if config.exact else len(examples.calibration or []))
    again = export(ticket.restore(), ticket, tmp_path / "again.html", config, examples)
    assert again.file.read_bytes() == found.file.read_bytes()


@needs_wasm
@needs_node
def test_a_page_of_stored_weights_calls_them_trained(ticket: Ticket, tmp_path: Path) -> None:
    stored = with_values(ticket, "int4")
    found = export(stored.restore(), stored, tmp_path / "t.html", examples=Examples(DIGITS.read("test", 8)))
    assert found.module_run
    assert found.agreement
    assert found.agreement.equal == 360
    assert f"{stored.kept:,} of {stored.weight_count:,} trained weights" in (tmp_path / "t.html").read_text()
    with pytest.raises(UnreachableError, match="`format=html` is for weights that are all generated or all stored"):
        check(with_values(ticket, "int4", {ticket.layers[0].name}), HtmlExportConfig())


@needs_wasm
@needs_browser
def test_drawings_and_images_are_classified_in_a_browser(ticket: Ticket, tmp_path: Path) -> None:
    module = ticket.restore()
    photograph(tmp_path / "grey.png", 1)
    found = export(module, ticket, tmp_path / "t.html", HtmlExportConfig(title="<Digits> & more"))
    with browser() as page:
        page.show(found.file)
        assert page.value("document.title") == "<Digits> & more"
        assert page.value(ANSWER) == "–"
        for place in (0.05, 0.7):  # a small 1, drawn in two corners: the network sees the same
            page.stroke((place, place), (place, place + 0.25))
            assert page.value(ANSWER) == "1"
            page.value("document.querySelector('#button').click()")
            assert page.value(ANSWER) == "–"
        page.choose(tmp_path / "grey.png")
        page.wait(f"{ANSWER} !== '–'")
        expected = [f"{share:.1f}%" for share in probabilities(module, ticket, tmp_path / "grey.png")]
        assert page.value(ROWS) == [[str(digit), "", share] for digit, share in enumerate(expected)]
        page.choose(found.file)
        page.wait("document.querySelector('#hint').textContent === 'Cannot read t.html'")
        assert page.requests == [found.file.as_uri()]


@needs_wasm
@needs_browser
def test_a_thousand_classes_of_colour_images(tmp_path: Path) -> None:
    ticket = make_ticket("lenet-300-100", 0.3, size=8, classes=1000)
    names = [f"</script><b>&\"'\\ 猫 {index}" for index in range(1000)]
    ticket = replace(ticket, provenance=replace(ticket.provenance, classes=names))
    module = ticket.restore()
    photograph(tmp_path / "colour.png", 3)
    found = export(module, ticket, tmp_path / "t.html")
    expected = probabilities(module, ticket, tmp_path / "colour.png")
    order = sorted(range(1000), key=lambda index: -expected[index])[:10]
    with browser() as page:
        page.show(found.file, width=375)
        page.choose(tmp_path / "colour.png")
        page.wait(f"{ANSWER} !== '–'")
        assert page.value(ANSWER) == names[order[0]]
        assert page.value(ROWS) == [[names[index], "", f"{expected[index]:.1f}%"] for index in order]
        assert page.value("document.documentElement.scrollWidth <= 375")


@needs_browser
def test_the_example_recognises_digits_wherever_they_are_drawn() -> None:
    assert EXAMPLE.stat().st_size <= 15_000
    with browser() as page:
        page.show(EXAMPLE)
        for x, y, side in ((0.05, 0.05, 0.2), (0.3, 0.6, 0.3), (0.1, 0.1, 0.8)):
            page.value("document.querySelector('#button').click()")
            corners = ((0.1, 0.1), (0.8, 0.1), (0.35, 1.0))
            page.stroke(*((x + side * across, y + side * down) for across, down in corners))
            assert page.value(ANSWER) == "7"


@needs_wasm
@needs_node
def test_a_wrong_number_in_the_code_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticket = make_ticket("lenet-300-100", 0.1, size=8)
    monkeypatch.setattr(kernels, "LINEAR", kernels.LINEAR.replace("float sum = 0", "float sum = 1"))
    with pytest.raises(VerificationError, match=r"the C code differs from torch by .*: nothing was written"):
        export(ticket.restore(), ticket, tmp_path / "t.html")
    assert list(tmp_path.iterdir()) == []


@needs_wasm
def test_without_node_and_compiler_the_page_is_written_and_unproven(
    ticket: Ticket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wasm, "node", lambda: None)
    monkeypatch.setattr(proof, "compiler", lambda: None)
    found = export(ticket.restore(), ticket, tmp_path / "t.html", examples=Examples(DIGITS.read("test", 8)))
    assert (found.proven_with, found.module_run, found.max_abs_difference, found.agreement) == (None,) * 1 + (
        False,
        None,
        None,
    )
    with pytest.raises(MissingPackageError, match=r"`arithmetic=fixed` needs Node\.js or a C compiler"):
        check(ticket, HtmlExportConfig(arithmetic="fixed"))


@needs_wasm
def test_dead_neurons_are_in_no_page(tmp_path: Path) -> None:
    ticket = make_neuron_ticket("lenet-5", 0.5, size=16)
    cut, whole = (
        export(ticket.restore(), ticket, tmp_path / "t.html", HtmlExportConfig(keep_structure=keep))
        for keep in (False, True)
    )
    assert cut.left.removed_neurons
    assert whole.left.removed_neurons is None
    assert cut.module_bytes < whole.module_bytes


def test_what_cannot_be_a_page_is_refused_before_any_work(
    ticket: Ticket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wasm, "toolchain", lambda: None)
    for title in ("", " ", "a\nb", "\udc80"):
        with pytest.raises(UsageError, match="`title` must be a line of text, got"):
            check(ticket, HtmlExportConfig(title=title))
    with pytest.raises(UsageError, match="`layout` must be one of rice, gap, signs, got 'zip'"):
        check(ticket, HtmlExportConfig("zip"))
    with pytest.raises(
        UnreachableError, match=r"grey or colour images, this network takes inputs of the shape \(2, 40\)"
    ):
        check(ticket_of(Sequence(), Sequence.shape), HtmlExportConfig())
    several = replace(ticket.provenance, task=replace(ticket.provenance.task, name="multi-label"))
    with pytest.raises(UnreachableError, match="shows one class an image, this network is for multi-label"):
        check(replace(ticket, provenance=several), HtmlExportConfig())
    with pytest.raises(OutputError, match="does not exist"):
        export(torch.nn.Flatten(), ticket, tmp_path / "no" / "t.html")
