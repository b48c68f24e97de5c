"""`compare`: what it is asked for arrives, what it prints, and how it ends when interrupted."""

from pathlib import Path
from typing import Any

import pytest

from slt_compress.comparison import run
from slt_compress.comparison.grid import Contender, Plan
from slt_compress.config import SearchConfig
from slt_compress.errors import OutputError
from slt_compress.prng import Freeze
from tests.support.commands import document, options, refused
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

    def compare(plan: Plan, folder: Path, *_: object) -> None:
        seen.update(plan=plan, folder=folder)
        raise OutputError("enough seen")

    monkeypatch.setattr(run, "compare", compare)
    chosen = {
        "--output": "grid",
        "--dataset": "imagefolder",
        "--data-dir": "images",
        "--input-size": 16,
        "--methods": "crbg,edge-popup:layer:paper",
        "--sparsities": "0.9,0.25",
        "--seeds": 2,
        "--freeze-ratio": 0.5,
        "--lock-ratio": 0.25,
        "--init": "uniform",
        "--max-steps": 7,
        "--batch-size": 32,
        "--augment": "crop",
        "--precision": "fp32",
        "--device": "cpu",
    }
    assert set(options("compare")) == {*chosen, "--dense", "--epochs", "--json", "--quiet"}
    flags = [word for pair in chosen.items() for word in pair]
    refused(invoke("compare", "lenet-5", *flags, "--no-dense"), 1, "enough seen", tmp_path)
    plan = seen["plan"]
    assert seen["folder"] == Path("grid")
    assert plan.model == "lenet-5"
    assert plan.contenders == (Contender("crbg"), Contender("edge-popup", "paper", {"scope": "layer"}))
    assert (plan.sparsities, plan.seeds, plan.dense) == ((0.9, 0.25), 2, False)
    assert plan.config == SearchConfig(
        dataset="imagefolder",
        data_dir=Path("images"),
        input_size=16,
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
    assert seen["plan"].dense


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--methods", "crgb"), "unknown method 'crgb' in --methods: did you mean crbg?"),
        (("--sparsities", "0.5,1"), "--sparsities must be numbers of at least 0 and below 1, got 1"),
        (("--seeds", "0"), "--seeds must be at least 1, got 0"),
        (("--epochs", "1", "--max-steps", "1"), "give --epochs or --max-steps, not both"),
        (("--lock-ratio", "0.5"), "--lock-ratio must be from 0 to --freeze-ratio, 0, got 0.5"),
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
