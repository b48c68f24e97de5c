"""The road on real images: MNIST and CIFAR-10 (JPEG), from the folder that SLT_COMPRESS_DATA names."""

import json
import os
from pathlib import Path

import pytest
import torch

from slt_compress import Ticket
from slt_compress.data.datasets import open_dataset
from slt_compress.evaluation.accuracy import evaluate, torch_classifier
from slt_compress.evaluation.onnxruntime_backend import OnnxClassifier
from tests.support.images import predictions_of, preprocessing_of
from tests.support.process import Run

FOLDER = Path(os.environ.get("SLT_COMPRESS_DATA", "/nonexistent"))
MNIST = pytest.mark.skipif(not (FOLDER / "MNIST").is_dir(), reason="SLT_COMPRESS_DATA names no folder with MNIST/raw")
CIFAR = pytest.mark.skipif(
    not (FOLDER / "cifar10-jpg").is_dir(), reason="SLT_COMPRESS_DATA names no folder with cifar10-jpg"
)


@MNIST
def test_mnist_from_search_to_onnx(invoke: Run, tmp_path: Path) -> None:
    """Two epochs at 95 % sparsity reach 97 %; both runtimes give the same 10,000 predictions."""
    arguments = ("--dataset", "mnist", "--data-dir", FOLDER, "--sparsity", 0.95, "--epochs", 2)
    done = invoke("search", "lenet-300-100", *arguments, "--output", "t.safetensors", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["accuracy"] > 0.965
    assert found["sparsity"] == pytest.approx(0.95, abs=0.0005)
    assert invoke("export", "t.safetensors").returncode == 0

    ticket = Ticket.load(tmp_path / "t.safetensors")
    images = open_dataset("mnist", FOLDER).read("test", 28)
    with_torch = evaluate(torch_classifier(ticket.restore(), torch.device("cpu")), images, preprocessing_of(ticket))
    classifier = OnnxClassifier(tmp_path / "t.onnx")
    with_onnx = evaluate(classifier, images, classifier.feed)
    assert with_torch.samples == 10_000
    assert torch.equal(predictions_of(with_torch), predictions_of(with_onnx))
    assert with_torch.accuracy == found["accuracy"]


@CIFAR
def test_cifar_as_a_folder_of_images(invoke: Run, tmp_path: Path) -> None:
    """A few steps learn something from the 15,000 colour JPEGs of three classes."""
    for part in ("train", "test"):
        (tmp_path / "images" / part).mkdir(parents=True)
        for name in ("cat", "frog", "ship"):
            (tmp_path / "images" / part / name).symlink_to(FOLDER / "cifar10-jpg" / part / name)
    arguments = ("--dataset", "imagefolder", "--data-dir", "images", "--sparsity", 0.8)
    done = invoke("search", "lenet-300-100", *arguments, "--max-steps", 200, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["accuracy"] > 0.65
    assert found["sparsity"] == pytest.approx(0.8, abs=0.0005)
