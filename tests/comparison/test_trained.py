"""Pruned networks with trained weights beside strong tickets in one comparison."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import slt_compress
from slt_compress.comparison.grid import Cell, Contender, Plan
from slt_compress.comparison.trained import prune_config
from slt_compress.config import SearchConfig
from slt_compress.errors import UsageError
from slt_compress.prng import Freeze
from slt_compress.ticket.ticket import Ticket
from tests.support.process import run_here

COMMON = SearchConfig(sparsity=0.0, max_steps=12, batch_size=128)


def plan_of(methods: str, config: SearchConfig = COMMON) -> Plan:
    return Plan.parse("lenet-300-100", config, methods=methods, sparsities="0.9", seeds=1, dense=False)


def test_what_stands_behind_prune_reaches_its_config() -> None:
    one = Contender.parse("prune:magnitude:int8")
    assert (one.method, one.recipe, one.options) == ("prune", "default", {"pruned_by": "magnitude", "values": "int8"})
    assert one.label == "prune:magnitude:int8"
    assert Contender.parse(one.label) == one
    paper = Contender.parse("prune:continuous-sparsification:paper:fp32")
    assert Contender.parse(paper.label) == paper
    cell = Cell(paper, 0.9, 3)
    assert (cell.name, cell.optimises, cell.is_dense) == (
        "prune-continuous-sparsification-fp32-paper-0.9-3",
        True,
        False,
    )
    config = prune_config(
        paper.recipe, paper.options, 0.9, 3, replace(COMMON, augment="flip", precision="bf16"), (0.1, 0.2)
    )
    assert (config.method, config.recipe, config.values, config.sparsity) == (
        *("continuous-sparsification", "paper", "fp32", 0.9),
    )
    assert config.learning_rates == (0.1, 0.2)
    run = config.run
    assert (run.seed, run.max_steps, run.batch_size, run.augment, run.precision) == (3, 12, 128, "flip", "bf16")
    assert run.initialiser == "kaiming-normal"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prune", r"'prune' in `methods` should be prune:METHOD\[:VALUES\], METHOD one of continuous-sparsification"),
        ("prune:random", "'prune:random' in `methods` should be prune:METHOD"),
        ("prune:crbg:int7", "unknown option 'int7' of 'prune:crbg:int7' in `methods`; known: fp32, fp16, int8, int4"),
        ("prune:crbg:int8:int4", "gives the values twice"),
        ("prune:crbg:paper:paper", "gives the recipe twice"),
    ],
)
def test_what_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Contender.parse(text)


def test_targets_that_trained_weights_do_not_have_are_refused() -> None:
    with pytest.raises(UsageError, match="`bytes` is for tickets of random weights; give `sparsities` for prune:crbg"):
        replace(plan_of("prune:crbg,crbg"), sparsities=(), sizes=(5_000,))
    for config in (replace(COMMON, granularity="neuron"), replace(COMMON, freeze=Freeze(0.5, 0.1))):
        with pytest.raises(UsageError, match="have no meaning for prune:crbg"):
            plan_of("prune:crbg", config)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("trained")
    methods = "random,prune:magnitude:int8,prune:crbg"
    words = ("--methods", methods, "--sparsities", "0,0.9", "--seeds", "1", "--max-steps", "40", "--no-dense")
    done = run_here("compare", "lenet-300-100", *words, "--output", "grid", "--json", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "grid", json.loads(done.stdout)


def test_a_cell_is_what_prune_makes(compared: tuple[Path, dict[str, Any]]) -> None:
    folder, document = compared
    rows = {(row["method"], row["pruned_by"], row["asked_sparsity"]): row for row in document["rows"]}
    row = rows["prune", "magnitude", 0.9]
    ticket = Ticket.load(folder / row["ticket"])
    assert {layer.values and layer.values.type for layer in ticket.layers} == {"int8"}
    assert row["bytes"] == len(ticket.to_bytes())
    assert row["sparsity"] == ticket.sparsity == pytest.approx(0.9, abs=0.001)
    again = slt_compress.prune(
        "lenet-300-100", "digits", method="magnitude", values="int8", sparsity=0.9, max_steps=40, batch_size=256
    )
    assert again.ticket.to_bytes() == ticket.to_bytes()
    assert (row["accuracy"], row["validation_accuracy"]) == (again.accuracy, again.validation.accuracy)
    assert rows["random", None, 0.9]["values"] is None


def test_at_sparsity_zero_it_is_the_dense_network_in_int8(compared: tuple[Path, dict[str, Any]]) -> None:
    folder, document = compared
    row = next(one for one in document["rows"] if (one["pruned_by"], one["asked_sparsity"]) == ("magnitude", 0))
    ticket = Ticket.load(folder / row["ticket"])
    assert ticket.sparsity == 0
    assert ticket.weight_count < row["bytes"] < 1.2 * ticket.weight_count
    assert row["accuracy"] > 0.8
