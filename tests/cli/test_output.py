"""Names of tickets, and saving them."""

from pathlib import Path

import pytest

from slt_compress.cli.console import Printer
from slt_compress.cli.output import default_name, figures, how_to_measure, rescued, save, stem
from slt_compress.config import SearchConfig
from slt_compress.evaluation.accuracy import Evaluation
from slt_compress.pipeline.find import SearchResult
from slt_compress.ticket.ticket import Ticket
from tests.support.tickets import make_ticket


def test_a_name_says_how_a_ticket_was_made() -> None:
    assert default_name(["torchvision/resnet18"], "digits", "prune-magnitude-0.9-int8", 3) == (
        "torchvision-resnet18-digits-prune-magnitude-0.9-int8-3.safetensors"
    )
    assert default_name(["a/net.py:build", "depth=3"], "hf:me/images#x", "0.5", 0) == (
        "net-build-depth=3-hf-images-0.5-0.safetensors"
    )
    assert stem("cifar10") == "cifar10"


def test_another_result_is_not_replaced_unless_it_is_named(
    ticket: Ticket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.safetensors"
    assert save(ticket, path, Printer(), named=False) == path
    other = make_ticket("lenet-300-100", 0.5, size=8, channels=1)
    assert save(ticket, path, Printer(), named=False) == path  # the same result
    assert save(other, path, Printer(), named=False) != path
    assert "holds another result and stays as it is" in capsys.readouterr().err.replace("\n", " ")
    assert save(other, path, Printer(), named=True) == path


def test_an_interrupt_saves_what_was_found(ticket: Ticket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where a ticket goes whose own place cannot be written
    path = tmp_path / "t.safetensors"
    assert rescued([], "lenet-300-100", path, named=True) == ""
    text = rescued([(ticket, SearchConfig())], "lenet-300-100", path, named=True)
    assert text == f"interrupted; the ticket was found, and is saved as {path}"
    assert Ticket.load(path).digest == ticket.digest
    (tmp_path / "file").write_text("")
    assert rescued([(ticket, SearchConfig())], "x", tmp_path / "file" / "t", named=True).startswith("interrupted; ")
    advice = how_to_measure("net.py:build", SearchConfig(skip_unreadable=True), path)
    words = f"slt-compress evaluate {path} --dataset digits --source net.py:build --skip-unreadable"
    assert advice == f"later measure it with: {words}"


def test_figures_are_of_the_written_file(ticket: Ticket, tmp_path: Path) -> None:
    ticket.save(tmp_path / "t.safetensors")
    measured = Evaluation(0.5, 0.1, 10, 0.1, None)
    result = SearchResult(ticket, measured, measured, 100, 2.0, 3.0, 4.0, neuron_sparsity=0.25)
    found = figures(tmp_path / "t.safetensors", ("net", "digits", "crbg"), result, result)
    assert found["bytes"] == len(ticket.to_bytes())
    assert (found["model"], found["dataset"], found["method"]) == ("net", "digits", "crbg")
    assert (found["accuracy"], found["validation_accuracy"], found["neuron_sparsity"]) == (0.5, 0.5, 0.25)
