"""Exported graphs compute what torch does, for any batch size, or are not written."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from timm.models import swin_transformer
from torch import nn

from examples.edge import check as edge
from slt_compress.data.splits import TensorSplit
from slt_compress.errors import OutputError, UnreachableError, UsageError, VerificationError
from slt_compress.evaluation.accuracy import evaluate, torch_classifier
from slt_compress.evaluation.onnxruntime_backend import OnnxClassifier
from slt_compress.onnx_export.export import MULTIPLE, ExportConfig, check, export
from slt_compress.onnx_export.forms import FORMS
from slt_compress.prng import SeedRecipe
from slt_compress.ticket.record import NetworkRecord
from slt_compress.ticket.sample import with_values
from slt_compress.ticket.ticket import Ticket
from tests.support.digits import DIGITS
from tests.support.images import noise, predictions_of, preprocessing_of
from tests.support.neuron_tickets import make_neuron_ticket
from tests.support.tickets import make_ticket

DENSE = ExportConfig("dense")
PORTABLE = ExportConfig(portable=True)


def checked(path: Path, factor: float = 1.0) -> edge.Verdict:
    """What examples/edge/check.py says of a file under onnxruntime, if each output is multiplied by this factor."""
    session = onnxruntime.InferenceSession(path)
    names = [value.name for value in session.get_inputs()]

    def run(arrays: list[edge.Array]) -> list[edge.Array]:
        return [factor * output for output in session.run(None, dict(zip(names, arrays, strict=True)))]

    return edge.check(run, path)


@pytest.mark.parametrize("config", [PORTABLE, *map(ExportConfig, ("compact", "dense", "int2", "ternary8"))], ids=str)
def test_predictions_are_identical_on_every_test_image(ticket: Ticket, tmp_path: Path, config: ExportConfig) -> None:
    module = ticket.restore()
    exported = export(module, ticket, tmp_path / "t.onnx", config)
    assert exported.bytes == (tmp_path / "t.onnx").stat().st_size
    assert exported.bit_identical_to_dense
    assert exported.bit_identical_to_plain
    assert exported.agreement is None
    classifier = OnnxClassifier(tmp_path / "t.onnx")
    assert classifier.record == NetworkRecord.of(ticket, "normalised")
    images, preprocessing = DIGITS.read("test", 8), preprocessing_of(ticket)
    found = evaluate(classifier, images, preprocessing)
    expected = evaluate(torch_classifier(module, torch.device("cpu")), images, preprocessing)
    assert torch.equal(predictions_of(found), predictions_of(expected))


@pytest.mark.parametrize("name", ["lenet-5", "conv2", "resnet10t", "swin_tiny_patch4_window7_224"])
def test_compact_is_dense_in_a_fraction_of_the_bytes(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = swin_transformer._create_swin_transformer
    small = {"depths": (2, 2), "num_heads": (3, 6)}  # two of four stages: one block of two has shifted windows
    monkeypatch.setattr(swin_transformer, "_create_swin_transformer", lambda *one, **two: create(*one, **two | small))
    ticket = make_ticket(name, 0.1)
    module = ticket.restore()
    compact = export(module, ticket, tmp_path / "compact.onnx")
    assert compact.bit_identical_to_dense
    assert compact.bytes < sum(tensor.nbytes for tensor in module.state_dict().values()) / 10
    assert compact.bytes < 1.03 * len(ticket.to_bytes()) + 22_000  # functions, and the nodes of a transformer
    if name not in ("lenet-5", "conv2"):
        return  # a second export of a large network takes long
    export(module, ticket, tmp_path / "dense.onnx", DENSE)
    size = preprocessing_of(ticket).size
    images = np.random.default_rng(0).standard_normal((2, 3, size, size), np.float32)
    logits = [
        onnxruntime.InferenceSession(tmp_path / f"{kind}.onnx").run(None, {"images": images})[0]
        for kind in ("dense", "compact")
    ]
    assert np.array_equal(*logits)


@pytest.mark.parametrize("initialiser", ["kaiming-uniform", "uniform"])
def test_uniform_weights_are_regenerated_too(tmp_path: Path, initialiser: str) -> None:
    ticket = make_ticket("lenet-5", 0.3, size=28, channels=1, initialiser=initialiser)
    assert export(ticket.restore(), ticket, tmp_path / "t.onnx").bit_identical_to_dense


def test_normal_weights_are_refused_with_the_way_out(tmp_path: Path) -> None:
    ticket = make_ticket("lenet-5", 0.3, size=28, channels=1, initialiser="kaiming-normal")
    with pytest.raises(UnreachableError, match="use `weights=dense`"):
        export(ticket.restore(), ticket, tmp_path / "t.onnx")
    assert export(ticket.restore(), ticket, tmp_path / "t.onnx", DENSE).bytes > 100_000


@pytest.mark.parametrize("opset", [18, 23])
@pytest.mark.parametrize("weights", ["compact", "dense"])
def test_names_opset_and_dynamic_batch(tmp_path: Path, opset: int, weights: str) -> None:
    ticket = make_ticket("conv2", 0.5, size=8, classes=5)
    exported = export(ticket.restore(), ticket, tmp_path / "m.onnx", ExportConfig(weights, opset))
    model = onnx.load(tmp_path / "m.onnx")
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [opset] == [exported.opset]
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    assert [value.name for value in (*session.get_inputs(), *session.get_outputs())] == ["images", "logits"]
    for batch in (1, 7):
        assert session.run(None, {"images": np.zeros((batch, 3, 8, 8), np.float32)})[0].shape == (batch, 5)


def test_a_check_gives_the_opset_before_any_work(ticket: Ticket) -> None:
    assert check(ticket, ExportConfig()) == 20
    assert check(ticket, ExportConfig("int2")) == 25
    assert check(ticket, ExportConfig("int8", opset=21)) == 21


def test_an_unsupported_opset_is_refused(ticket: Ticket, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`opset` must be from 18 to 23, got 11"):
        export(nn.Flatten(), ticket, tmp_path / "m.onnx", ExportConfig(opset=11))
    with pytest.raises(UsageError, match="int2` needs `opset=25`, the first with 2-bit types, got 20"):
        export(nn.Flatten(), ticket, tmp_path / "m.onnx", ExportConfig("int2", opset=20))


@pytest.mark.parametrize("weights", ["dense", "int2", "ternary8", "int8"])
def test_portable_is_for_compact_files_of_one_magnitude(ticket: Ticket, weights: str) -> None:
    with pytest.raises(UsageError, match=f"`portable` is for `weights=compact`, got '{weights}'"):
        check(ticket, ExportConfig(weights, portable=True))
    assert check(ticket, PORTABLE) == 18
    uniform = make_ticket("lenet-5", 0.3, size=28, channels=1, initialiser="uniform")
    with pytest.raises(UnreachableError, match=r"`portable` needs weights of one magnitude, those .* are uniform"):
        check(uniform, PORTABLE)


def test_what_a_runtime_makes_of_a_file_is_judged(ticket: Ticket, tmp_path: Path) -> None:
    export(ticket.restore(), ticket, tmp_path / "t.onnx", DENSE)
    said = [str(checked(tmp_path / "t.onnx", factor)) for factor in (1.0001, 1.02, 0.5, float("nan"))]
    assert said == ["right", "differs by 0.02", "wrong, differs by 0.5", "wrong, differs by inf"]
    assert edge.main([str(tmp_path / "t.onnx")]) == 0
    model = onnx.load(tmp_path / "t.onnx")
    (entry,) = model.metadata_props
    recorded = json.loads(entry.value)
    recorded["probes"]["outputs"][0]["values"][1][0] += 1
    entry.value = json.dumps(recorded)
    onnx.save(model, tmp_path / "other.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "none.onnx")
    assert edge.main([str(tmp_path / "other.onnx")]) == edge.main([str(tmp_path / "none.onnx")]) == 1


def test_an_unknown_form_is_refused(ticket: Ticket, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`weights` must be one of compact, dense, int2, ternary8, int8, got 'int4'"):
        export(nn.Flatten(), ticket, tmp_path / "m.onnx", ExportConfig("int4"))


def test_a_missing_folder_is_refused_before_any_work(ticket: Ticket, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        export(nn.Flatten(), ticket, tmp_path / "no" / "m.onnx")


@pytest.mark.parametrize("weights", ["compact", "dense", "int2", "ternary8", "int8"])
def test_a_graph_that_takes_pixels_normalises_them_itself(ticket: Ticket, tmp_path: Path, weights: str) -> None:
    test, train = DIGITS.read("test", 8), DIGITS.read("train", 8)
    found = {}
    for included in (False, True):
        path = tmp_path / f"{included}.onnx"
        config = ExportConfig(weights, include_preprocessing=included)
        exported = export(ticket.restore(), ticket, path, config, test=test, calibration=train)
        assert exported.agreement
        assert exported.agreement.samples == exported.agreement.predictions == len(test)
        assert exported.agreement.metric_name == "accuracy"
        assert exported.agreement.metric_torch > 0.9
        assert exported.calibration_images == (len(train) if weights == "int8" else 0)
        verdict = checked(path)
        assert verdict.text == "right"
        assert (verdict.difference > edge.RIGHT) == (weights == "int8")
        classifier = OnnxClassifier(path)
        assert classifier.record == NetworkRecord.of(ticket, "pixels" if included else "normalised")
        found[included] = evaluate(classifier, test, classifier.feed)
        assert found[included].accuracy == exported.agreement.metric_onnx
    assert torch.equal(predictions_of(found[True]), predictions_of(found[False]))
    session = onnxruntime.InferenceSession(path)
    assert (session.get_inputs()[0].type, session.get_inputs()[0].shape[1:]) == ("tensor(uint8)", [8, 8, 1])


@pytest.mark.parametrize(("name", "static"), [("lenet-5", True), ("resnet10t", True), ("test_vit", False)])
def test_int8_computes_in_8_bits(tmp_path: Path, name: str, static: bool) -> None:
    ticket = make_ticket(name, 0.2)
    some = noise(ticket, 16)
    config = ExportConfig("int8", max_accuracy_drop=1)
    exported = export(ticket.restore(), ticket, tmp_path / "m.onnx", config, test=some, calibration=some)
    assert exported.bit_identical_to_plain
    assert not exported.bit_identical_to_dense
    assert exported.calibration_images == (16 if static else 0)
    assert exported.bytes < 1.15 * (len(ticket.to_bytes()) + 22_000)  # as `compact`
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(tmp_path / "m.onnx", options)
    kernels = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert kernels & ({"QLinearConv"} if static else {"MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulInteger"})


def test_int8_that_loses_too_much_is_refused(ticket: Ticket, tmp_path: Path) -> None:
    """Ranges measured on black images cut off everything else."""
    black = TensorSplit(torch.zeros(32, 1, 8, 8, dtype=torch.uint8), torch.zeros(32, dtype=torch.int64))
    expected = r"`weights=int8` lowers the accuracy from 0.*`max_accuracy_drop=0\.01`.*use `weights=compact`"
    with pytest.raises(VerificationError, match=expected):
        export(
            ticket.restore(),
            ticket,
            tmp_path / "m.onnx",
            ExportConfig("int8"),
            test=DIGITS.read("test", 8),
            calibration=black,
        )
    assert list(tmp_path.iterdir()) == []


def test_int8_without_images_is_refused(ticket: Ticket, tmp_path: Path) -> None:
    some = noise(ticket, 4)
    for test, calibration in ((None, None), (some, None), (None, some)):
        with pytest.raises(UsageError, match=r"`weights=int8` needs data.*give `data_dir`"):
            export(
                ticket.restore(),
                ticket,
                tmp_path / "m.onnx",
                ExportConfig("int8"),
                test=test,
                calibration=calibration,
            )


@pytest.mark.parametrize("weights", ["int2", "int8"])
def test_weights_of_many_magnitudes_are_refused(tmp_path: Path, weights: str) -> None:
    ticket = make_ticket("lenet-5", 0.3, size=28, channels=1, initialiser="uniform")
    some = noise(ticket, 4)
    with pytest.raises(UnreachableError, match="those of this ticket are uniform; use `weights=dense`"):
        export(ticket.restore(), ticket, tmp_path / "t.onnx", ExportConfig(weights), test=some, calibration=some)


class Fickle(nn.Module):
    """A network whose logits have a factor that can be changed, or changes by itself each time it is called."""

    def __init__(self, inner: nn.Module, growth: float = 0) -> None:
        super().__init__()
        self.inner = inner
        self.factor = 1.0
        self.growth = growth

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.factor += self.growth
        logits: torch.Tensor = self.inner(images) * self.factor
        return logits


@pytest.mark.parametrize("weights", ["compact", "dense"])
def test_a_graph_that_disagrees_is_not_written(ticket: Ticket, tmp_path: Path, weights: str) -> None:
    renamed = Ticket.pack(
        {f"inner.{layer.name}": ticket.mask(layer.name) for layer in ticket.layers},
        {f"inner.{layer.name}": layer.scale for layer in ticket.layers},
        {},
        ticket.provenance,
        origin=SeedRecipe(ticket.seed),
    )
    with pytest.raises(VerificationError, match="nothing was written"):
        export(Fickle(ticket.restore(), growth=1), renamed, tmp_path / "m.onnx", ExportConfig(weights))
    assert list(tmp_path.iterdir()) == []


def test_other_predictions_on_real_images_are_noticed(ticket: Ticket, tmp_path: Path) -> None:
    module = Fickle(ticket.restore())

    @contextlib.contextmanager
    def turned(what: str) -> Iterator[None]:
        """Change the network once its logits have been compared."""
        module.factor = -1.0 if "torch" in what else 1.0
        yield

    with pytest.raises(
        VerificationError, match=r"decides otherwise than torch in \d+ of 360 cases: nothing was written"
    ):
        export(module, ticket, tmp_path / "m.onnx", DENSE, test=DIGITS.read("test", 8), counter=turned)
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_seed_are_noticed(ticket: Ticket, tmp_path: Path) -> None:
    """The graph regenerates from the seed; if that gave other weights than torch has, nothing may be written."""
    with pytest.raises(VerificationError, match="nothing was written"):
        export(ticket.restore(), replace(ticket, seed=99), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


CUT = [
    *(("lenet-5", 28, density, form) for density in (None, 0.1) for form in (*FORMS, "portable")),
    ("test_efficientnet", 32, None, "compact"),
    *(("test_vit", 16, 0.1, form) for form in ("compact", "int8")),
]


@pytest.mark.parametrize(("name", "size", "density", "form"), CUT)
def test_dead_neurons_are_not_in_the_graph(
    name: str, size: int, density: float | None, form: str, tmp_path: Path
) -> None:
    weights = "compact" if form == "portable" else form
    ticket = make_neuron_ticket(name, 0.5, size=size, density=density)
    test = noise(ticket, 16)
    config = ExportConfig(weights, portable=form == "portable", max_accuracy_drop=None if FORMS[weights].exact else 1.0)
    result = export(ticket.restore(), ticket, tmp_path / "t.onnx", config, test=test, calibration=test)
    assert result.left.neurons
    assert result.left.removed_neurons
    assert 0.3 * result.left.neurons < result.left.removed_neurons < 0.6 * result.left.neurons
    assert result.left.parameters < 0.75 * result.left.whole_parameters
    assert result.bit_identical_to_plain
    assert result.bit_identical_to_dense == FORMS[weights].exact


@pytest.mark.parametrize(
    ("name", "size", "values", "form"),
    [
        ("lenet-5", 28, "int4", "compact"),
        ("lenet-5", 28, "int4", "portable"),
        ("conv2", 8, "int8", "compact"),
        ("lenet-5", 28, "int8", "int8"),
    ],
)
def test_of_dead_neurons_no_weight_is_stored(name: str, size: int, values: str, form: str, tmp_path: Path) -> None:
    ticket = with_values(make_neuron_ticket(name, 0.5, size=size, density=0.2), values)
    test, module = noise(ticket, 16), ticket.restore()
    sizes = []
    for keep in (False, True):
        weights, drop = ("int8", 1.0) if form == "int8" else ("compact", None)
        config = ExportConfig(weights, portable=form == "portable", keep_structure=keep, max_accuracy_drop=drop)
        result = export(module, ticket, tmp_path / "t.onnx", config, test=test, calibration=test)
        assert bool(result.left.removed_neurons) != keep
        assert result.bit_identical_to_plain
        assert result.bit_identical_to_dense == FORMS[weights].exact
        sizes.append(result.bytes)
    assert sizes[0] < sizes[1]


def test_on_request_the_structure_is_kept(tmp_path: Path) -> None:
    ticket = make_neuron_ticket("lenet-5", 0.5, size=28)
    result = export(ticket.restore(), ticket, tmp_path / "t.onnx", ExportConfig(keep_structure=True))
    assert result.left.removed_neurons is None
    assert result.left.parameters == result.left.whole_parameters
    assert result.bit_identical_to_dense


def test_neurons_that_stay_fill_channels_up_to_blocks(tmp_path: Path) -> None:
    ticket = make_neuron_ticket("conv2", 0.6, size=8)
    export(ticket.restore(), ticket, tmp_path / "t.onnx", ExportConfig("dense"))
    weights = [tensor for tensor in onnx.load(tmp_path / "t.onnx").graph.initializer if len(tensor.dims) >= 2]
    outputs = [tensor.dims[0] for tensor in weights if tensor.dims[0] != 10]
    assert outputs
    assert all(count % MULTIPLE == 0 for count in outputs)


def test_a_ticket_of_neurons_takes_little_more_than_its_bits(tmp_path: Path) -> None:
    ticket = make_neuron_ticket("resnet10t", 0.5, size=32)
    assert ticket.mask_bytes < 1000
    result = export(ticket.restore(), ticket, tmp_path / "t.onnx")
    assert result.bytes < 30_000


def test_weights_of_other_distributions_are_cut_too(tmp_path: Path) -> None:
    ticket = make_ticket("lenet-300-100", 0.02, size=8, initialiser="uniform")
    result = export(ticket.restore(), ticket, tmp_path / "t.onnx")
    assert result.left.removed_neurons
    assert result.bit_identical_to_plain


def test_where_little_would_go_nothing_does(tmp_path: Path) -> None:
    ticket = make_neuron_ticket("lenet-300-100", 0.97, size=8)
    result = export(ticket.restore(), ticket, tmp_path / "t.onnx")
    assert result.left.removed_neurons is None
    assert result.left.parameters == result.left.whole_parameters
