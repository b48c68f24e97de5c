"""The front door: the same results as the command line, nothing printed, settings by name."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import slt_compress
from slt_compress.config import SearchConfig
from slt_compress.errors import DataError, TicketError, UnreachableError, UsageError, VerificationError
from slt_compress.evaluation.networks import open_network
from slt_compress.progress import SILENT_GRID
from tests.support.images import predictions_of
from tests.support.process import Run
from tests.support.reporters import RecordingReporter
from tests.support.tickets import make_ticket

QUICK: dict[str, Any] = {"max_steps": 40, "sparsity": 0.8}


@pytest.fixture(scope="module")
def result() -> slt_compress.SearchResult:
    return slt_compress.search("lenet-300-100", "digits", **QUICK)


def test_a_search_finds_what_the_command_finds(result: slt_compress.SearchResult, cli: Run, tmp_path: Path) -> None:
    arguments = ("search", "lenet-300-100", "--dataset", "digits", "--max-steps", 40, "--sparsity", 0.8)
    assert cli(*arguments, "--output", "t.safetensors").returncode == 0
    result.ticket.save(tmp_path / "own.safetensors")
    assert (tmp_path / "own.safetensors").read_bytes() == (tmp_path / "t.safetensors").read_bytes()


def test_a_result_has_its_accuracy_and_its_history(result: slt_compress.SearchResult) -> None:
    assert result.accuracy == result.test.accuracy == result.ticket.provenance.metrics["accuracy"]
    assert [progress.step for progress in result.history] == list(range(1, 41))
    assert {progress.steps for progress in result.history} == {40}
    assert result.history[-1].sparsity == pytest.approx(0.8, abs=0.01)


def test_settings_come_on_top_of_a_config(result: slt_compress.SearchResult) -> None:
    config = SearchConfig(dataset="mnist", sparsity=0.5, max_steps=40)
    same = slt_compress.search("lenet-300-100", "digits", config=config, sparsity=0.8)
    assert same.ticket.to_bytes() == result.ticket.to_bytes()


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = slt_compress.search("lenet-300-100", max_steps=5)
    found.ticket.save(tmp_path / "t.safetensors")
    slt_compress.evaluate(tmp_path / "t.safetensors")
    slt_compress.export(tmp_path / "t.safetensors", tmp_path / "t.onnx")
    (row, dense) = slt_compress.bench([tmp_path / "t.onnx"], batch=[8], rounds=1, runs=1).rows
    assert (row.batch, row.runs, row.compared_with) == (8, 1, f"{dense.file} ({dense.measured})")
    assert capfd.readouterr() == ("", "")


def test_a_ticket_its_file_and_its_export_are_measured_alike(result: slt_compress.SearchResult, tmp_path: Path) -> None:
    result.ticket.save(tmp_path / "t.safetensors")
    exported = slt_compress.export(result.ticket, tmp_path / "t.onnx", format="onnx", weights="compact")
    assert exported.bytes == (tmp_path / "t.onnx").stat().st_size
    assert exported.bit_identical_to_dense
    assert exported.agreement
    assert exported.agreement.equal == exported.agreement.predictions == exported.agreement.samples == 360
    for network in (result.ticket, str(tmp_path / "t.safetensors"), tmp_path / "t.onnx"):
        measured = slt_compress.evaluate(network)
        assert measured.accuracy == result.accuracy
        assert torch.equal(predictions_of(measured), predictions_of(result.test))


def test_int8_is_calibrated_on_training_images(result: slt_compress.SearchResult, tmp_path: Path) -> None:
    config = slt_compress.ExportConfig(weights="int8")
    exported = slt_compress.export(
        result.ticket, tmp_path / "t.onnx", format="onnx", config=config, max_accuracy_drop=1.0
    )
    assert exported.calibration_images == 256


def test_images_that_might_have_to_be_downloaded_are_left_alone(tmp_path: Path) -> None:
    reporter = RecordingReporter()
    exported = slt_compress.export(make_ticket("lenet-5", 0.5, size=28), tmp_path / "t.onnx", reporter=reporter)
    assert exported.agreement is None
    assert any("no images of imagefolder" in note and "`data_dir`" in note for note in reporter.notes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsty": 0.9}, r"^unknown setting 'sparsty'; known: dataset, "),
        ({"sparsity": 1.0}, r"^`sparsity` must be at least 0 and below 1, got 1$"),
        ({"method": "none"}, r"^unknown `method` 'none'"),
        ({"epochs": 1, "max_steps": 1}, r"^give `epochs` or `max_steps`, not both$"),
    ],
)
def test_settings_out_of_place_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        slt_compress.search("lenet-300-100", **settings)


def test_failures_are_those_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "t.safetensors").write_bytes(b"no ticket")
    (tmp_path / "t.onnx").write_bytes(b"no graph")
    with pytest.raises(TicketError, match="not a valid ticket"):
        slt_compress.evaluate(tmp_path / "t.safetensors")
    with pytest.raises(TicketError, match="cannot read the ticket"):
        slt_compress.evaluate(tmp_path / "absent.safetensors")
    with pytest.raises(VerificationError, match="cannot load"):
        slt_compress.evaluate(tmp_path / "t.onnx")
    with pytest.raises(DataError, match="10 classes"):
        slt_compress.evaluate(make_ticket("lenet-300-100", 0.5, size=8, channels=1), "digits")
    with pytest.raises(UnreachableError, match=r"use `weights=dense`"):
        slt_compress.export(
            make_ticket("lenet-5", 0.5, size=28, initialiser="kaiming-normal"), tmp_path / "normal.onnx"
        )
    with pytest.raises(UsageError, match=r"^unknown setting 'weight'; known: weights, "):
        slt_compress.export(make_ticket("lenet-5", 0.5, size=28), tmp_path / "x.onnx", weight="dense")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.onnx", "t.safetensors"]


def test_an_opened_network_is_measured_as_it_is(result: slt_compress.SearchResult) -> None:
    network = open_network(result.ticket, "cpu")
    assert slt_compress.evaluate(network).accuracy == result.accuracy


def test_the_silent_grid_has_nothing_to_say() -> None:
    with SILENT_GRID.grid_progress(1, 0, 5) as cell, cell.training_progress() as report:
        cell.begin("cell")
        cell.finish("done", 5)
        assert report is None


def test_every_public_name_is_there_and_waits_until_it_is_used() -> None:
    for name in slt_compress.__all__:
        assert getattr(slt_compress, name) is not None
    assert dir(slt_compress) == sorted(slt_compress.__all__)
    code = "import sys, slt_compress\nprint(sorted({'torch', 'numpy', 'onnx', 'safetensors'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_would_be_ignored_is_refused(result: slt_compress.SearchResult, tmp_path: Path) -> None:
    result.ticket.save(tmp_path / "t.onnx")
    network, path = open_network(result.ticket, "cpu"), tmp_path / "other.onnx"
    attempts: list[tuple[Callable[[], object], str]] = [
        (lambda: slt_compress.search("lenet-300-100", data_dir="."), "`data_dir` has no meaning for `dataset=digits`"),
        (lambda: slt_compress.search("lenet-300-100", method="random", epochs=2), "`epochs` has no meaning for"),
        (lambda: slt_compress.evaluate(network, device="cpu"), "`device` has no meaning for a network that has been"),
        (lambda: slt_compress.evaluate(result.ticket, data_dir=tmp_path), "`data_dir` has no meaning for `dataset=dig"),
        (lambda: slt_compress.export(result.ticket, path, max_accuracy_drop=0.5), "`max_accuracy_drop` has no meaning"),
        (lambda: slt_compress.export(result.ticket, path, train=[1]), "`train` has no meaning for `weights=compact`"),
        (
            lambda: slt_compress.export(make_ticket("lenet-5", 0.5, size=28), path, metric="accuracy"),
            "`loss` and `metric` have no meaning without data",
        ),
        (
            lambda: slt_compress.export(tmp_path / "t.onnx", str(tmp_path / "." / "t.onnx")),
            "the ticket and `output` are the same file",
        ),
    ]
    for attempt, message in attempts:
        with pytest.raises(UsageError, match=message):
            attempt()
    assert [one.name for one in tmp_path.iterdir()] == ["t.onnx"]
    assert slt_compress.Ticket.load(tmp_path / "t.onnx").digest == result.ticket.digest
