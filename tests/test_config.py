"""What a search may be asked for: every refusal, and defaults that the command line shares."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, fields
from typing import Any, get_args

import pytest

from slt_compress.cli import compare, options, search
from slt_compress.config import CHOICES, DEFAULT_EPOCHS, DEFAULT_SPARSITY, MIN_STEPS, SearchConfig, with_settings
from slt_compress.errors import UsageError
from slt_compress.masking.codecs import CODECS
from slt_compress.prng import INITIALISERS, MAX_SEED, Freeze

FLAGS = {
    "lr": "learning_rate",
    "init": "initialiser",
    "model_arg": "model_arguments",
}  # options under another name than the field of the config
OF_THE_COMMAND = {"model", "output", "checkpoint_every", "resume", "log", "tensorboard", "json", "quiet", "options"}
OF_THE_GRID = {"methods", "models", "sparsities", "bytes", "seeds", "dense", "dense_lr", "shard"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sparsity": 1.0}, "`sparsity` must be at least 0 and below 1, got 1"),
        ({"input_size": 0}, "`input_size` must be at least 1, got 0"),
        ({"workers": 65}, "`workers` must be a whole number from 0 to 64, got 65"),
        ({"workers": 1.5}, "`workers` must be a whole number from 0 to 64, got 1.5"),
        ({"workers": -1}, "`workers` must be a whole number from 0 to 64, got -1"),
        ({"batch_size": 1}, "`batch_size` must be at least 2, got 1"),
        ({"seed": 1.5}, "`seed` must be a whole number from 0 to 2**64 - 1, got 1.5"),
        ({"sparsity": -0.1}, "`sparsity` must be at least 0 and below 1, got -0.1"),
        ({"sparsity": math.nan}, "`sparsity` must be at least 0 and below 1, got nan"),
        ({"freeze": Freeze(1.0)}, "`freeze_ratio` must be at least 0 and below 1, got 1"),
        ({"freeze": Freeze(-0.5)}, "`freeze_ratio` must be at least 0 and below 1, got -0.5"),
        ({"freeze": Freeze(math.nan)}, "`freeze_ratio` must be at least 0 and below 1, got nan"),
        ({"freeze": Freeze(0.5, 0.6)}, "`lock_ratio` must be from 0 to `freeze_ratio`, 0.5, got 0.6"),
        ({"freeze": Freeze(0.5, -0.1)}, "`lock_ratio` must be from 0 to `freeze_ratio`, 0.5, got -0.1"),
        ({"freeze": Freeze(0.0, 0.1)}, "`lock_ratio` must be from 0 to `freeze_ratio`, 0, got 0.1"),
        ({"seed": -1}, "`seed` must be a whole number from 0 to 2**64 - 1, got -1"),
        ({"seed": 2**64}, f"`seed` must be a whole number from 0 to 2**64 - 1, got {2**64}"),
        ({"epochs": 0}, "`epochs` must be at least 1, got 0"),
        ({"max_steps": -3}, "`max_steps` must be at least 1, got -3"),
        ({"epochs": 1, "max_steps": 1}, "give `epochs` or `max_steps`, not both"),
        ({"learning_rate": 0.0}, "`learning_rate` must be a positive number, got 0"),
        ({"learning_rate": math.inf}, "`learning_rate` must be a positive number, got inf"),
        ({"learning_rate": math.nan}, "`learning_rate` must be a positive number, got nan"),
        *(
            ({name: "other"}, f"`{name}` must be one of {', '.join(choices)}, got 'other'")
            for name, choices in CHOICES.items()
        ),
        ({"sparsity": "0.9"}, "`sparsity` must be a number, got '0.9'"),
        ({"sparsity": None}, "`sparsity` must be a number, got None"),
        ({"learning_rate": "1"}, "`learning_rate` must be a number, got '1'"),
        ({"max_steps": 2.5}, "`max_steps` must be a whole number, got 2.5"),
        ({"batch_size": None}, "`batch_size` must be a whole number, got None"),
        ({"seed": "0"}, "`seed` must be a whole number from 0 to 2**64 - 1, got '0'"),
        ({"augment": None}, "`augment` must be one of none, flip, crop, crop-flip, shift-flip, got None"),
        (
            {"method": "crgb"},
            "unknown `method` 'crgb', known: crbg, edge-popup, continuous-sparsification, random",
        ),
        ({"recipe": "fast"}, "`method` crbg has no `recipe` 'fast', it has default, paper"),
        ({"method": "random", "recipe": "paper"}, "`method` random has no `recipe` 'paper', it has its default alone"),
        (
            {"method": "random", "options": {"scope": "layer"}},
            "`scope` has no meaning for `method` random: it is an option of crbg, edge-popup, "
            "continuous-sparsification",
        ),
        (
            {"neuron_sparsity": 0.5},
            "`neuron_sparsity` is for a `granularity` of neuron,weight; where that is neuron, `sparsity` is of neurons",
        ),
        (
            {"granularity": "neuron,weight", "neuron_sparsity": 1.0},
            "`neuron_sparsity` must be at least 0 and below 1, got 1",
        ),
        (
            {"granularity": "neuron", "freeze": Freeze(0.5, 0.1)},
            "`freeze_ratio` is for gates of weights alone, not for `granularity=neuron`",
        ),
        ({"granularity": "head"}, "`granularity` must be one of weight, neuron, neuron,weight, got 'head'"),
        ({"model_arguments": {"depth": 0}}, "the model's depth must be a whole number from 1 to 256, found 0"),
        (
            {"model_arguments": {"drop_rate": 1}},
            "unknown `model_arguments` 'drop_rate'; known: depth, embed_dim, mlp_ratio, num_heads, patch_size, "
            "window_size",
        ),
        ({"options": {"speed": 2}}, "`speed` has no meaning for `method` crbg: no method has it"),
        ({"method": "edge-popup", "options": {"scope": "all"}}, "`scope` must be layer or global, got 'all'"),
        (
            {"method": "random", "learning_rate": 0.1},
            "`learning_rate` has no meaning for `method` random, which optimises nothing",
        ),
    ],
)
def test_what_no_search_can_do_is_refused_with_what_was_given(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        SearchConfig(**fields)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "value"), [("epochs", 1), ("max_steps", 1), ("augment", "crop"), ("precision", "fp32")]
)
def test_settings_of_steps_have_no_meaning_without_steps(name: str, value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        SearchConfig(method="random", **{name: value}).refuse_idle()
    assert str(caught.value) == f"`{name}` has no meaning for `method=random`, which optimises nothing"
    SearchConfig(**{name: value}).refuse_idle()
    SearchConfig(method="random", batch_size=32).refuse_idle()


@pytest.mark.parametrize(
    "fields",
    [
        {"sparsity": 0.0},
        {"sparsity": math.nextafter(1, 0)},
        {"freeze": Freeze(0.5, 0.5)},
        {"seed": MAX_SEED},
        {"epochs": 1},
        {"max_steps": 1},
        {"learning_rate": 1e-9},
        {"initialiser": None},
        *({name: choice} for name, choices in CHOICES.items() for choice in choices),
        {"method": "edge-popup", "recipe": "paper", "options": {"scope": "global"}},
    ],
)
def test_the_edges_of_what_a_search_can_do_are_taken(fields: dict[str, Any]) -> None:
    config = SearchConfig(**fields)
    assert {name: getattr(config, name) for name in fields} == fields
    assert config.density == 1 - config.sparsity


def test_a_config_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        SearchConfig().sparsity = 0.5  # type: ignore[misc]


def defaults(command: Callable[..., None]) -> Mapping[str, Any]:
    """Return the defaults of a command, by the names of its parameters."""
    parameters = inspect.signature(command).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}


@pytest.mark.parametrize(
    ("command", "left_out"),
    [
        (search.search, {"options"}),
        (
            compare.compare,
            {
                *("options", "method", "recipe", "sparsity", "max_bytes", "seed", "learning_rate"),
                *("codec", "statistics", "reference", "init_from", "teacher"),
            },
        ),
    ],
)
def test_the_command_line_has_the_defaults_of_the_config(command: Callable[..., None], left_out: set[str]) -> None:
    """Every field is an option of the command, but for those left out; and every option is a field, or known here."""
    config = SearchConfig()
    given = {FLAGS.get(name, name): value for name, value in defaults(command).items()}
    assert given.pop("model_arguments") is None
    if "sparsity" in given:  # None, so that it can be told from one that is given
        given["sparsity"] = {None: DEFAULT_SPARSITY}[given["sparsity"]]
    assert (given.pop("freeze_ratio"), given.pop("lock_ratio")) == (config.freeze.ratio, config.freeze.lock)
    of_the_config = {name: value for name, value in given.items() if name not in OF_THE_COMMAND | OF_THE_GRID}
    assert of_the_config == {
        field.name: getattr(config, field.name)
        for field in fields(config)
        if field.name not in {"freeze", "model_arguments"} | left_out
    }


def test_choices_are_those_of_the_command_line_and_of_the_tables_they_stand_for() -> None:
    assert {
        "initialiser": get_args(options.InitialiserName),
        "augment": get_args(options.AugmentName),
        "precision": get_args(options.PrecisionName),
        "codec": get_args(options.CodecName),
        "statistics": get_args(options.StatisticsName),
        "granularity": get_args(options.GranularityName),
    } == CHOICES
    assert CHOICES["initialiser"] == tuple(INITIALISERS)
    assert CHOICES["codec"] == ("auto", *CODECS)


def test_help_tells_the_default_budget() -> None:
    assert (DEFAULT_EPOCHS, MIN_STEPS) == (12, 1_000)
    (help_text,) = [note.help for note in get_args(options.Epochs)[1:]]
    assert f"[default: {DEFAULT_EPOCHS}, or more for {MIN_STEPS:,} steps]" in help_text


def test_what_is_no_path_is_refused() -> None:
    with pytest.raises(UsageError, match="`teacher` must be a path, got a dict"):
        with_settings(SearchConfig(), {"teacher": {}})
