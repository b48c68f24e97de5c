"""`compare`: what it is asked for arrives, what it prints, and how it ends when interrupted."""

import json
from pathlib import Path
from typing import Any

import pytest

from slt_compress.cli.console import Printer
from slt_compress.comparison import run
from slt_compress.comparison.grid import Contender, Plan
from slt_compress.config import SearchConfig
from slt_compress.errors import OutputError
from slt_compress.pipeline import find
from slt_compress.pipeline.find import SearchResult
from slt_compress.prng import Freeze
from slt_compress.training import logs
from tests.support.commands import FakeLog, document, options, refused
from tests.support.process import Run


def test_a_small_grid_is_run_and_shown(invoke: Run, tmp_path: Path) -> None:
    grid = ("compare", "lenet-300-100", "--methods", "random", "--sparsities", "0.5", "--seeds", 1, "--no-dense")
    found = document(invoke(*grid, "--output", "grid", "--json"))
    assert [(row["method"], row["seed"]) for row in found["rows"]] == [("random", 0)]
    for name in ("results.csv", "results.json", "results.md", "accuracy-sparsity.png", "accuracy-bytes.png"):
        assert (tmp_path / "grid" / name).is_file()
    assert len(list((tmp_path / "grid" / "tickets").glob("*.safetensors"))) == 1
    shown = invoke(*grid, "--output", "grid")
    assert shown.returncode == 0
    heading, row, *_ = shown.stdout.splitlines()
    assert heading.split() == ["sparsity", "random"]
    assert row.split()[:2] == ["50", "%"]
    assert "test, in per cent, one seed" in shown.stdout
    assert str(Path("grid", "tickets")) in shown.stdout


def test_every_option_arrives(invoke: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def compare(plan: Plan, folder: Path, command: str, printer: Printer) -> None:
        seen.update(plan=plan, folder=folder, command=command, logs=printer.logs)
        raise OutputError("enough seen")

    monkeypatch.setattr(run, "compare", compare)
    monkeypatch.setattr(logs, "JsonLines", lambda path, _: FakeLog("lines", path))
    monkeypatch.setattr(logs, "TensorBoard", lambda path, _: FakeLog("board", path))
    chosen = {
        "--output": "grid",
        "--dataset": "imagefolder",
        "--data-dir": "images",
        "--input-size": 16,
        "--model-arg": "depth=6",
        "--workers": 2,
        "--methods": "crbg,edge-popup:layer:paper",
        "--sparsities": "0.9,0.25",
        "--seeds": 2,
        "--granularity": "weight",
        "--freeze-ratio": 0.5,
        "--lock-ratio": 0.25,
        "--init": "uniform",
        "--shard": "2/3",
        "--max-steps": 7,
        "--batch-size": 32,
        "--augment": "crop",
        "--precision": "fp32",
        "--device": "cpu",
        "--log": "log.jsonl",
        "--tensorboard": "board",
    }
    assert set(options("compare")) == {
        *chosen,
        "--skip-unreadable",
        "--dense",
        "--dense-lr",
        "--epochs",
        "--neuron-sparsity",
        "--bytes",
        "--models",
        "--checkpoint-every",
        "--json",
        "--quiet",
    }
    flags = [word for pair in chosen.items() for word in pair]
    refused(invoke("compare", "lenet-5", *flags, "--skip-unreadable", "--no-dense"), 1, "enough seen", tmp_path)
    plan = seen["plan"]
    assert seen["folder"] == Path("grid")
    assert plan.model == "lenet-5"
    assert plan.contenders == (Contender("crbg"), Contender("edge-popup", "paper", {"scope": "layer"}))
    assert (plan.sparsities, plan.seeds, plan.dense) == ((0.9, 0.25), 2, False)
    assert (plan.shard, plan.dense_lr) == ((2, 3), None)
    assert seen["logs"] == [("lines", Path("log.jsonl")), ("board", Path("board"))]
    assert plan.config == SearchConfig(
        dataset="imagefolder",
        data_dir=Path("images"),
        input_size=16,
        model_arguments={"depth": 6},
        workers=2,
        skip_unreadable=True,
        sparsity=0.0,  # each cell has its own
        freeze=Freeze(0.5, 0.25),
        initialiser="uniform",
        max_steps=7,
        batch_size=32,
        augment="crop",
        precision="fp32",
        device="cpu",
    )
    invoke("compare", "lenet-5", "--output", "grid", "--epochs", 3)
    assert seen["plan"].config == SearchConfig(sparsity=0.0, epochs=3)  # no other default of its own
    assert (seen["plan"].dense, seen["plan"].dense_lr, seen["plan"].shard, seen["logs"]) == (True, None, None, [])
    invoke("compare", "lenet-5", "--output", "grid", "--dense-lr", 0.002)
    assert seen["plan"].dense_lr == 0.002


def test_the_help_names_the_learning_rate_that_the_baseline_has() -> None:
    assert "[default: the best of three on held-out images]" in options("compare")["--dense-lr"].help


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--methods", "crgb"), "unknown method 'crgb' in --methods: did you mean crbg?"),
        (("--sparsities", "0.5,1"), "--sparsities must be numbers of at least 0 and below 1, got 1"),
        (("--seeds", "0"), "--seeds must be at least 1, got 0"),
        (("--epochs", "1", "--max-steps", "1"), "give --epochs or --max-steps, not both"),
        (("--lock-ratio", "0.5"), "--lock-ratio must be from 0 to --freeze-ratio, 0, got 0.5"),
        (("--shard", "3/2"), "--shard must be I/N with I from 1 to N, such as 1/4, got '3/2'"),
        (("--dense-lr", "0"), "--dense-lr must be a positive number, got 0"),
        (("--dense-lr", "nan"), "--dense-lr must be a positive number, got nan"),
        (("--dense-lr", "1", "--no-dense"), "--dense-lr has no meaning: neither the dense network is trained"),
    ],
)
def test_bad_requests(invoke: Run, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    refused(invoke("compare", "lenet-5", "--output", "grid", *arguments), 2, words, tmp_path)
    assert not (tmp_path / "grid").exists()


def test_an_interrupt_says_how_to_go_on(invoke: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def compare(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "compare", compare)
    done = invoke("compare", "lenet-5", "--output", "grid")
    assert done.returncode == 130
    assert done.stderr == "error: interrupted; finished cells stay in grid, run the same command again to continue\n"


GRID = ("compare", "lenet-300-100", "--methods", "random,edge-popup", "--sparsities", "0.5", "--seeds", 1, "--no-dense")


def test_failed_runs_are_told_after_the_tables(invoke: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_ticket(model: str, config: SearchConfig, *arguments: Any, **others: Any) -> SearchResult:
        if config.method == "edge-popup":
            raise RuntimeError("no memory")
        return find.find_ticket(model, config, *arguments, **others)

    monkeypatch.setattr(run, "find_ticket", find_ticket)
    done = invoke(*GRID, "--output", "grid")
    assert done.returncode == 1
    assert done.stdout.splitlines()[0].split() == ["sparsity", "random"]
    assert "cells" in done.stdout
    assert "1 of 2 finished" in done.stdout
    reason = "RuntimeError: no memory (traceback in grid/cells/edge-popup-0.5-0.error.txt)"
    assert f"edge-popup-0.5-0: {reason}" in done.stdout
    assert done.stderr.endswith("error: 1 of 2 runs failed: edge-popup-0.5-0; see above\n")
    assert (tmp_path / "grid" / "results.md").exists()
    found = document(invoke(*GRID, "--output", "grid", "--json"), 1)
    assert found["failed"] == {"edge-popup-0.5-0": reason}
    assert [row["method"] for row in found["rows"]] == ["random"]


def test_a_shard_says_what_comes_next(invoke: Run, tmp_path: Path) -> None:
    grid = (*GRID, "--max-steps", 2, "--output", "grid")
    done = invoke(*grid, "--shard", "1/2")
    assert done.returncode == 0
    assert done.stdout == (
        "cells  1 of 2 finished\n\nnext, once all shards are finished: the same command without --shard\n"
    )
    assert not (tmp_path / "grid" / "results.md").exists()
    found = document(invoke(*grid, "--shard", "2/2", "--json"))
    assert len(found["rows"]) == found["cells"] == 2
    assert invoke(*grid).returncode == 0
    assert (tmp_path / "grid" / "results.md").exists()


def test_a_log_names_the_cell(cli: Run, tmp_path: Path) -> None:
    grid = ("compare", "lenet-300-100", "--methods", "crbg", "--sparsities", "0.5", "--seeds", 1, "--max-steps", 2)
    document(cli(*grid, "--output", "grid", "--log", "log.jsonl", "--tensorboard", "board", "--json"))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["run"], line["step"]) for line in lines] == [
        *(("crbg-0.5-0", 1), ("crbg-0.5-0", 2)),
        *(("dense-0", 1), ("dense-0", 2)) * 3,  # learning rates
    ]
    assert sorted(path.name for path in (tmp_path / "board").iterdir()) == ["crbg-0.5-0", "dense-0"]


def test_a_comparison_writes_over_nothing_that_it_reads(invoke: Run, tmp_path: Path) -> None:
    for name in ("images/train/a/0.png", "out/results.csv"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("path,label\n../images/train/a/0.png,a\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    listed = ("--dataset", "csv", "--data-dir", "out/results.csv", "--output")
    folder = ("--dataset", "imagefolder", "--data-dir", "images", "--output")
    for words, message in (
        (
            (*listed, "other", "--log", "out/results.csv"),
            "--log would replace out/results.csv, one of the files",
        ),
        ((*listed, "other", "--log", "images/train/a/0.png"), "one of the files in --data-dir: give another --log"),
        ((*listed, "out"), "results.csv in --output would replace out/results.csv, one of the files in --data-dir"),
        ((*folder, "images"), "--data-dir and --output are the same file"),
        ((*folder, "other", "--log", "images/train/a/0.png"), "one of the files in --data-dir: give another --log"),
        ((*folder, "other", "--tensorboard", "images"), "--data-dir and --tensorboard are the same file"),
    ):
        answer = document(invoke("compare", "lenet-5", *words, "--json"), 2)
        assert message in answer["error"]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
