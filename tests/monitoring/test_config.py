"""Settings out of range are refused when they are made."""

from typing import Any

import pytest

from slt_compress.errors import UsageError
from slt_compress.monitoring.config import MonitorConfig


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"window": 0}, "`window` must be at least 30: fewer images cannot be judged; got 0"),
        ({"window": 29}, "`window` must be at least 30"),
        ({"false_alarms": 0}, "`false_alarms` must be at least 1e-9 and below 1, got 0"),
        ({"false_alarms": float("nan")}, "`false_alarms`"),
        ({"threshold": -0.1}, "`threshold` must be from 0 to 100, got -0.1"),
        ({"threshold": float("nan")}, "`threshold`"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        MonitorConfig(**settings)
    assert MonitorConfig(window=30, false_alarms=0.5, threshold=0).window == 30
