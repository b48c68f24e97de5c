"""The pilot: its plan keeps to the time, its runs are whole searches, and the better half goes on."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slt_compress.assessment import pilot as module
from slt_compress.assessment.pilot import (
    DENSE,
    FEWEST_STEPS,
    KINDS,
    RUNGS,
    Kind,
    Pilot,
    Schedule,
    Trial,
    plan,
    survivors,
)
from slt_compress.config import SearchConfig
from slt_compress.pipeline.find import find_ticket
from slt_compress.pipeline.prepare import Prepared, prepare


@pytest.fixture(scope="module")
def config() -> SearchConfig:
    return SearchConfig(max_steps=50, device="cpu")


@pytest.fixture(scope="module")
def prepared(config: SearchConfig) -> Prepared:
    return prepare("lenet-300-100", config)


@given(steps=st.floats(0, 1e6), count=st.integers(1, 6))
def test_a_plan_keeps_to_its_steps(steps: float, count: int) -> None:
    sparsities = tuple(0.5 + 0.05 * index for index in range(count))
    schedule = plan(sparsities, steps, dense_rates=3)
    assert set(schedule.sparsities) <= set(sparsities)
    assert schedule.kinds == KINDS[: len(schedule.kinds)]
    searches = sum(survivors(len(schedule.kinds), rung) * (schedule.steps << rung) for rung in range(RUNGS))
    dense = 3 * schedule.steps + sum(schedule.steps << rung for rung in range(1, RUNGS))
    assert len(schedule.sparsities) * searches + dense <= steps or schedule.steps == 2
    if schedule.steps < FEWEST_STEPS:  # the poorest one
        assert (len(schedule.kinds), len(schedule.sparsities)) == (1, 1)


def test_a_run_is_a_whole_search(prepared: Prepared, config: SearchConfig) -> None:
    whole = find_ticket("lenet-300-100", replace(config, max_steps=12, statistics="fp32", sparsity=0.8))
    pilot = Pilot(replace(prepared, test=None), replace(config, statistics="fp32"))  # type: ignore[arg-type]
    trial = pilot.search(Kind("crbg"), 0.8, 12)
    assert trial.metric == whole.validation.metric
    assert (trial.steps, trial.sparsity, trial.kind) == (12, 0.8, "crbg")
    assert trial.size == pytest.approx(len(whole.ticket.to_bytes()), abs=30)  # digits of the metrics


def test_the_better_half_goes_on(prepared: Prepared, config: SearchConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    quality = {"edge-popup": 0.9, "crbg with neurons": 0.8, "crbg": 0.7, "edge-popup with neurons": 0.6}

    def search(_: Pilot, kind: Kind, sparsity: float, steps: int) -> Trial:
        return Trial(kind.label, sparsity, steps, quality[kind.label], 1, 0.0)

    def dense(_: Pilot, steps: int, learning_rate: float) -> Trial:
        return Trial(DENSE, 0.0, steps, 1 - learning_rate, 1, 0.0, learning_rate)

    monkeypatch.setattr(Pilot, "search", search)
    monkeypatch.setattr(Pilot, "dense", dense)
    trials = list(Pilot(prepared, config).run(Schedule(KINDS, (0.9,), 10), 1e3))
    tried = [(trial.kind, trial.steps) for trial in trials if trial.kind != DENSE]
    assert sorted(tried[:4]) == sorted((label, 10) for label in quality)
    assert tried[4:] == [("edge-popup", 20), ("crbg with neurons", 20), ("edge-popup", 40)]
    rates = [trial.learning_rate for trial in trials if trial.kind == DENSE]
    assert rates == [1e-3, 3e-3, 1e-2, 1e-3, 1e-3]  # the best of the first ones goes on


def test_no_run_begins_once_the_time_is_over(prepared: Prepared, config: SearchConfig) -> None:
    assert len(list(Pilot(prepared, config).run(Schedule(KINDS[:1], (0.9,), 2), 0.0))) == 1


def test_few_held_out_images_are_enough(
    prepared: Prepared, config: SearchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_HELD_OUT", 10)
    assert 10 * Pilot(prepared, config).search(Kind("crbg"), 0.9, 2).metric % 1 == pytest.approx(0, abs=1e-9)
