"""`predict`: a log on stdout or in a file; unreadable images are left out, listed and end it with 1."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.commands import Searched, document, refused
from tests.support.process import Run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "pictures" / "deep"
    place.mkdir(parents=True)
    for index in range(3):
        Image.fromarray(np.full((8, 8), 80 * index, np.uint8)).save(place / f"{index}.png")
    return tmp_path / "pictures"


def test_csv_on_stdout(searched: Searched, invoke: Run, folder: Path) -> None:
    done = invoke("predict", searched[0], folder, "--top", 2)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert list(rows[0]) == ["path", "class", "probability", "margin", "class2", "probability2"]
    assert [row["path"] for row in rows] == [str(folder / "deep" / f"{index}.png") for index in range(3)]
    assert float(rows[0]["margin"]) == pytest.approx(float(rows[0]["probability"]) - float(rows[0]["probability2"]))


def test_a_ticket_and_its_export_agree(searched: Searched, invoke: Run, folder: Path, tmp_path: Path) -> None:
    assert invoke("export", searched[0], "--output", "t.onnx").returncode == 0
    for file, log in ((searched[0], "torch.jsonl"), ("t.onnx", "onnx.jsonl")):
        done = invoke("predict", file, folder, "--output", log, "--features", "--json")
        assert document(done)["images"] == 3
    first, second = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("torch.jsonl", "onnx.jsonl")
    )
    for one, other in zip(first, second, strict=True):
        assert one.pop("class") == other.pop("class")
        assert one.pop("path") == other.pop("path")
        assert one == pytest.approx(other, abs=1e-4)


def test_unreadable_images_are_listed_and_the_others_classified(
    searched: Searched, invoke: Run, folder: Path, tmp_path: Path
) -> None:
    (folder / "bad.png").write_bytes(b"no image")
    done = invoke("predict", searched[0], folder, "missing.png", "--output", "log.csv", "--json")
    found = document(done, 1)
    assert [one["path"] for one in found["unreadable"]] == [str(folder / "bad.png"), "missing.png"]
    assert found["images"] == 3
    assert "2 of 5 images cannot be read" in found["error"]
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4


def test_nothing_but_unreadable_images_leaves_no_log(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    done = invoke("predict", searched[0], "missing.png", "--output", "log.csv")
    assert done.returncode == 1
    assert not (tmp_path / "log.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("missing.safetensors", "x.png"), 2, "missing.safetensors does not exist"),
        (("TICKET", "*.gif"), 1, "no file matches *.gif"),
        (("TICKET", "pictures", "--output", "log.txt"), 2, "ends in .csv or .jsonl"),
        (("TICKET", "pictures", "--output", "no/log.csv"), 1, "the folder no does not exist"),
        (("TICKET", "pictures", "--top", "11"), 2, "--top must be from 1 to the network's 10 classes"),
        (("TICKET", "own.csv", "--output", "own.csv"), 2, "would replace own.csv"),
    ],
)
def test_bad_requests(
    searched: Searched, invoke: Run, folder: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    assert folder.exists()
    (tmp_path / "own.csv").write_bytes(b"an image")
    words_given = [str(searched[0]) if word == "TICKET" else word for word in arguments]
    refused(invoke("predict", *words_given, "--json"), code, words, tmp_path)
