"""`evaluate`: refuses other images and low accuracies, and says which file runs where."""

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.support.commands import Searched, document, refused
from tests.support.process import Run


def test_a_class_mismatch_is_explained(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    from PIL import Image

    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / part / name / "0.png")
    done = invoke("evaluate", searched[0], "--dataset", "imagefolder", "--data-dir", ".")
    refused(done, 1, "tells apart 10 classes (0, 1, 2, 3, …), imagefolder has 2 (cat, dog)", tmp_path)


def test_min_accuracy_decides_the_exit_code(searched: Searched, invoke: Run) -> None:
    assert invoke("evaluate", searched[0], "--min-accuracy", 0.5).returncode == 0
    done = invoke("evaluate", searched[0], "--min-accuracy", 0.999, "--json")
    assert document(done, 3)["accuracy"] < 0.999
    assert "below --min-accuracy 0.999" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("missing.safetensors",), 2, "missing.safetensors does not exist"),
        (("missing.onnx", "--backend", "torch"), 2, "runs under onnxruntime"),
        (("t.safetensors", "--backend", "onnxruntime"), 2, "slt-compress export t.safetensors"),
    ],
)
def test_bad_requests(invoke: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    refused(invoke("evaluate", *arguments, "--json"), code, words, tmp_path)


def test_details_of_classes_and_images(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    done = invoke("evaluate", searched[0], "--per-class", "--save-predictions", "log.csv", "--json")
    found = document(done)
    matrix = np.array(found["confusion_matrix"])
    assert matrix.sum() == found["samples"]
    assert np.trace(matrix) / matrix.sum() == pytest.approx(found["accuracy"])
    assert [one["images"] for one in found["classes"]] == matrix.sum(1).tolist()
    assert 0 <= found["calibration_error"] <= 1
    assert (tmp_path / found["confusion_png"]).read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(row["class"] == row["label"] for row in rows) / len(rows) == pytest.approx(found["accuracy"])
    text = invoke("evaluate", searched[0], "--per-class", "--confusion-matrix", "own.png").stdout
    assert "true \\ predicted" in text
    assert (tmp_path / "own.png").exists()
