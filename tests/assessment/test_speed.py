"""The time of a search follows from the measured speed; the speed is that of real steps."""

from dataclasses import replace

import pytest

from slt_compress.assessment import speed as module
from slt_compress.assessment.speed import Speed, duration, measure_speed
from slt_compress.config import SearchConfig
from slt_compress.pipeline.prepare import prepare


def test_the_time_of_a_search_is_its_steps_and_what_is_evaluated() -> None:
    prepared = prepare("lenet-300-100", SearchConfig(device="cpu", max_steps=10))
    found = duration(Speed("cpu", "fp32", 0.5, 100, 1000, None), prepared, 200)
    train, held_out, test = (len(part) for part in (prepared.run.train, prepared.run.validation, prepared.test))  # type: ignore[arg-type]
    assert found.step_seconds == 100
    assert found.seconds == pytest.approx(100 + (100 * 256 + train + 2 * held_out + test) / 1000)


def test_the_speed_is_that_of_real_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.05)
    config = SearchConfig(device="cpu", batch_size=32)
    prepared = prepare("lenet-300-100", config)
    found = measure_speed(replace(prepared, test=None), config)  # type: ignore[arg-type]
    assert found.images_per_second == pytest.approx(32 / found.step_seconds)
    assert found.evaluated_per_second > 0
    assert found.peak_bytes is None or found.peak_bytes > 10**7
