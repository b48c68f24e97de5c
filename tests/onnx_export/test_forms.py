"""Each form gives a graph that equals its plain form, or says why it cannot."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from slt_compress.data.splits import TensorSplit
from slt_compress.errors import UnreachableError, UsageError
from slt_compress.masking.parameters import embedding_names, gated_names
from slt_compress.onnx_export import quantise
from slt_compress.onnx_export.export import ExportConfig, export
from slt_compress.onnx_export.forms import FORMS, INT2_OPSET, PORTABLE, Built, Dense, Source, assemble
from slt_compress.onnx_export.quantise import quantised
from slt_compress.onnx_export.trace import trace
from slt_compress.onnx_export.weight_functions import INT8_MAGNITUDE
from slt_compress.ticket.assembly import AxisGates, CoatParts, LayerParts
from slt_compress.ticket.record import NetworkRecord
from slt_compress.ticket.sample import with_values
from slt_compress.ticket.ticket import Ticket
from tests.support.images import preprocessing_of
from tests.support.tickets import make_ticket

Change = Callable[[LayerParts], LayerParts]


@cache
def source(name: str, size: int, opset: int, values: str | None = None) -> Source:
    """What a form of a network with random masks is built from, calibrated on eight images of noise; with `values`, its
    weights are stored as this type, but for those of the second layer.
    """
    ticket = make_ticket(name, 0.2, size=size)
    if values:
        ticket = with_values(ticket, values, {ticket.layers[1].name})
    module, preprocessing = ticket.restore(), preprocessing_of(ticket)
    shape = (8, preprocessing.channels, preprocessing.size, preprocessing.size)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    calibration = TensorSplit(images, torch.zeros(8, dtype=torch.int64))
    return Source(ticket, module, trace(module, NetworkRecord.of(ticket), opset), preprocessing, calibration)


def run(model: onnx.ModelProto, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The logits of two images of noise."""
    images = np.random.default_rng(0).standard_normal((2, 3, size, size), np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    logits: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = session.run(None, {"images": images})[0]
    return logits


@pytest.mark.parametrize(("name", "size"), [("lenet-5", 28), ("conv2", 8), ("test_vit", 16)])
@pytest.mark.parametrize("form", FORMS)
def test_a_form_computes_what_its_plain_form_does(form: str, name: str, size: int) -> None:
    origin = source(name, size, FORMS[form].opset(None))
    built = FORMS[form].build(origin)
    assert np.array_equal(run(built.model, size), run(built.plain, size))
    assert np.array_equal(run(built.plain, size), run(origin.dense, size)) == FORMS[form].exact
    assert built.calibration_images == (8 if form == "int8" and name != "test_vit" else 0)


@pytest.mark.parametrize(
    ("form", "values", "name", "size"),
    [
        ("compact", "fp16", "lenet-5", 28),
        ("compact", "int8", "test_vit", 16),
        ("compact", "int4", "conv2", 8),
        ("int8", "int4", "conv2", 8),
        ("int8", "int8", "lenet-5", 28),
        ("int8", "int8", "test_vit", 16),
        ("int8", "fp16", "test_vit", 16),
    ],
)
def test_stored_weights_are_those_of_the_plain_form(form: str, values: str, name: str, size: int) -> None:
    origin = source(name, size, FORMS[form].opset(None), values)
    FORMS[form].check(origin.ticket)
    built = FORMS[form].build(origin)
    assert np.array_equal(run(built.model, size), run(built.plain, size))
    assert np.array_equal(run(built.plain, size), run(origin.dense, size)) == FORMS[form].exact
    assert built.model.ByteSize() < 1.2 * len(origin.ticket.to_bytes()) + 15_000


def weights_read(model: onnx.ModelProto) -> list[str]:
    """Return the names of what the nodes that take weights in 8 bits take, in the order of the nodes."""
    places = {"DequantizeLinear": 0, "MatMulInteger": 1}
    return [node.input[places[node.op_type]] for node in model.graph.node if node.op_type in places]


@pytest.mark.parametrize("values", ["int8", "int4"])
@pytest.mark.parametrize(("name", "size"), [("lenet-5", 28), ("conv2", 8), ("resnet10t", 32), ("test_vit", 16)])
def test_whole_numbers_are_not_rounded_twice(
    name: str, size: int, values: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the file computes with are the numbers of the ticket, with the scales of its rows."""
    places: dict[str, tuple[str, bool]] = {}

    def remembering(*arguments: Any) -> Any:
        plain, found = quantised(*arguments)
        places.update(found)
        return plain, found

    factors: dict[str, np.ndarray[Any, np.dtype[np.float32]]] = {}  # of the norms behind layers
    fold = quantise._fold_normalisation
    monkeypatch.setattr(quantise, "_fold_normalisation", lambda model: factors.update(fold(model)) or factors)
    monkeypatch.setattr(quantise, "quantised", remembering)
    origin = source(name, size, 20, values)
    built = FORMS["int8"].build(origin)
    assert len(places) >= len(origin.ticket.layers) - 1
    named = dict(zip(weights_read(built.plain), weights_read(built.model), strict=True))  # shorter in the file
    outputs = [named[target] for target, _ in places.values()]
    built.model.graph.output.extend(helper.make_tensor_value_info(one, TensorProto.INT8, None) for one in outputs)
    session = onnxruntime.InferenceSession(built.model.SerializeToString())
    images = np.zeros((2, 3, size, size), np.float32)
    found_in_file = session.run(outputs, {"images": images})
    computed = {target: one for (target, _), one in zip(places.values(), found_in_file, strict=True)}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in built.plain.graph.initializer}
    for layer in origin.ticket.layers:
        if layer.name not in places:
            continue
        (target, transposed), mask = places[layer.name], origin.ticket.mask(layer.name)
        found = computed[target].T if transposed else computed[target]
        scales = constants[f"{target.removesuffix('_quantized')}_scale"]
        if not layer.values:  # generated, and 0 or ± one number
            assert set(np.unique(np.abs(found))) <= {0, INT8_MAGNITUDE}
            continue
        numbers, rows = layer.values.numbers(mask)
        assert rows is not None
        assert np.array_equal(found[mask], numbers)
        assert not found[~mask].any()
        kept = mask.reshape(len(mask), -1).any(axis=1)
        norm = factors.get(layer.name, np.ones(len(mask), np.float32))
        assert np.array_equal(scales[kept], (rows * norm)[kept])


def test_the_dense_graph_holds_the_weights_and_takes_images_only() -> None:
    origin = source("test_vit", 16, 18)
    assert [value.name for value in origin.dense.graph.input] == ["images"]
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in origin.dense.graph.initializer}
    for name in (*gated_names(origin.module), *embedding_names(origin.module)):
        assert np.array_equal(constants[name], origin.module.get_parameter(name).detach().numpy())


def test_a_part_takes_the_place_of_an_initializer_too() -> None:
    origin = source("conv2", 8, 18)
    name = next(iter(gated_names(origin.module)))
    other = numpy_helper.from_array(np.zeros(origin.ticket.layers[0].shape, np.float32), name)
    found = assemble(origin.dense, {name: ([], [other])})
    (kept,) = [tensor for tensor in found.graph.initializer if tensor.name == name]
    assert not numpy_helper.to_array(kept).any()


def test_int2_takes_two_bits_a_weight() -> None:
    origin = source("conv2", 8, INT2_OPSET)
    built = FORMS["int2"].build(origin)
    packed = [tensor.raw_data for tensor in built.model.graph.initializer if tensor.data_type == TensorProto.INT2]
    assert [len(values) for values in packed] == [-(-layer.size // 4) for layer in origin.ticket.layers]


def test_ternary8_takes_a_byte_a_weight() -> None:
    origin = source("conv2", 8, 18)
    built = FORMS["ternary8"].build(origin)
    found = [numpy_helper.to_array(tensor) for tensor in built.model.graph.initializer]
    weights = [values for values in found if values.dtype == np.int8]
    assert [values.shape for values in weights] == [layer.shape for layer in origin.ticket.layers]
    assert set(np.concatenate([values.ravel() for values in weights])) == {-1, 0, 1}


@pytest.mark.parametrize("form", [name for name, form in FORMS.items() if form.exact])
@pytest.mark.parametrize("opset", [18, 20])
def test_other_readers_find_what_they_need(form: str, opset: int) -> None:
    """The lowest version of the file format, each function behind those that it calls, and nothing of onnxruntime's."""
    origin = source("conv2", 8, INT2_OPSET if form == "int2" else opset)
    model = FORMS[form].build(origin).model
    imports = [entry for entry in model.opset_import if not entry.domain]
    assert model.ir_version == helper.find_min_ir_version_for(imports)
    known = set[str]()
    for function in model.functions:
        assert {node.op_type for node in function.node if node.domain} <= known
        known.add(function.name)
    if form == "compact" and tuple(int(part) for part in onnx.__version__.split(".")[:2]) < (1, 23):
        pytest.skip("onnx's evaluator before 1.23 cannot gather by an array of no dimension")
    images = np.random.default_rng(0).standard_normal((2, 3, 8, 8), np.float32)
    (found,) = ReferenceEvaluator(model).run(None, {"images": images})
    assert np.allclose(found, run(model, 8), atol=1e-5)


def test_forms_know_their_names() -> None:
    assert list(FORMS) == ["compact", "dense", "int2", "ternary8", "int8"]
    assert all(form.name == name for name, form in FORMS.items())


def test_a_new_form_is_a_class_and_an_entry(ticket: Ticket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Marked(Dense):
        name = "marked"

        def build(self, source: Source) -> Built:
            built = super().build(source)
            built.model.doc_string = "marked"
            return built

    monkeypatch.setitem(FORMS, "marked", Marked())
    result = export(ticket.restore(), ticket, tmp_path / "m.onnx", ExportConfig("marked"))
    assert result.bit_identical_to_dense
    assert onnx.load(tmp_path / "m.onnx").doc_string == "marked"


@pytest.mark.parametrize(("form", "default"), [("compact", 20), ("dense", 18), ("ternary8", 18), ("int8", 20)])
def test_opsets_have_a_default_and_a_range(form: str, default: int) -> None:
    assert FORMS[form].opset(None) == default
    assert FORMS[form].opset(18) == 18
    for opset in (0, 17, 24, INT2_OPSET):
        with pytest.raises(UsageError, match=f"`opset` must be from 18 to 23, got {opset}"):
            FORMS[form].opset(opset)


def test_two_bits_need_their_opset() -> None:
    assert FORMS["int2"].opset(None) == FORMS["int2"].opset(INT2_OPSET) == 25
    with pytest.raises(UsageError, match="`weights=int2` needs `opset=25`, the first with 2-bit types, got 20"):
        FORMS["int2"].opset(20)


def test_normal_weights_are_not_regenerated(ticket: Ticket) -> None:
    normal = replace(ticket, initialiser="kaiming-normal")
    with pytest.raises(UnreachableError, match=r"values of kaiming-normal are not regenerated.*use `weights=dense`"):
        FORMS["compact"].check(normal)
    FORMS["dense"].check(normal)


@pytest.mark.parametrize("form", ["int2", "int8"])
def test_weights_of_many_magnitudes_do_not_fit_into_few_bits(ticket: Ticket, form: str) -> None:
    expected = f"`weights={form}` needs weights of one magnitude, those of this ticket are uniform; use `weights=dense`"
    with pytest.raises(UnreachableError, match=expected):
        FORMS[form].check(replace(ticket, initialiser="uniform"))
    FORMS[form].check(ticket)


def reassembled(old: Ticket, change: Change, **changes: Any) -> Ticket:
    """Return a ticket whose layers are changed, one coat each before."""
    layers = [
        change(LayerParts(layer.name, layer.shape, [CoatParts(old.mask(layer.name), scale=layer.scale)]))
        for layer in old.layers
    ]
    return Ticket.assemble(layers, old.provenance, origin=old.origin, statistics=old.statistics, **changes)


def with_closed_outputs(layer: LayerParts) -> LayerParts:
    """Return a layer half of whose outputs are dropped by gates of theirs."""
    gates = np.arange(layer.shape[0]) % 2 == 0
    return replace(layer, coats=[replace(layer.coats[0], slices=[AxisGates(gates)])])


def with_two_coats(layer: LayerParts) -> LayerParts:
    return replace(layer, coats=[*layer.coats, CoatParts(np.ones(layer.shape, bool), scale=0.01)])


@pytest.mark.parametrize("form", ["compact", "dense", "int2"])
def test_masks_of_whole_slices_take_every_form(form: str, tmp_path: Path) -> None:
    ticket = reassembled(make_ticket("lenet-5", 0.2, size=28), with_closed_outputs)
    assert ticket.version == 2
    result = export(ticket.restore(), ticket, tmp_path / "m.onnx", ExportConfig(form))
    assert result.bit_identical_to_plain


def test_weights_of_several_scales_are_stored_as_they_are(tmp_path: Path) -> None:
    ticket = reassembled(make_ticket("lenet-5", 0.2, size=28), with_two_coats)
    for form in ("compact", "int2", "int8"):
        expected = (
            rf"`weights={form}` regenerates weights of one scale, those of \S+ have several coats; use `weights=dense`"
        )
        with pytest.raises(UnreachableError, match=expected):
            FORMS[form].check(ticket)
    assert export(ticket.restore(), ticket, tmp_path / "m.onnx", ExportConfig("dense")).bit_identical_to_plain


def test_stored_weights_are_not_ternary() -> None:
    ticket = with_values(make_ticket("lenet-5", 0.2, size=28), "int8")
    for name in ("int2", "ternary8"):
        expected = f"`weights={name}` is for weights that follow from the seed, those of .* are trained and stored; use"
        with pytest.raises(UnreachableError, match=f"{expected} `weights=compact`, or `weights=dense`"):
            FORMS[name].check(ticket)


def test_the_initialiser_of_weights_that_are_all_stored_does_not_matter() -> None:
    ticket = make_ticket("lenet-5", 0.2, size=28, initialiser="kaiming-normal")
    stored, part = with_values(ticket, "fp16"), with_values(ticket, "fp16", {ticket.layers[0].name})
    for form in (FORMS["compact"], FORMS["int8"], PORTABLE["compact"]):
        form.check(stored)
        with pytest.raises(UnreachableError, match="kaiming-normal"):
            form.check(part)


def test_trained_parameters_are_stored_as_they_are(tmp_path: Path) -> None:
    old = make_ticket("test_vit", 0.2, size=16)
    module = old.restore()
    draw = np.random.default_rng(0)
    parameters = {
        name: draw.standard_normal(tuple(module.get_parameter(name).shape)) for name in embedding_names(module)
    }
    parameters["norm.bias"] = draw.standard_normal(tuple(module.get_parameter("norm.bias").shape))
    ticket = reassembled(old, lambda layer: layer, parameters=parameters, constants={"norm.weight": 0.5})
    result = export(ticket.restore(), ticket, tmp_path / "m.onnx", ExportConfig("compact"))
    assert result.bit_identical_to_dense
