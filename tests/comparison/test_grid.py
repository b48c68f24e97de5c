"""What a comparison is asked for: lists, methods with options, and the cells they make."""

import re
from dataclasses import replace
from typing import Any

import pytest

from slt_compress.comparison.grid import Cell, Contender, Plan
from slt_compress.config import SearchConfig
from slt_compress.errors import UsageError
from slt_compress.methods import registry
from slt_compress.methods.registry import MethodEntry, Option, Recipe

MODEL = "lenet-300-100"
CONFIG = SearchConfig(sparsity=0.0, max_steps=7)
TOY = MethodEntry(
    {"default": Recipe("toy:Toy"), "paper": Recipe("toy:Toy")},
    options=(
        Option("toy_option", int, "A number."),
        Option("toy_share", float, "A fraction."),
        Option("toy_kind", str, "A choice.", ("plain", "fancy")),
    ),
)


def test_cells_come_seed_by_seed_and_carry_their_config() -> None:
    plan = Plan.parse(MODEL, CONFIG, methods="crbg, random", sparsities="0.9,0", seeds=2, dense=True)
    assert plan.model == MODEL
    assert [cell.name for cell in plan.cells()] == [
        *("crbg-0.9-0", "random-0.9-0", "crbg-0.0-0", "random-0.0-0", "dense-0"),
        *("crbg-0.9-1", "random-0.9-1", "crbg-0.0-1", "random-0.0-1", "dense-1"),
    ]
    config = plan.cells()[6].config(CONFIG)
    assert (config.method, config.sparsity, config.density, config.seed) == ("random", 0.9, 1 - 0.9, 1)
    assert config.max_steps == 7
    without = Plan.parse(MODEL, CONFIG, methods="crbg", sparsities="0.9", seeds=1, dense=False)
    assert not [cell for cell in without.cells() if cell.is_dense]


def test_cells_know_whether_they_make_steps() -> None:
    plan = Plan.parse(MODEL, CONFIG, methods="crbg,random", sparsities="0.9", seeds=1, dense=True)
    assert [cell.optimises for cell in plan.cells()] == [True, False, True]


def test_options_of_a_method_reach_its_config() -> None:
    for text in ("edge-popup:global:paper", "edge-popup:paper:global", "edge-popup:scope=global:paper"):
        cell = Cell(Contender.parse(text), 0.9, 3)
        config = cell.config(CONFIG)
        assert (config.method, config.options, config.recipe) == ("edge-popup", {"scope": "global"}, "paper")
        assert (cell.contender.label, cell.name) == ("edge-popup:global:paper", "edge-popup-global-paper-0.9-3")
    with pytest.raises(UsageError, match="gives the scope twice"):
        Contender.parse("edge-popup:global:layer")
    with pytest.raises(UsageError, match="gives the recipe twice"):
        Contender.parse("edge-popup:paper:default")
    methods = "edge-popup:global:paper,edge-popup:paper:global"
    with pytest.raises(UsageError, match="`methods` names edge-popup:global:paper twice"):
        Plan.parse(MODEL, CONFIG, methods=methods, sparsities="0.9", seeds=1, dense=False)
    with pytest.raises(
        UsageError,
        match=r"^'random:global' in `methods`: scope has no meaning for method random: it is an",
    ):
        Contender.parse("random:global")
    with pytest.raises(
        UsageError,
        match=r"^'random:paper' in `methods`: method random has no recipe 'paper', it has its",
    ):
        Contender.parse("random:paper")


@pytest.mark.parametrize(
    ("text", "options", "label"),
    [
        ("toy:toy_option=3", {"toy_option": 3}, "toy:toy_option=3"),
        ("toy:fancy:toy_option=-3", {"toy_kind": "fancy", "toy_option": -3}, "toy:fancy:toy_option=-3"),
        ("toy:toy_share=0.50:toy_option=03", {"toy_share": 0.5, "toy_option": 3}, "toy:toy_option=3:toy_share=0.5"),
        ("toy:paper:toy_kind=plain", {"toy_kind": "plain"}, "toy:plain:paper"),
        ("toy:default", {}, "toy"),
    ],
)
def test_any_option_can_be_given_and_a_label_reads_back(
    text: str, options: dict[str, object], label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.METHODS, "toy", TOY)
    contender = Contender.parse(text)
    assert contender.options == options
    assert contender.label == label
    assert Contender.parse(label) == contender


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("toy:toy_option=three", "`toy_option` must be of type int, got 'three'"),
        ("toy:toy_kind=odd", "`toy_kind` must be plain or fancy, got 'odd'"),
        ("toy:odd", "unknown option 'odd' of 'toy:odd' in `methods`; known: .*toy_option=VALUE.*plain, fancy, paper"),
        ("toy:toy_size=3", "unknown option 'toy_size=3'"),
        (
            "edge-popup:toy_option=3",
            "in `methods`: toy_option has no meaning for method edge-popup: it is an option",
        ),
    ],
)
def test_other_values_and_other_methods_are_refused(text: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.METHODS, "toy", TOY)
    with pytest.raises(UsageError, match=words):
        Contender.parse(text)


@pytest.mark.parametrize(
    ("methods", "sparsities", "seeds", "words"),
    [
        ("crgb", "0.9", 1, r"unknown method 'crgb' in `methods`: did you mean crbg\?"),
        ("magic", "0.9", 1, "known: crbg, .*random"),
        ("crbg:fast", "0.9", 1, "unknown option 'fast' of 'crbg:fast' in `methods`; known: "),
        ("", "0.9", 1, "`methods` must be a list with commas between its members, got ''"),
        ("crbg,,random", "0.9", 1, "got 'crbg,,random'"),
        ("crbg,crbg", "0.9", 1, "`methods` names crbg twice"),
        ("dense", "0.9", 1, "unknown method 'dense'"),
        ("crbg", "", 1, "`sparsities` must be a list"),
        ("crbg", "0.9,1", 1, "`sparsities` must be numbers of at least 0 and below 1, got 1"),
        ("crbg", "-0.1", 1, "got -0.1"),
        ("crbg", "nan", 1, "got nan"),
        ("crbg", "half", 1, "got half"),
        ("crbg", "0.9,0.90", 1, "`sparsities` names 0.9 twice"),
        ("crbg", "0.9", 0, "`seeds` must be at least 1, got 0"),
    ],
)
def test_bad_lists_are_refused(methods: str, sparsities: str, seeds: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Plan.parse(MODEL, CONFIG, methods=methods, sparsities=sparsities, seeds=seeds, dense=True)


@pytest.mark.parametrize("count", range(1, 8))
def test_shards_have_every_cell_once(count: int) -> None:
    whole = Plan.parse(MODEL, CONFIG, methods="crbg,random", sparsities="0.9", seeds=2, dense=True)
    assert whole.shard is None
    assert whole.of_shard(whole.cells()) == whole.cells()
    parts = []
    for index in range(1, count + 1):
        plan = Plan.parse(
            MODEL, CONFIG, methods="crbg,random", sparsities="0.9", seeds=2, dense=True, shard=f"{index}/{count}"
        )
        assert plan.cells() == whole.cells()
        parts.append(plan.of_shard(plan.cells()))
    names = [cell.name for part in parts for cell in part]
    assert sorted(names) == sorted(cell.name for cell in whole.cells())
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["0/2", "3/2", "x", "1/0", "", "1", "1/2/3", "-1/2", "1.0/2", " 1/2", "1/2\n", "1/²"])
def test_other_shards_are_refused(text: str) -> None:
    words = rf"`shard` must be I/N with I from 1 to N, such as 1/4, got {re.escape(repr(text))}"
    with pytest.raises(UsageError, match=words):
        Plan.parse(MODEL, CONFIG, methods="crbg", sparsities="0.9", seeds=1, dense=True, shard=text)


@pytest.mark.parametrize(
    ("rate", "dense", "words"),
    [
        (0.0, True, "`dense_lr` must be a positive number, got 0"),
        (-0.5, True, "`dense_lr` must be a positive number, got -0.5"),
        (float("nan"), True, "`dense_lr` must be a positive number, got nan"),
        (float("inf"), True, "`dense_lr` must be a positive number, got inf"),
        (-0.5, False, "`dense_lr` must be a positive number, got -0.5"),
        (0.5, False, "`dense_lr` has no meaning: neither the dense network is trained"),
    ],
)
def test_a_learning_rate_without_meaning_is_refused(rate: float, dense: bool, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Plan.parse(MODEL, CONFIG, methods="crbg", sparsities="0.9", seeds=1, dense=dense, dense_lr=rate)


def test_cells_of_different_rates_have_different_names() -> None:
    rates = (0.002, 1e-5, 1.0, 0.0012345678, 0.0012345679)
    names = [Cell(Contender("dense"), 0.0, 0, rate).name for rate in rates]
    assert names[:3] == ["dense-0.002-0", "dense-1e-05-0", "dense-1-0"]
    assert len(set(names)) == len(rates)


@pytest.mark.parametrize(
    ("methods", "settings", "words"),
    [
        ("crbg", {"config": SearchConfig(granularity="neuron"), "sizes": (4000,)}, "`bytes` is for gates of weights"),
        ("random", {"dense": False, "checkpoint_every": 1}, "`checkpoint_every` has no meaning for random"),
    ],
)
def test_what_no_cell_can_do_is_refused(methods: str, settings: dict[str, Any], words: str) -> None:
    plan = Plan.parse("lenet-5", SearchConfig(), methods=methods, sparsities=None, seeds=1, dense=True)
    with pytest.raises(UsageError, match=words):
        replace(plan, **settings)
    plan = replace(plan, dense=False)
    for one in ("crbg", "prune:magnitude"):
        assert replace(plan, contenders=(Contender.parse("random"), Contender.parse(one)), checkpoint_every=1)
    assert replace(plan, contenders=(Contender.parse("random"),), dense=True, checkpoint_every=1)
