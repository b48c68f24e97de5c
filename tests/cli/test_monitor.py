"""`monitor`: exit code 3 on an alarm with everything written, one line for what cannot be judged."""

import json
from pathlib import Path

import pytest
from PIL import Image

import slt_compress
from slt_compress.ticket.ticket import Ticket
from tests.support.commands import document, refused
from tests.support.process import Run
from tests.support.references import with_reference, write_pictures


@pytest.fixture(scope="module")
def folder(ticket: Ticket, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """t.safetensors with a reference and plain.safetensors without; the test images, and as dark/ half as bright."""
    place = tmp_path_factory.mktemp("monitor")
    with_reference(ticket).save(place / "t.safetensors")
    ticket.save(place / "plain.safetensors")
    for name in ("images", "dark"):
        (place / name).mkdir()
    write_pictures(place / "images")
    for path in (place / "images").glob("*/*.png"):
        with Image.open(path) as image:
            image.point([value // 2 for value in range(256)]).save(place / "dark" / path.name)
    (place / "dark" / "torn.png").write_bytes(b"no image")
    return place


def test_an_alarm_is_told_when_everything_is_written(invoke: Run, folder: Path, tmp_path: Path) -> None:
    words = ("monitor", folder / "t.safetensors", "--images")
    assert document(invoke(*words, folder / "images", "--json"))["alarm"] is False
    written = ("--log", "l.jsonl", "--textfile", "t.prom", "--plot", "w.png", "--save-reference", "r.json")
    done = invoke(*words, folder / "dark", "--window", 100, *written, "--json")
    found = document(done, 3)
    assert found["alarm"] is True
    assert found["images"] == 360
    assert found["error"].startswith("alarm in 4 of 4 windows: ")
    assert [Path(one["path"]).name for one in found["unreadable"]] == ["torn.png"]
    assert [json.loads(line) for line in (tmp_path / "l.jsonl").read_text().splitlines()] == found["windows"]
    assert 'slt_compress_monitor_alarm_windows{model="t.safetensors"} 4\n' in (tmp_path / "t.prom").read_text()
    assert (tmp_path / "w.png").read_bytes().startswith(b"\x89PNG")
    plain = invoke("monitor", folder / "plain.safetensors", "--images", folder / "dark", "--reference", "r.json")
    assert plain.returncode == 3
    assert "cannot read the image" in plain.stderr
    assert "beside 143 of the reference" in plain.stdout


def test_a_reference_is_measured_and_kept(invoke: Run, folder: Path, tmp_path: Path) -> None:
    words = ("monitor", folder / "plain.safetensors", "--reference-images", folder / "images")
    saved = document(invoke(*words, "--save-reference", "r.json", "--json"))
    assert saved["reference"]["images"] == 360
    assert document(invoke(*words, "--images", folder / "images", "--json"))["alarm"] is False
    others = tmp_path / "r.json"
    others.write_text(others.read_text().replace('"0"', '"zero"'))
    done = invoke("monitor", folder / "t.safetensors", "--images", folder / "images", "--reference", "r.json")
    refused(done, 1, "r.json is a reference of 10 other classes (zero, 1, 2, 3, …)", tmp_path)


def test_histograms_are_merged(invoke: Run, folder: Path, tmp_path: Path) -> None:
    held_out = Ticket.load(folder / "t.safetensors").provenance.held_out
    assert held_out
    quantities = {"input_mean": [0] * 9 + [50]}
    counts = {"format": "slt-compress histogram", "reference": held_out.digest, "images": 50, "classes": [5] * 10}
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps({**counts, "quantities": quantities}))
    done = invoke("monitor", folder / "t.safetensors", "--merge", "a.json", "b.json", "--json")
    (window,) = document(done, 3)["windows"]
    assert window["images"] == 100
    assert [alarm.split()[0] for alarm in window["alarms"]] == ["input_mean"]
    (tmp_path / "b.json").write_text('{"format": "slt-compress hist')
    done = invoke("monitor", folder / "t.safetensors", "--merge", "a.json", "b.json")
    refused(done, 1, "b.json is no histogram: it is not valid JSON, or only a part of it", tmp_path)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("none.safetensors", "--images", "x"), 2, "none.safetensors does not exist"),
        (
            ("{}/plain.safetensors", "--images", "{}/images"),
            2,
            "holds no reference to compare with: give a --reference",
        ),
        (("{}/t.safetensors",), 2, "give one of --images, --predictions and --merge to judge, found none"),
        (("{}/t.safetensors", "--images", "x", "--predictions", "y.csv"), 2, "found --images and --predictions"),
        (("{}/t.safetensors", "--merge"), 2, "--merge takes histograms: slt-compress monitor FILE --merge HISTOGRAM…"),
        (("{}/t.safetensors", "a.json"), 2, "--merge takes histograms"),
        (("{}/t.safetensors", "--images", "{}/images", "--window", "0"), 2, "--window must be at least 30"),
        (("{}/t.safetensors", "--images", "{}/none"), 1, "none"),
        (("{}/t.safetensors", "--predictions", "none.csv"), 1, "cannot read none.csv"),
        (("{}/t.safetensors", "--predictions", "l.csv", "--log", "l.csv"), 2, "are the same file"),
        (("{}/t.safetensors", "--images", "{}/images", "--plot", "none/w.png"), 1, "the folder none does not exist"),
        (("{}/t.safetensors", "--images", "x", "--reference-images", "none"), 2, "should be a folder of images"),
        (("{}/dark/torn.png", "--images", "x"), 3, "is not a valid ticket"),
    ],
)
def test_bad_requests(
    invoke: Run, folder: Path, tmp_path: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    refused(invoke("monitor", *(word.format(folder) for word in words)), code, message, tmp_path)


def test_trained_tickets_have_a_reference_too(invoke: Run, folder: Path) -> None:
    words = ("lenet-300-100", "--max-steps", "4", "--reference", "--quiet", "--output")
    invoke("prune", *words, "p.safetensors")
    invoke("train", "p.safetensors", *words[1:], "q.safetensors")
    for name in ("p", "q"):
        found = document(invoke("inspect", f"{name}.safetensors", "--json"))
        assert (found["held_out"]["images"], found["reference_bytes"] <= 405) == (143, True)
        done = invoke("monitor", f"{name}.safetensors", "--images", folder / "dark", "--json")
        assert done.returncode in (0, 3)  # whether that is an alarm is another matter
        assert document(done, done.returncode)["windows"][0]["images"] == 360


def test_a_search_stores_a_reference_that_export_takes_along(invoke: Run, folder: Path) -> None:
    words = ("search", "lenet-300-100", "--method", "random", "--output", "t.safetensors")
    smaller = document(invoke(*words, "--json"))["bytes"]
    assert document(invoke(*words, "--reference", "--json"))["bytes"] > smaller
    found = document(invoke("inspect", "t.safetensors", "--json"))
    assert found["held_out"]["images"] == 143
    assert found["reference_bytes"] <= 405
    assert "143 held-out images, 9 quantities" in invoke("inspect", "t.safetensors").stdout
    slt_compress.export("t.safetensors", "t.onnx")
    done = invoke("monitor", "t.onnx", "--images", folder / "dark", "--json")
    (window,) = document(done, 3)["windows"]
    assert window["not_judged"]["feature_norm"] == "not known of these images"
