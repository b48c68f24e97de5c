"""The front door: images, logs and histograms of the same images give the same judgement; other input is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import slt_compress
from slt_compress.errors import DataError, TicketError, UsageError
from slt_compress.monitoring.counts import Counts
from slt_compress.monitoring.judge import Window
from slt_compress.monitoring.observe import observations
from slt_compress.monitoring.run import monitor
from slt_compress.prediction.log import read_log, write_log
from slt_compress.prediction.predict import predict
from slt_compress.ticket.held_out import Reference
from slt_compress.ticket.ticket import Ticket
from tests.support.own import build, digits


@pytest.fixture(scope="module")
def log(referred: Ticket, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The predictions of the test images, with all columns but labels."""
    file = tmp_path_factory.mktemp("log") / "log.jsonl"
    write_log(file, predict(referred, sorted(pictures.glob("*/*.png")), features=True))
    return file


def test_clean_images_raise_no_alarm_and_dark_ones_do(referred: Ticket, pictures: Path, tmp_path: Path) -> None:
    clean = slt_compress.monitor(referred, pictures)
    (window,) = clean.windows
    assert not clean.alarms
    assert len(window.drifts) == 10
    assert not window.not_judged
    evaluated = slt_compress.evaluate(referred)
    assert window.accuracy == pytest.approx(evaluated.accuracy)
    assert window.estimated_accuracy == pytest.approx(evaluated.accuracy, abs=0.05)
    for path in pictures.glob("*/*.png"):
        with Image.open(path) as image:
            image.point([value // 2 for value in range(256)]).save(tmp_path / path.name)
    (tmp_path / "torn.png").write_bytes(b"no image")
    windows: list[Window] = []
    dark = monitor(referred, tmp_path, window=100, report=windows.append)
    assert [one.images for one in windows] == [100, 100, 100, 60]
    assert [one.first for one in windows] == [0, 100, 200, 300]
    assert tuple(windows) == dark.windows
    assert all(any(alarm.startswith("input_mean ") for alarm in one.alarms) for one in windows)
    assert [one.accuracy for one in windows] == [None] * 4
    assert [Path(path).name for path, _ in dark.unreadable] == ["torn.png"]


def test_a_log_and_histograms_of_it_are_judged_as_the_images_are(
    referred: Ticket, pictures: Path, log: Path, tmp_path: Path
) -> None:
    (of_images,) = monitor(referred, pictures).windows
    (of_log,) = monitor(referred, predictions=log).windows
    reference, classes = referred.provenance.held_out, referred.provenance.classes
    assert reference
    for place, (start, end) in enumerate(((0, 150), (150, 360))):
        part = observations(read_log(log), classes).part(start, end)
        counts = Counts.of(part, reference, len(classes))
        (tmp_path / f"{place}.json").write_text(json.dumps(counts.to_json(reference)))
    devices = [tmp_path / "0.json", tmp_path / "1.json"]
    (of_devices,) = monitor(referred, histograms=devices).windows
    assert of_devices == of_log
    psi = {one.quantity: one.psi for one in of_images.drifts}
    assert {one.quantity: one.psi for one in of_log.drifts} == pytest.approx(
        {name: value for name, value in psi.items() if not name.startswith("feature")}
    )
    assert set(of_log.not_judged) == {"feature_mean", "feature_std", "feature_norm"}
    with pytest.raises(UsageError, match=r"has .*0\.json twice: its images would count twice"):
        monitor(referred, histograms=[devices[0], devices[0]])


def test_a_log_is_judged_by_the_columns_that_it_has(referred: Ticket, log: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    few = tmp_path / "few.csv"
    few.write_text("margin,note\n" + "".join(f"{row['margin']},x\n" for row in rows))
    (window,) = monitor(referred, predictions=few).windows
    assert [one.quantity for one in window.drifts] == ["margin"]
    labelled = tmp_path / "labelled.csv"
    labelled.write_text("class,label\n" + "".join(f"{row['class']},{Path(row['path']).parent.name}\n" for row in rows))
    (window,) = monitor(referred, predictions=labelled).windows
    assert window.accuracy == pytest.approx(slt_compress.evaluate(referred).accuracy)
    assert [one.quantity for one in window.drifts] == ["class"]


def test_an_exported_file_has_the_reference_too(referred: Ticket, log: Path, tmp_path: Path) -> None:
    slt_compress.export(referred, tmp_path / "t.onnx")
    exported = monitor(tmp_path / "t.onnx", predictions=log)
    assert exported.reference == referred.provenance.held_out
    assert exported.windows == monitor(referred, predictions=log).windows


def test_a_reference_can_be_measured_on_images(ticket: Ticket, pictures: Path, log: Path) -> None:
    measured = monitor(ticket, predictions=log, reference=pictures)
    assert measured.reference.images == 360
    assert measured.reference.accuracy == pytest.approx(slt_compress.evaluate(ticket).accuracy)
    assert all(one.psi < 0.001 for one in measured.windows[0].drifts)
    with pytest.raises(UsageError, match="this network's file holds no reference to compare with: give a `reference`"):
        monitor(ticket, predictions=log)
    other = Reference.of({"margin": np.ones(50)}, np.zeros(50, np.int64), None, 2)
    with pytest.raises(UsageError, match="the `reference` is of other classes than the network's 10"):
        monitor(ticket, predictions=log, reference=other)
    few = pictures / "0"
    with pytest.raises(DataError, match="a reference needs 30"):
        monitor(ticket, predictions=log, reference=_only(few, 20))


def _only(folder: Path, count: int) -> Path:
    smaller = folder.parent.parent / f"only-{count}"
    smaller.mkdir(exist_ok=True)
    for path in sorted(folder.iterdir())[:count]:
        (smaller / path.name).write_bytes(path.read_bytes())
    return smaller


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "give one of `images`, `predictions` and `histograms` to judge, found none"),
        ({"images": "x", "predictions": "y"}, "found `images` and `predictions`"),
        ({"histograms": []}, "`histograms` must name at least one file"),
        ({"histograms": ["x.json"], "window": 100}, "`window` has no meaning for `histograms`"),
        ({"images": "x", "window": 0}, "`window` must be at least 30"),
        (
            {"predictions": "x.csv", "device": "cpu"},
            "`device` has no meaning here: it is for a ticket that looks at images",
        ),
        ({"predictions": "x.csv", "source": build}, "`source` has no meaning here"),
        ({"images": "x", "speed": 1}, "unknown setting 'speed'; known: window, false_alarms"),
    ],
)
def test_arguments_that_do_not_fit_together_are_refused(
    referred: Ticket, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        monitor(referred, **arguments)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("log.csv", "", "is empty"),
        ("log.csv", "class,margin\n", "there is nothing to judge: .*log.csv has no rows"),
        ("log.csv", "speed\n1\n", "expected some of class"),
        ("log.csv", "class,margin\n1,0.5\n1\n", "line 3: 1 values for 2 columns"),
        ("log.csv", "margin\n1.5\n", "line 2: margin is '1.5', expected a number from 0 to 1"),
        ("log.csv", "entropy\nmuch\n", "line 2: entropy is 'much'"),
        ("log.csv", "class\ncow\n", "the class 'cow' is none of the network's 10"),
        ("log.jsonl", '{"class": "1"}\n{"class": "2', "line 2: no JSON object"),
        ("log.txt", "", r"a log of predictions ends in \.csv or \.jsonl"),
    ],
)
def test_logs_of_something_else_are_refused(
    referred: Ticket, tmp_path: Path, name: str, content: str, words: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises((DataError, UsageError), match=words):
        monitor(referred, predictions=tmp_path / name)


def test_only_networks_that_classify_images_are_judged(referred: Ticket, tmp_path: Path) -> None:
    train, test = digits()
    own = slt_compress.search(build, train=train, test=test, method="random").ticket
    with pytest.raises(UsageError, match="this network does not take images"):
        monitor(own, predictions=tmp_path / "x.csv")
    with pytest.raises(UsageError, match="`reference` is for networks that give one class an image"):
        slt_compress.search(build, train=train, test=test, method="random", reference=True)
    with pytest.raises(TicketError, match="cannot read the ticket"):
        monitor(tmp_path / "none.safetensors", predictions=tmp_path / "x.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        monitor(referred, tmp_path / "empty")
    (tmp_path / "empty" / "torn.png").write_bytes(b"no")
    with pytest.raises(DataError, match="there is nothing to judge: none of the 1 images can be read"):
        monitor(referred, tmp_path / "empty")
