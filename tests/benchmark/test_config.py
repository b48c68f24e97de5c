"""Settings of a measurement are checked when they are made."""

from typing import Any

import pytest

from slt_compress.benchmark.config import BenchConfig
from slt_compress.errors import UsageError


def test_batches_are_measured_from_small_to_large() -> None:
    assert BenchConfig(batch=[32, 1]).batch == (1, 32)  # type: ignore[arg-type]
    assert BenchConfig().to_json()["batch"] == [1, 32]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch": ()}, "`batch` takes whole numbers from 1 to 65,536"),
        ({"batch": 8}, "got 8"),
        ({"batch": "1,32"}, "got '1,32'"),
        ({"batch": (1, 0)}, "got (1, 0)"),
        ({"batch": (True,)}, "got (True,)"),
        ({"batch": (10**9,)}, "from 1 to 65,536"),
        ({"batch": (4, 1, 4)}, "`batch` has 4 twice"),
        ({"threads": 0}, "`threads` must be a whole number from 1 to 256, got 0"),
        ({"rounds": 1.5}, "`rounds` must be a whole number"),
        ({"runs": 0}, "`runs` must be a whole number"),
        ({"threads": None}, "`threads` must be"),
        ({"dims": {"sequence": 0}}, "got 0 for sequence"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as refusal:
        BenchConfig(**settings)
    assert words in str(refusal.value)
