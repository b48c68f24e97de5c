"""Counts add up, and what a device sends is read as it was or refused in one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slt_compress.errors import DataError
from slt_compress.monitoring.counts import Counts, Observations, read_counts
from tests.support.references import CLASSES, reference_of, seen

REFERENCE = reference_of(seen(500, np.random.default_rng(0)))
SEEN = seen(300, np.random.default_rng(1))


def counted(observations: Observations) -> Counts:
    return Counts.of(observations, REFERENCE, CLASSES)


def test_the_counts_of_parts_add_up_to_those_of_the_whole() -> None:
    parts = [counted(SEEN.part(start, start + 100)) for start in (0, 100, 200)]
    assert sum(parts[1:], parts[0]) == counted(SEEN)
    assert counted(SEEN).images == counted(SEEN).labelled == 300
    assert counted(SEEN).right == (SEEN.predicted == SEEN.labels).sum()
    log = Observations({"margin": SEEN.quantities["margin"]}, SEEN.predicted, SEEN.labels * 0 - 1)
    both = counted(log) + counted(SEEN)
    assert both.quantities["margin"] == tuple(2 * count for count in counted(SEEN).quantities["margin"])
    assert both.quantities["entropy"] == counted(SEEN).quantities["entropy"]
    assert (both.images, both.labelled) == (600, 300)


def test_a_device_sends_a_few_hundred_bytes(tmp_path: Path) -> None:
    text = json.dumps(counted(SEEN).to_json(REFERENCE))
    assert len(text) < 900
    (tmp_path / "h.json").write_text(text)
    assert read_counts(tmp_path / "h.json", REFERENCE) == counted(SEEN)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "is no histogram: expected a JSON object"),
        (
            {"reference": "0" * 16},
            f"counts in the bins of the reference {'0' * 16}, this one is .*: it comes from another",
        ),
        ({"images": -1}, "of -1 images"),
        ({"images": 2**40 + 1}, "of 1099511627777 images"),
        ({"images": 1.5}, "of 1.5 images"),
        ({"images": 10}, "counts of images|10 images"),
        ({"right": 301}, "301 right of 300 labelled"),
        ({"classes": [1]}, "classes should have 10 counts of images"),
        ({"classes": [-1] * 10}, "classes should have 10 counts of images"),
        ({"quantities": []}, "should be an object"),
        ({"quantities": {"speed": [1]}}, "the reference has no quantity 'speed'"),
        ({"quantities": {"margin": [1, 2]}}, "margin should have 10 counts"),
        ({"quantities": {"margin": [300] * 10}}, "margin counts 3000 of 300 images"),
        ({"quantities": {"margin": ["1"] * 10}}, "margin should have 10 counts"),
        ({"extra": 1}, "lacks or should not have 'extra'"),
        ({"classes": ...}, "lacks or should not have 'classes'"),
    ],
)
def test_other_histograms_are_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    fields = {**counted(SEEN).to_json(REFERENCE), **change}
    kept = {name: value for name, value in fields.items() if value is not ...}
    (tmp_path / "h.json").write_text(json.dumps(kept))
    with pytest.raises(DataError, match=words) as failure:
        read_counts(tmp_path / "h.json", REFERENCE)
    assert "h.json" in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "only a part"), (b'{"format": "slt', "only a part"), (b"\xff\xfe", "not valid JSON"), (b"[" * 5000, "JSON")],
)
def test_files_of_something_else_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "h.json").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_counts(tmp_path / "h.json", REFERENCE)
    with pytest.raises(DataError, match="cannot read the histogram"):
        read_counts(tmp_path, REFERENCE)
    (tmp_path / "large.json").write_bytes(b" " * 1_000_001)
    with pytest.raises(DataError, match="it has 1,000,001 bytes"):
        read_counts(tmp_path / "large.json", REFERENCE)
