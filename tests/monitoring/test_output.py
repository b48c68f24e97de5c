"""What other programs read: the text format of Prometheus by its grammar, and logs that grow."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from slt_compress.errors import OutputError
from slt_compress.files import check_log
from slt_compress.monitoring.counts import Counts
from slt_compress.monitoring.judge import judge
from slt_compress.monitoring.output import append_line, to_json, to_prometheus
from tests.support.references import CLASSES, reference_of, seen

GENERATOR = np.random.default_rng(0)
REFERENCE = reference_of(seen(500, GENERATOR))
WINDOW = judge(REFERENCE, Counts.of(seen(300, GENERATOR, shift=1), REFERENCE, CLASSES))
LABEL = r'[a-zA-Z_]\w*="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
SAMPLE = rf"(?P<name>[a-zA-Z_:][\w:]*)\{{{LABEL}(?:,{LABEL})*\}} (?P<value>-?\d+(?:\.\d+)?(?:e[+-]\d+)?)"


def test_the_text_for_prometheus_has_each_metric_once_with_its_type() -> None:
    text = to_prometheus(WINDOW, 'a"b\\c\nd', 3)
    assert text.endswith("\n")
    described: list[str] = []
    samples: dict[str, list[float]] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            kind, name = re.fullmatch(r"# (HELP|TYPE) (\w+) .+", line).groups()  # type: ignore[union-attr]
            described += [name] if kind == "HELP" else []
            assert described[-1] == name
            continue
        match = re.fullmatch(SAMPLE, line)
        assert match, line
        assert match["name"] == described[-1]
        samples.setdefault(match["name"], []).append(float(match["value"]))
    assert len(set(described)) == len(described)
    assert set(described) == set(samples)
    assert len(samples["slt_compress_monitor_psi"]) == 10
    assert len(samples["slt_compress_monitor_ks"]) == 9
    assert samples["slt_compress_monitor_alarm"] == [1]
    assert samples["slt_compress_monitor_alarm_windows"] == [3]
    assert samples["slt_compress_monitor_accuracy"] == [pytest.approx(WINDOW.accuracy)]


def test_what_is_not_known_is_left_out() -> None:
    unknown = judge(REFERENCE, Counts(5, {}, (0,) * CLASSES))
    text = to_prometheus(unknown, "x", 0)
    assert "accuracy" not in text
    assert "psi" not in text
    assert 'slt_compress_monitor_images{model="x"} 5\n' in text


def test_a_log_grows_by_a_line_a_window(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    check_log(log)
    for _ in range(2):
        append_line(log, WINDOW)
        check_log(log)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines == [json.loads(json.dumps(to_json(WINDOW)))] * 2
    assert lines[0]["drifts"][0]["quantity"] == "probability"
    log.write_text("path,class\n")
    with pytest.raises(OutputError, match="holds something else than a log"):
        check_log(log)
    with pytest.raises(OutputError, match="cannot write"):
        append_line(tmp_path, WINDOW)
