"""Exported graphs compute what torch does, for any batch size, or are not written."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from slt_compress import data
from slt_compress.errors import OutputError, UnreachableError, UsageError, VerificationError
from slt_compress.evaluate import OnnxClassifier, evaluate, torch_classifier
from slt_compress.export import export
from slt_compress.jobs import recorded
from slt_compress.pictures import Preprocessing, TensorSplit
from slt_compress.ticket import Ticket
from tests.conftest import make_ticket


def noise(ticket: Ticket, count: int) -> TensorSplit:
    """Random pictures for a ticket's network."""
    expected = ticket.provenance.preprocessing
    shape = (count, expected["channels"], expected["size"], expected["size"])
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    return TensorSplit(images, torch.randint(10, (count,), generator=generator))


@pytest.mark.parametrize("weights", ["compact", "dense", "int2"])
def test_predictions_are_identical_on_every_test_picture(ticket: Ticket, tmp_path: Path, weights: str) -> None:
    module = ticket.restore()
    exported = export(module, ticket, tmp_path / "t.onnx", recorded(ticket), weights=weights)
    assert exported.bytes == (tmp_path / "t.onnx").stat().st_size
    assert exported.bit_identical_to_dense
    assert exported.bit_identical_to_plain
    assert exported.agreement is None
    classifier = OnnxClassifier(tmp_path / "t.onnx")
    assert classifier.metadata == json.loads(json.dumps({**recorded(ticket), "input": "normalised"}))
    pictures = data.open_dataset("digits", None).read("test", 8)
    preprocessing = Preprocessing(**ticket.provenance.preprocessing)
    found = evaluate(classifier, pictures, preprocessing)
    expected = evaluate(torch_classifier(module, torch.device("cpu")), pictures, preprocessing)
    assert torch.equal(found.predictions, expected.predictions)


@pytest.mark.parametrize(
    "name", ["lenet-5", "conv2", "resnet10t", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"]
)
def test_compact_is_dense_in_a_fraction_of_the_bytes(tmp_path: Path, name: str) -> None:
    ticket = make_ticket(name, 0.1)
    module = ticket.restore()
    dense = export(module, ticket, tmp_path / "dense.onnx", {}, weights="dense")
    compact = export(module, ticket, tmp_path / "compact.onnx", {}, weights="compact")
    assert compact.bit_identical_to_dense
    assert compact.bytes < dense.bytes / 10
    assert compact.bytes < 1.03 * len(ticket.to_bytes()) + 22_000  # functions, and the nodes of a transformer
    shape = (3, ticket.provenance.preprocessing["size"], ticket.provenance.preprocessing["size"])
    images = np.random.default_rng(0).standard_normal((2, *shape), np.float32)
    logits = [
        onnxruntime.InferenceSession(tmp_path / f"{kind}.onnx").run(None, {"images": images})[0]
        for kind in ("dense", "compact")
    ]
    assert np.array_equal(*logits)


@pytest.mark.parametrize("initialiser", ["kaiming-uniform", "uniform"])
def test_uniform_weights_are_regenerated_too(tmp_path: Path, initialiser: str) -> None:
    ticket = make_ticket("lenet-5", 0.3, size=28, channels=1, initialiser=initialiser)
    assert export(ticket.restore(), ticket, tmp_path / "t.onnx", {}).bit_identical_to_dense


def test_normal_weights_are_refused_with_the_way_out(tmp_path: Path) -> None:
    ticket = make_ticket("lenet-5", 0.3, size=28, channels=1, initialiser="kaiming-normal")
    with pytest.raises(UnreachableError, match="use: export --weights dense"):
        export(ticket.restore(), ticket, tmp_path / "t.onnx", {})
    assert export(ticket.restore(), ticket, tmp_path / "t.onnx", {}, weights="dense").bytes > 100_000


@pytest.mark.parametrize("opset", [18, 20, 23])
@pytest.mark.parametrize("weights", ["compact", "dense"])
def test_names_opset_and_dynamic_batch(tmp_path: Path, opset: int, weights: str) -> None:
    ticket = make_ticket("conv2", 0.5, size=8, classes=5)
    export(ticket.restore(), ticket, tmp_path / "m.onnx", {}, weights=weights, opset=opset)
    model = onnx.load(tmp_path / "m.onnx")
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [opset]
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    assert [value.name for value in (*session.get_inputs(), *session.get_outputs())] == ["images", "logits"]
    for batch in (1, 7):
        assert session.run(None, {"images": np.zeros((batch, 3, 8, 8), np.float32)})[0].shape == (batch, 5)


def test_an_unsupported_opset_is_refused(ticket: Ticket, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--opset must be from 18 to 23, got 11"):
        export(nn.Flatten(), ticket, tmp_path / "m.onnx", {}, opset=11)
    with pytest.raises(UsageError, match="int2 needs --opset 25, the first with 2-bit types, got 20"):
        export(nn.Flatten(), ticket, tmp_path / "m.onnx", {}, opset=20, weights="int2")


def test_a_missing_folder_is_refused_before_any_work(ticket: Ticket, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        export(nn.Flatten(), ticket, tmp_path / "no" / "m.onnx", {})


@pytest.mark.parametrize("weights", ["compact", "dense", "int2", "int8"])
def test_a_graph_that_takes_pixels_normalises_them_itself(ticket: Ticket, tmp_path: Path, weights: str) -> None:
    digits = data.open_dataset("digits", None)
    test, train = digits.read("test", 8), digits.read("train", 8)
    found = {}
    for included in (False, True):
        path = tmp_path / f"{included}.onnx"
        exported = export(
            ticket.restore(),
            ticket,
            path,
            recorded(ticket),
            weights=weights,
            include_preprocessing=included,
            pictures=test,
            calibration=train,
        )
        assert exported.agreement
        assert exported.agreement.pictures == len(test)
        assert exported.agreement.accuracy_torch > 0.9
        assert exported.calibration_pictures == (len(train) if weights == "int8" else 0)
        classifier = OnnxClassifier(path)
        found[included] = evaluate(classifier, test, classifier.preprocessing)
        assert found[included].accuracy == exported.agreement.accuracy_onnx
    assert torch.equal(found[True].predictions, found[False].predictions)
    session = onnxruntime.InferenceSession(path)
    assert (session.get_inputs()[0].type, session.get_inputs()[0].shape[1:]) == ("tensor(uint8)", [8, 8, 1])


@pytest.mark.parametrize(("name", "static"), [("lenet-5", True), ("resnet10t", True), ("vit_tiny_patch16_224", False)])
def test_int8_computes_in_8_bits(tmp_path: Path, name: str, static: bool) -> None:
    ticket = make_ticket(name, 0.2)
    some = noise(ticket, 16)
    exported = export(
        ticket.restore(), ticket, tmp_path / "m.onnx", {}, weights="int8", pictures=some, calibration=some,
        max_accuracy_drop=1,
    )  # fmt: skip
    assert exported.bit_identical_to_plain
    assert not exported.bit_identical_to_dense
    assert exported.calibration_pictures == (16 if static else 0)
    assert exported.bytes < 1.15 * export(ticket.restore(), ticket, tmp_path / "c.onnx", {}).bytes
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(tmp_path / "m.onnx", options)
    kernels = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert kernels & ({"QLinearConv"} if static else {"MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulInteger"})


def test_int8_that_loses_too_much_is_refused(ticket: Ticket, tmp_path: Path) -> None:
    """Ranges measured on black pictures cut off everything else."""
    test = data.open_dataset("digits", None).read("test", 8)
    black = TensorSplit(torch.zeros(32, 1, 8, 8, dtype=torch.uint8), torch.zeros(32, dtype=torch.int64))
    with pytest.raises(VerificationError, match=r"8 bits lower the accuracy from 0.*--max-accuracy-drop 0\.01"):
        export(ticket.restore(), ticket, tmp_path / "m.onnx", {}, weights="int8", pictures=test, calibration=black)
    assert list(tmp_path.iterdir()) == []


def test_int8_without_pictures_is_refused(ticket: Ticket, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--weights int8 needs pictures.*give --data-dir"):
        export(ticket.restore(), ticket, tmp_path / "m.onnx", {}, weights="int8")


@pytest.mark.parametrize("weights", ["int2", "int8"])
def test_weights_of_many_magnitudes_do_not_fit_into_few_bits(tmp_path: Path, weights: str) -> None:
    ticket = make_ticket("lenet-5", 0.3, size=28, channels=1, initialiser="uniform")
    some = noise(ticket, 4)
    with pytest.raises(UnreachableError, match="those of this ticket are uniform; use: export --weights dense"):
        export(ticket.restore(), ticket, tmp_path / "t.onnx", {}, weights=weights, pictures=some, calibration=some)


@pytest.mark.parametrize("weights", ["compact", "dense"])
def test_a_graph_that_disagrees_is_not_written(ticket: Ticket, tmp_path: Path, weights: str) -> None:
    class Fickle(nn.Module):
        """Another function each time it is called."""

        calls = 0

        def __init__(self) -> None:
            super().__init__()
            self.inner = ticket.restore()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            logits: torch.Tensor = self.inner(images) * self.calls
            return logits

    layers = tuple(replace(layer, name=f"inner.{layer.name}") for layer in ticket.layers)
    renamed = Ticket.pack(
        {f"inner.{layer.name}": ticket.mask(layer.name) for layer in ticket.layers},
        {layer.name: layer.scale for layer in layers},
        {},
        ticket.provenance,
        seed=ticket.seed,
    )
    with pytest.raises(VerificationError, match="nothing was written"):
        export(Fickle(), renamed, tmp_path / "m.onnx", {}, weights=weights)
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_seed_are_noticed(ticket: Ticket, tmp_path: Path) -> None:
    """The graph regenerates from the seed; if that gave other weights than torch has, nothing may be written."""
    with pytest.raises(VerificationError, match="nothing was written"):
        export(ticket.restore(), replace(ticket, seed=99), tmp_path / "m.onnx", {})
    assert list(tmp_path.iterdir()) == []
