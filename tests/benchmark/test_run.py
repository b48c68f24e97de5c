"""From files to figures: turns, batch sizes, and a real measurement."""

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from slt_compress.benchmark import run
from slt_compress.benchmark.candidates import candidates
from slt_compress.benchmark.config import BenchConfig
from slt_compress.errors import UsageError, VerificationError
from slt_compress.progress import SILENT
from tests.support.graphs import save_linear
from tests.support.reporters import RecordingReporter


def test_each_file_comes_first_as_often_and_before_each_other() -> None:
    for count in (1, 2, 3, 5):
        orders = [run.order(count, turn) for turn in range(2 * count)]
        assert all(sorted(order) == list(range(count)) for order in orders)
        assert set(Counter(order[0] for order in orders).values()) == {2}
        pairs = Counter((a, b) for order in orders for at, a in enumerate(order) for b in order[at + 1 :])
        assert len(set(pairs.values())) <= 1


def test_files_are_measured_in_processes_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [save_linear(tmp_path / f"{name}.onnx") for name in "ab"]
    started = []

    class Counted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: object, **settings: object) -> None:
            super().__init__(*arguments, **settings)  # type: ignore[call-overload]
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Counted)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    reporter = RecordingReporter()
    result = run.bench(files, BenchConfig((2, 1), rounds=2, runs=3), None, reporter)
    assert [(row.file, row.batch, row.runs, row.macs) for row in result.rows] == [
        (str(file), batch, 6, 20) for file in files for batch in (1, 2)
    ]
    assert all(row.compared_with == str(files[0]) and row.latency_seconds > 0 for row in result.rows)
    assert [process.returncode for process in started] == [0] * 4
    assert list(temporary.iterdir()) == []
    assert reporter.counted == {"measuring": (3, 4)}
    assert result.machine["cores"]
    assert set(result.versions) == {"slt_compress", "python", "onnxruntime", "numpy"}


def test_a_fixed_batch_is_measured_of_all_files(tmp_path: Path) -> None:
    files = [save_linear(tmp_path / "fixed.onnx", 8), save_linear(tmp_path / "open.onnx")]
    chosen = candidates(files, tmp_path, None, SILENT)
    batches = run.plan(chosen, BenchConfig((1, 32)))
    assert [[size for size, _ in each] for each in batches] == [[8], [1, 8, 32]]
    assert chosen.notes == [f"{files[0]} takes batches of 8 alone"]


def test_requests_that_cannot_be_met(tmp_path: Path) -> None:
    file = save_linear(tmp_path / "a.onnx")
    with pytest.raises(UsageError, match=r"`provider` must be one that onnxruntime lists here, .*CPU.*; got 'Fast'"):
        run.bench([file], BenchConfig(provider="Fast"), None, SILENT)
    with pytest.raises(UsageError, match="there is no file"):
        run.bench([], BenchConfig(), None, SILENT)
    with pytest.raises(UsageError, match="expected a list of files"):
        run.bench(str(file), BenchConfig(), None, SILENT)
    with pytest.raises(UsageError, match="`dims` sets sequence, which is no dimension"):
        run.bench([file], BenchConfig(dims={"sequence": 4}), None, SILENT)


def test_inputs_larger_than_memory_are_refused_before_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = save_linear(tmp_path / "a.onnx")
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 1000, "SC_PHYS_PAGES": 1}.__getitem__)
    with pytest.raises(
        UsageError, match=r"inputs of .*a.onnx alone take 0 GB at batch 100, .*: give a smaller `batch`"
    ):
        run.bench([file], BenchConfig((1, 100)), None, SILENT)


def test_a_damaged_file_ends_the_measurement(tmp_path: Path) -> None:
    good = save_linear(tmp_path / "a.onnx")
    (tmp_path / "b.onnx").write_bytes(good.read_bytes().replace(b"Gemm", b"Germ"))
    with pytest.raises(VerificationError, match=r"onnxruntime cannot load .*b.onnx"):
        run.bench([tmp_path / "b.onnx", good], BenchConfig(rounds=1, runs=1), None, SILENT)
