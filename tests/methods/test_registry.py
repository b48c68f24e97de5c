"""Every method, recipe and option through the same door, and a method of one's own with one entry in the table."""

import copy
import importlib
import itertools
import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from slt_compress.config import SearchConfig
from slt_compress.errors import UnreachableError, UsageError
from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.methods import registry
from slt_compress.methods.base import Method, Target
from slt_compress.methods.registry import METHODS, Option
from slt_compress.prng import INITIALISERS, Freeze
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.search import FoundMask, search
from tests.support.digits import accuracy, lenet, lenet_for, training_run
from tests.support.gates import make_target, parameter_gradient

Variant = tuple[str, str, dict[str, Any]]  # method, recipe, options
RECIPES: list[Variant] = [(name, recipe, {}) for name, entry in METHODS.items() for recipe in entry.recipes]
OPTIMISING = [variant for variant in RECIPES if METHODS[variant[0]].optimises]
VARIANTS: list[Variant] = [
    *RECIPES,
    *(
        (name, recipe, {option.name: choice})
        for name, recipe, _ in RECIPES
        for option in METHODS[name].options
        for choice in option.choices
    ),
]
CHOSEN = [variant for variant in VARIANTS if METHODS[variant[0]].optimises]


def label(variant: Variant) -> str:
    name, recipe, options = variant
    return "-".join([name, recipe, *map(str, options.values())])


def find(variant: Variant, steps: int, **changes: Any) -> tuple[FoundMask, FlatNetwork]:
    """Search a mask of sparsity 0.7, unless told otherwise."""
    name, recipe, options = variant
    config = SearchConfig(**{"method": name, "recipe": recipe, "options": options, "sparsity": 0.7, **changes})
    network = lenet_for(config)
    return search(network, training_run(steps, seed=config.seed), config), network


def flat(found: FoundMask) -> torch.Tensor:
    return torch.cat([mask.flatten() for mask in found.masks.values()])


def implementation(variant: Variant) -> type[Method]:
    module, _, name = METHODS[variant[0]].recipes[variant[1]].implementation.partition(":")
    found: type[Method] = getattr(importlib.import_module(module), name)
    assert issubclass(found, Method)
    return found


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("freeze", [Freeze(), Freeze(0.7, 0.2)], ids=["searchable", "fixed"])
@pytest.mark.parametrize("variant", VARIANTS, ids=label)
def test_every_search_ends_at_the_target_sparsity(variant: Variant, freeze: Freeze, steps: int) -> None:
    found, network = find(variant, steps, freeze=freeze)
    mask = flat(found)
    assert abs(int(mask.sum()) - round(0.3 * network.size)) <= len(network.slots)  # each tensor may round for itself
    assert torch.equal(mask, flat(find(variant, steps, freeze=freeze)[0]))
    assert all(part.any() for part in found.masks.values())
    for name, part in found.masks.items():
        assert torch.equal(network.module.get_parameter(name) != 0, part)


@pytest.mark.parametrize("variant", OPTIMISING, ids=label)
def test_every_method_and_recipe_learns(variant: Variant) -> None:
    _, network = find(variant, 150)
    _, control = find(("random", "default", {}), 1)
    assert accuracy(network) > accuracy(control) + 0.1


@pytest.mark.parametrize("variant", OPTIMISING, ids=label)
def test_settings_name_the_recipe_and_what_was_changed(variant: Variant) -> None:
    settings = find(variant, 1, learning_rate=0.5)[0].settings
    assert settings["recipe"] == variant[1]
    assert settings["learning_rate"] == 0.5
    method = implementation(variant)
    known = {field.name for field in fields(method.Settings)}
    unsaid = {name for name, value in method.ADDED.items() if variant[2].get(name, value) == value}
    assert set(settings) == {"recipe"} | known - unsaid


@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if variant[2]], ids=label)
def test_settings_tell_the_options_and_the_recipe_where_none_is_given(variant: Variant) -> None:
    name, recipe, options = variant
    unsaid = implementation(variant).ADDED.items()
    assert find(variant, 1)[0].settings.items() >= options.items() - unsaid
    plain = find((name, recipe, {}), 1)[0].settings
    chosen = METHODS[name].recipes[recipe].settings.items()
    assert {key: plain[key] for key, _ in chosen} == {key: list(v) if type(v) is tuple else v for key, v in chosen}


def test_the_published_edge_popup_ranks_in_each_layer_and_ours_over_the_network() -> None:
    assert find(("edge-popup", "paper", {}), 1)[0].settings["scope"] == "layer"
    assert find(("edge-popup", "default", {}), 1)[0].settings["scope"] == "global"


@pytest.mark.parametrize("variant", VARIANTS, ids=label)
def test_what_fixed_gates_rule_out_is_refused(variant: Variant) -> None:
    with pytest.raises(UnreachableError, match=r"sparsity 0\.9 cannot be reached"):
        find(variant, 1, sparsity=0.9, freeze=Freeze(0.5, 0.2))


class Searching:
    """Steps of a method on random gradients, which follow from the step."""

    def __init__(self, variant: Variant, generator_seed: int) -> None:
        name, recipe, options = variant
        network = lenet(0.3, initialiser=registry.initialiser(name, recipe))
        self.generator = torch.Generator().manual_seed(generator_seed)
        target = Target(0.3, 12, 0, self.generator)
        self.method = registry.make(name, network, target, recipe=recipe, options=options)
        self.optimiser = self.method.optimiser()

    def step(self, step: int) -> torch.Tensor:
        """Make one step; return its gate."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.method.learning_rate(step)
        gate = self.method.gate(step).clone()
        given = torch.randn(gate.shape, generator=torch.Generator().manual_seed(step))
        self.method.parameter.grad = parameter_gradient(self.method, step, given)
        self.optimiser.step()
        return gate

    def resume_from(self, other: "Searching") -> None:
        """Take over a copy of all that changes from step to step."""
        self.method.load_state_dict({name: value.clone() for name, value in other.method.state_dict().items()})
        self.optimiser.load_state_dict(copy.deepcopy(other.optimiser.state_dict()))
        self.generator.set_state(other.generator.get_state())


@pytest.mark.parametrize("stop", [1, 4, 9])
@pytest.mark.parametrize("variant", CHOSEN, ids=label)
def test_a_method_that_takes_over_a_state_continues_as_if_it_had_never_stopped(variant: Variant, stop: int) -> None:
    whole, stopped, resumed = Searching(variant, 0), Searching(variant, 0), Searching(variant, 1)
    gates = [whole.step(step) for step in range(12)]
    for step in range(stop):
        stopped.step(step)
    resumed.resume_from(stopped)
    assert torch.equal(resumed.method.hard_gate(), stopped.method.hard_gate())  # before a gate is asked for
    for step in range(stop, 12):
        assert torch.equal(resumed.step(step), gates[step])
    assert torch.equal(resumed.method.hard_gate(), whole.method.hard_gate())
    assert torch.equal(resumed.method.mask(), whole.method.mask())


@pytest.mark.parametrize("variant", CHOSEN, ids=label)
def test_a_state_that_lacks_something_is_refused(variant: Variant) -> None:
    state = Searching(variant, 0).method.state_dict()
    for missing in state:
        with pytest.raises(KeyError, match=missing):
            Searching(variant, 0).method.load_state_dict({key: state[key] for key in state if key != missing})


@pytest.mark.parametrize("variant", RECIPES, ids=label)
def test_every_entry_leads_to_code_that_has_what_it_speaks_of(variant: Variant) -> None:
    name, recipe, _ = variant
    entry, method = METHODS[name], implementation(variant)
    defaults = method.Settings()
    settings = {field.name for field in fields(method.Settings)}
    assert set(entry.recipes[recipe].settings) <= settings
    understood = [option for option in entry.options if not option.recipes or recipe in option.recipes]
    assert {option.name for option in understood} <= settings
    assert ("learning_rate" in settings) == entry.optimises
    assert entry.recipes[recipe].initialiser in INITIALISERS
    for option in understood:
        assert type(getattr(defaults, option.name)) is option.type
        assert not option.choices or getattr(defaults, option.name) in option.choices
    for key, value in entry.recipes[recipe].settings.items():
        assert type(getattr(defaults, key)) in (type(value), type(None))


def test_every_method_has_a_default_recipe_and_the_names_come_once() -> None:
    assert all(registry.DEFAULT_RECIPE in entry.recipes for entry in METHODS.values())
    assert registry.recipes() == ["default", "paper"]
    assert list(registry.options()) == ["scope", "head_start"]


def test_words_behind_a_method_mean_one_thing() -> None:
    """`compare` reads them without the names of their options."""
    options = {option.name: option for entry in METHODS.values() for option in entry.options}
    assert all(options[option.name] == option for entry in METHODS.values() for option in entry.options)
    words = [*registry.recipes(), *itertools.chain.from_iterable(option.choices for option in options.values())]
    assert len(words) == len(set(words))


def test_an_option_reads_its_type_and_its_choices() -> None:
    assert Option("count", int, "").parse("3") == 3
    assert Option("share", float, "").parse("0.5") == 0.5
    assert Option("word", str, "").parse("anything") == "anything"
    assert Option("scope", str, "", ("layer", "global")).parse("layer") == "layer"
    with pytest.raises(UsageError, match=r"`count` must be of type int, got '3\.5'"):
        Option("count", int, "").parse("3.5")
    with pytest.raises(UsageError, match="`scope` must be layer or global, got 'all'"):
        Option("scope", str, "", ("layer", "global")).parse("all")
    for wrong in ("-0.1", "1.5", "nan"):
        with pytest.raises(UsageError, match=f"`share` must be from 0 to 1, got {wrong}"):
            Option("share", float, "", between=(0, 1)).parse(wrong)


def test_what_a_method_has_no_use_for_is_refused() -> None:
    registry.check("edge-popup", "paper", {"scope": "layer"}, 0.1)
    registry.check("random", "default", {}, None)
    with pytest.raises(UsageError, match="`scope` has no meaning for `method` random: it is an option of crbg, edge-"):
        registry.check("random", "default", {"scope": "layer"}, None)
    with pytest.raises(UsageError, match="`scoop` has no meaning for `method` edge-popup: no method has it"):
        registry.check("edge-popup", "default", {"scoop": "layer"}, None)
    registry.check("crbg", "default", {"head_start": 0.1}, None)
    with pytest.raises(UsageError, match="`head_start` has no meaning for the `recipe` paper of crbg"):
        registry.check("crbg", "paper", {"head_start": 0.1}, None)
    with pytest.raises(UsageError, match="`scope` must be layer or global, got 'all'"):
        registry.check("edge-popup", "default", {"scope": "all"}, None)
    with pytest.raises(UsageError, match="`learning_rate` has no meaning for `method` random, which optimises nothing"):
        registry.check("random", "default", {}, 0.1)
    with pytest.raises(UsageError, match="`method` random has no `recipe` 'paper', it has its default alone"):
        registry.check("random", "paper", {}, None)
    with pytest.raises(UsageError, match="`method` crbg has no `recipe` 'fast', it has default, paper"):
        registry.check("crbg", "fast", {}, None)
    with pytest.raises(UsageError, match=r"unknown `method` 'crgb', known: crbg, edge-popup, .*random"):
        registry.check("crgb", "default", {}, None)


def test_weights_that_a_recipe_expects() -> None:
    assert registry.initialiser("crbg", "paper") == "uniform"
    assert {registry.initialiser(name, "default") for name in METHODS} == {"signed-constant"}


def test_options_and_the_learning_rate_come_on_top_of_the_recipe() -> None:
    network, target = lenet(0.3), make_target(0.3, 10)
    plain = registry.make("edge-popup", network, target, recipe="paper").settings()
    assert plain.items() >= METHODS["edge-popup"].recipes["paper"].settings.items()
    chosen = registry.make(
        "edge-popup", network, target, recipe="paper", options={"scope": "global"}, learning_rate=0.5
    )
    assert chosen.settings() == {**plain, "scope": "global", "learning_rate": 0.5}


TOY = '''
"""toy: the noise that it draws ranks the weights."""

from dataclasses import dataclass

import torch
from torch import nn

from slt_compress.methods.base import Method


@dataclass(frozen=True)
class ToySettings:
    learning_rate: float = 0.1
    toy_option: int = 1
    toy_kind: str = "plain"


class Toy(Method):
    Settings = ToySettings

    def __init__(self, network, target, settings):
        super().__init__(network, target, settings)
        for _ in range(settings.toy_option):
            scores = self._noise()
        self.parameter = nn.Parameter(scores if settings.toy_kind == "plain" else -scores)

    def learning_rate(self, step):
        return self._settings.learning_rate

    def gate(self, step):
        return self.hard_gate()

    def backward(self, step):
        self._network.gate_gradient()

    def hard_gate(self):
        return self.parameter.detach() > 0
'''
COMMAND_LINE = """
from slt_compress.methods.registry import METHODS, MethodEntry, Option, Recipe

METHODS["toy"] = MethodEntry(
    {"default": Recipe("toy:Toy")},
    options=(
        Option("toy_option", int, "How often toy draws."),
        Option("toy_kind", str, "Which way round toy ranks.", ("plain", "fancy")),
    ),
)

from slt_compress.cli.main import main

main()
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a method of its own, and the command line that knows it."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "toy.py").write_text(TOY)
    (folder / "command_line.py").write_text(COMMAND_LINE)
    return folder


def run(folder: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "command_line.py", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_new_method_is_a_module_and_an_entry(toy: Path) -> None:
    shown = run(toy, "search", "--help").stdout
    assert "--toy-option" in shown
    assert "How often toy draws." in shown
    assert "plain|fancy" in shown
    arguments = ("search", "lenet-300-100", "--max-steps", 5, "--output", "t.safetensors", "--method", "toy")
    done = run(toy, *arguments, "--toy-option", 3, "--toy-kind", "fancy", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["method"] == "toy"
    record = Ticket.load(toy / "t.safetensors").provenance.method
    assert (record.name, record.steps) == ("toy", 5)
    assert record.settings == {"recipe": "default", "learning_rate": 0.1, "toy_option": 3, "toy_kind": "fancy"}


def test_options_of_a_new_method_reach_a_comparison(toy: Path) -> None:
    methods = "toy:toy_option=3,toy:toy_option=3:fancy,toy,random"
    arguments = ("--methods", methods, "--sparsities", 0.9, "--seeds", 1, "--max-steps", 5, "--no-dense")
    done = run(toy, "compare", "lenet-300-100", *arguments, "--output", "grid", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    labels = ["toy:toy_option=3", "toy:fancy:toy_option=3", "toy", "random"]
    assert [summary["label"] for summary in document["summary"]] == labels
    rows = document["rows"]
    assert [(row["method"], row["toy_option"], row["toy_kind"], row["scope"]) for row in rows] == [
        ("toy", 3, None, None),
        ("toy", 3, "fancy", None),
        ("toy", None, None, None),
        ("random", None, None, None),
    ]
    assert len({row["digest"] for row in rows}) == 4
    recorded = [Ticket.load(toy / "grid" / row["ticket"]).provenance.method.settings for row in rows[:3]]
    assert [(settings["toy_option"], settings["toy_kind"]) for settings in recorded] == [
        (3, "plain"),
        (3, "fancy"),
        (1, "plain"),
    ]
    assert (
        (toy / "grid" / "results.csv")
        .read_text()
        .startswith("method,scope,head_start,toy_option,toy_kind,pruned_by,values,recipe,")
    )
    again = run(toy, "compare", "lenet-300-100", *arguments, "--output", "grid")
    assert "4 cells, 4 of them finished" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("search", "lenet-300-100", "--method", "crbg", "--toy-option", 3),
            "--toy-option has no meaning for --method crbg: it is an option of toy",
        ),
        (("search", "lenet-300-100", "--method", "toy", "--toy-option", "three"), "Invalid value for '--toy-option'"),
        (("search", "lenet-300-100", "--method", "toy", "--toy-kind", "odd"), "Invalid value for '--toy-kind'"),
    ],
)
def test_options_of_a_new_method_are_refused_to_others_and_with_other_values(
    toy: Path, arguments: tuple[object, ...], words: str
) -> None:
    done = run(toy, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
