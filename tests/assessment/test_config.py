"""What is asked for is put in order, and refused before anything is measured."""

import pytest

from slt_compress.assessment.config import AssessConfig
from slt_compress.errors import UsageError


def test_sparsities_are_sorted_and_once_each() -> None:
    assert AssessConfig((0.9, 0.5, 0.9)).sparsities == (0.5, 0.9)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sparsities": ()}, "sparsities"),
        ({"sparsities": (1.0,)}, "below 1"),
        ({"budget": 0.0}, "budget"),
        ({"budget": float("nan")}, "budget"),
        ({"target_bytes": 0}, "target_bytes"),
        ({"target_accuracy": 1.5}, "target_accuracy"),
        ({"target_accuracy": 0.0}, "target_accuracy"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        AssessConfig(**settings)  # type: ignore[arg-type]
