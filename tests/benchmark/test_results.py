"""Medians over rounds, and ratios within them."""

import json
from pathlib import Path

import pytest

from slt_compress.benchmark.candidates import Candidate
from slt_compress.benchmark.config import BenchConfig
from slt_compress.benchmark.graph import Graph
from slt_compress.benchmark.processes import Sample
from slt_compress.benchmark.results import BenchResult, Measured, Row, rows


def measured(name: str, seconds: list[float], reference: int, size: int, macs: int | None, batch: int = 1) -> Measured:
    """A file whose runs take so many seconds in each round, and whose session takes ten times as much."""
    graph = Graph(Path(name), size, (), None, quantised=False)
    samples = [
        Sample(10 * each, 100, 50, {batch: [each, each, 9 * each]}, {batch: round(1000 * each)}) for each in seconds
    ]
    return Measured(Candidate(name, "", graph, reference), samples, macs)


def test_a_slow_round_changes_no_ratio() -> None:
    busy = [1.0, 5.0, 2.0]
    first = measured("a", [0.1 * each for each in busy], 0, 1000, 60)
    second = measured("b", [0.05 * each for each in busy], 0, 250, 30)
    one, other = rows([first, second])
    assert one.latency_seconds == pytest.approx(0.2)
    assert one.latency_p95_seconds == pytest.approx(0.2 * (1 + 0.9 * 8))
    assert one.runs == 9
    assert set(one.ratio.values()) == {1.0}
    assert other.images_per_second == pytest.approx(10)
    assert other.compared_with == "a"
    assert other.ratio == pytest.approx(
        {
            **dict.fromkeys(("latency_seconds", "latency_p95_seconds", "session_seconds", "peak_bytes", "macs"), 0.5),
            "images_per_second": 2,
            "bytes": 0.25,
            "session_peak_bytes": 1,
        }
    )


def test_what_is_missing_has_no_ratio() -> None:
    first = measured("a", [0.1], 0, 1000, None, batch=8)
    second = measured("b", [0.2], 0, 500, 30)
    for sample in second.samples:
        sample.session_peak_bytes = None
    _, other = rows([first, second])
    gone = ("latency_seconds", "latency_p95_seconds", "images_per_second", "peak_bytes", "macs", "session_peak_bytes")
    assert {name for name, ratio in other.ratio.items() if ratio is None} == set(gone)
    assert other.session_peak_bytes is None
    assert other.ratio["session_seconds"] == pytest.approx(2)


def test_the_document_has_every_figure() -> None:
    found = rows([measured("a", [0.1], 0, 1000, 60)])
    result = BenchResult(found, ("a note",), BenchConfig(), {"cores": 2}, {"python": "3"})
    document = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert set(document["rows"][0]) == set(Row.__annotations__)
    assert document["notes"] == ["a note"]
    assert document["threads"] == 1
