"""What pruning, ticket search and training may be asked for: every refusal, and defaults."""

import math
from typing import Any

import pytest

from slt_compress.errors import UsageError
from slt_compress.pruning.config import SHARED, FindConfig, PruneConfig, TrainConfig, with_shared

MAGNITUDE, CRBG = {"method": "magnitude"}, {"method": "crbg"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"method": "x"},
            "`method` must be one of continuous-sparsification, magnitude, crbg, got 'x'",
        ),
        ({"recipe": "other"}, "`recipe` must be one of default, paper, got 'other'"),
        ({"values": "int2"}, "`values` must be one of fp32, fp16, int8, int4, got 'int2'"),
        ({"scope": "row"}, "`scope` must be one of global, layer, got 'row'"),
        ({"sparsity": [0.5, 0.9]}, "`sparsity` must be a number, got [0.5, 0.9]"),
        ({"finish": "a"}, "`finish` must be a number, got 'a'"),
        ({"sparsity": 1.0}, "`sparsity` must be at least 0 and below 1, got 1"),
        ({"sparsity": math.nan}, "`sparsity` must be at least 0 and below 1, got nan"),
        ({"learning_rate": 0.0}, "`learning_rate` must be a positive number, got 0"),
        ({"learning_rate": (0.1, math.nan)}, "`learning_rate` must be a positive number, got nan"),
        ({"learning_rate": [0.1, True]}, "`learning_rate` must be a number, or several, got [0.1, True]"),
        ({"learning_rate": ()}, "`learning_rate` is empty: give one at least"),
        ({"learning_rate": (0.1, 0.1)}, "`learning_rate` has one twice: 0.1, 0.1"),
        ({"finish": 1.0}, "`finish` must be at least 0 and below 1, got 1"),
        ({**MAGNITUDE, "finish": 0.1}, "`finish` has no meaning for `method=magnitude`, which has no gates"),
        ({**MAGNITUDE, "rounds": 0}, "`rounds` must be a whole number from 1 to 100, got 0"),
        ({**MAGNITUDE, "round_ratio": 1.0}, "`round_ratio` must be between 0 and 1, got 1"),
        ({**MAGNITUDE, "rounds": 2, "round_ratio": 0.5}, "give `rounds` or `round_ratio`, not both"),
        ({"rounds": 2}, "`rounds` has no meaning for `method=continuous-sparsification`: it is an option of magnitude"),
        ({**CRBG, "round_ratio": 0.5}, "`round_ratio` has no meaning for `method=crbg`: it is an option of magnitude"),
        ({**MAGNITUDE, "penalty": 1.0}, "`penalty` has no meaning for `method=magnitude`, which has no gates"),
        ({"penalty": 1.0}, "`penalty` has no meaning for `recipe=default`, which reaches the sparsity by a constraint"),
        ({"penalty": -1.0, "recipe": "paper"}, "`penalty` must be 0 or larger, got -1"),
        ({"initial_score": 0.1}, "`initial_score` has no meaning for `recipe=default`, whose gates are ranked"),
        ({"initial_score": math.inf, "recipe": "paper"}, "`initial_score` must be a finite number, got inf"),
        ({**CRBG, "recipe": "paper", "initial_score": 0.1}, "`initial_score` has no meaning for `method=crbg`"),
    ],
)
def test_what_no_pruning_can_do_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        PruneConfig(**fields)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "crbg"}, "`method` must be one of continuous-sparsification, magnitude, got 'crbg'"),
        ({"sparsity": "0.9"}, "`sparsity` must be a number, or several, got '0.9'"),
        ({"sparsity": [0.5, None]}, "`sparsity` must be a number, or several, got [0.5, None]"),
        ({"sparsity": ()}, "`sparsity` is empty: give one at least"),
        ({"sparsity": (0.5, 1.5)}, "`sparsity` must be at least 0 and below 1, got 1.5"),
        ({"sparsity": (0.5, 0.5)}, "`sparsity` has one twice: 0.5, 0.5"),
        ({"rewind_steps": -1}, "`rewind_steps` must be a whole number of at least 0, got -1"),
        ({"rounds": 101}, "`rounds` must be a whole number from 1 to 100, got 101"),
        ({"learning_rate": math.inf}, "`learning_rate` must be a positive number, got inf"),
    ],
)
def test_what_no_ticket_search_can_do_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        FindConfig(**fields)
    assert message in str(raised.value)


def test_what_no_training_can_do_is_refused() -> None:
    with pytest.raises(UsageError, match="`values` must be one of"):
        TrainConfig(values="fp8")
    with pytest.raises(UsageError, match="`learning_rate` must be a positive number, got -1"):
        TrainConfig(learning_rate=-1)


def test_a_price_decides_where_no_sparsity_is_asked_for() -> None:
    assert PruneConfig().asked_sparsity == 0.9
    assert PruneConfig(recipe="paper").asked_sparsity is None
    assert PruneConfig(recipe="paper", sparsity=0.5).asked_sparsity == 0.5
    assert PruneConfig(recipe="paper", method="magnitude").asked_sparsity == 0.9
    assert FindConfig(sparsity=0.5).sparsities == (0.5,)
    assert FindConfig(sparsity=[0.5, 0.8]).sparsities == (0.5, 0.8)


def test_settings_of_both_configs_are_changed_by_name() -> None:
    config = with_shared(PruneConfig(), {"sparsity": 0.5, "seed": 3, "data_dir": "images"})
    assert (config.sparsity, config.run.seed, str(config.run.data_dir)) == (0.5, 3, "images")
    assert config.run.initialiser == "kaiming-normal"
    assert with_shared(TrainConfig(), {"initialiser": None}).run.initialiser == "kaiming-normal"
    with pytest.raises(UsageError, match="unknown setting 'granularity'; known: augment, batch_size"):
        with_shared(PruneConfig(), {"granularity": "neuron"})
    with pytest.raises(UsageError, match="unknown setting 'run'"):
        with_shared(PruneConfig(), {"run": None})
    assert "sparsity" not in SHARED
    assert with_shared(PruneConfig(), {"reference": True}).run.reference
    with pytest.raises(UsageError, match=r"^`reference` has no meaning for weights that are yet to be trained"):
        with_shared(FindConfig(), {"reference": True})
