"""Exported networks under onnxruntime: what they record, what they compute, and ONNX files that are not ours."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from slt_compress.api import evaluate, export
from slt_compress.errors import VerificationError
from slt_compress.evaluation.networks import open_network
from slt_compress.evaluation.onnxruntime_backend import METADATA_KEY, OnnxClassifier, open_session
from slt_compress.ticket.record import NORMALISED, PIXELS, NetworkRecord
from tests.support.documents import small_ticket


def doubling(path: Path, metadata: str | None, kind: int = TensorProto.FLOAT) -> None:
    """Write a model that adds its input to itself."""
    values = [helper.make_tensor_value_info(name, kind, ["n", None, None, None]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    if metadata is not None:
        model.metadata_props.add(key=METADATA_KEY, value=metadata)
    onnx.save(model, path)


@pytest.mark.parametrize(("input_kind", "kind"), [(NORMALISED, TensorProto.FLOAT), (PIXELS, TensorProto.UINT8)])
def test_a_file_is_fed_what_its_record_says(tmp_path: Path, input_kind: str, kind: int) -> None:
    record = NetworkRecord.of(small_ticket(), input_kind)
    doubling(tmp_path / "t.onnx", json.dumps(record.to_json()), kind)
    classifier = OnnxClassifier(tmp_path / "t.onnx")
    assert classifier.record == record
    images = torch.arange(24, dtype=torch.uint8).view(2, 1, 3, 4)
    fed = classifier.feed(images)
    expected = images.permute(0, 2, 3, 1) if input_kind == PIXELS else (images.float() / 255 - 0.5) / 0.5
    assert torch.equal(fed, expected)
    assert torch.equal(classifier(fed), 2 * expected)


def test_a_session_has_as_many_threads_as_torch(tmp_path: Path) -> None:
    doubling(tmp_path / "t.onnx", None)
    for model in (str(tmp_path / "t.onnx"), (tmp_path / "t.onnx").read_bytes()):
        session = open_session(model)
        assert session.get_session_options().intra_op_num_threads == torch.get_num_threads()
        assert session.get_providers() == ["CPUExecutionProvider"]


def test_a_file_that_is_not_onnx_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(VerificationError, match=r"onnxruntime cannot load .*broken\.onnx"):
        OnnxClassifier(path)


def test_a_foreign_model_is_named(tmp_path: Path) -> None:
    doubling(tmp_path / "foreign.onnx", None)
    with pytest.raises(VerificationError, match=r"foreign\.onnx was not exported by slt-compress"):
        OnnxClassifier(tmp_path / "foreign.onnx")


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ("no JSON", "it is no JSON document"),
        ("[" * 100_000, "it is no JSON document"),
        ("[]", r"it should be an object, found '\[\]'$"),
        ("{}", "it lacks 'dataset'$"),
        ('{"dataset": "digits"}', "it lacks 'classes'$"),
    ],
)
def test_a_changed_record_is_told_from_none(tmp_path: Path, metadata: str, words: str) -> None:
    doubling(tmp_path / "t.onnx", metadata)
    with pytest.raises(VerificationError, match=rf"^what slt-compress recorded in .*t\.onnx was changed: {words}"):
        OnnxClassifier(tmp_path / "t.onnx")


@pytest.fixture(scope="module")
def exported(searched: tuple[Path, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    """A real file, of a LeNet for the digits."""
    path = tmp_path_factory.mktemp("exported") / "t.onnx"
    export(searched[0], path)
    return onnx.load(path)


def fix_batch(size: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = size

    return change


def cast_input(kind: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        graph = model.graph
        name = graph.input[0].name
        for node in graph.node:
            node.input[:] = ["cast" if one == name else one for one in node.input]
        graph.node.insert(0, helper.make_node("Cast", [name], ["cast"], to=TensorProto.FLOAT))
        graph.input[0].type.tensor_type.elem_type = kind

    return change


def rename(model: onnx.ModelProto) -> None:
    graph = model.graph
    before, after = [graph.input[0].name, graph.output[0].name], ["x:0", "y:0"]
    new = dict(zip(before, after, strict=True))
    for node in graph.node:
        node.input[:] = [new.get(one, one) for one in node.input]
        node.output[:] = [new.get(one, one) for one in node.output]
    graph.input[0].name, graph.output[0].name = after


def show_hidden_outputs(model: onnx.ModelProto) -> None:
    last = model.graph.node[-1]
    assert last.output[0] == model.graph.output[0].name
    for name in [one for one in last.input if any(one in node.output for node in model.graph.node)]:
        model.graph.output.insert(0, helper.make_empty_tensor_value_info(name))


def forget_shapes(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            dimension.ClearField("dim_value")
            dimension.dim_param = ""


@pytest.mark.parametrize(
    "change",
    [
        *(fix_batch(size) for size in (1, 7, 128, 500)),
        *(cast_input(kind) for kind in (TensorProto.FLOAT16, TensorProto.DOUBLE)),
        rename,
        show_hidden_outputs,
        forget_shapes,
    ],
)
def test_what_another_tool_has_made_of_a_file_is_measured_alike(
    exported: onnx.ModelProto, tmp_path: Path, change: Callable[[onnx.ModelProto], None]
) -> None:
    onnx.save(exported, tmp_path / "before.onnx")
    wanted = evaluate(tmp_path / "before.onnx")
    changed = copy.deepcopy(exported)
    change(changed)
    onnx.save(changed, tmp_path / "after.onnx")
    found = evaluate(tmp_path / "after.onnx")
    assert found.samples == 360
    assert found.metric == pytest.approx(wanted.metric, abs=0.005)  # in half precision one image may fall elsewhere
    assert found.loss == pytest.approx(wanted.loss, rel=1e-2)


def other_size(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 9


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["batch"]))


def external(model: onnx.ModelProto) -> None:
    """Let a tensor lie in a file that is not there."""
    tensor = next(one for one in model.graph.initializer if one.dims)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


@pytest.mark.parametrize("change", [other_size, second_input, external, cast_input(TensorProto.UINT8)])
def test_what_cannot_be_measured_is_one_line(
    exported: onnx.ModelProto,
    tmp_path: Path,
    change: Callable[[onnx.ModelProto], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    changed = copy.deepcopy(exported)
    change(changed)
    onnx.save(changed, tmp_path / "t.onnx")
    with pytest.raises(VerificationError, match=r"t\.onnx") as caught:
        evaluate(tmp_path / "t.onnx")
    assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")


def refusal(path: Path) -> str:
    """Return why a file is refused, nothing if it is not; any other failure is raised."""
    try:
        open_network(path)
    except VerificationError as error:
        return str(error)
    return ""


VALUES: tuple[Any, ...] = (None, -1, 1.5, float("nan"), "x", "", [], {}, [1], True, 2**70, [None], {"a": 1})


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where values lie in a document; of a list, the first two, as the others are treated alike."""
    keys = document if isinstance(document, dict) else range(len(document[:2])) if isinstance(document, list) else ()
    return [place for key in keys for place in ((*path, key), *places(document[key], (*path, key)))]


def test_a_changed_record_is_one_line_or_harmless(searched: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Every value of the record, replaced by each of the others or left out. A session of a dense file opens fast."""
    export(searched[0], tmp_path / "whole.onnx", weights="dense")
    changed = onnx.load(tmp_path / "whole.onnx")
    (entry,) = (one for one in changed.metadata_props if one.key == METADATA_KEY)
    whole = entry.value
    refused = 0
    for place in places(json.loads(whole)):
        for value in (*VALUES, ...):
            document = json.loads(whole)
            inner = document
            for key in place[:-1]:
                inner = inner[key]
            if value is ...:
                del inner[place[-1]]
            else:
                inner[place[-1]] = value
            entry.value = json.dumps(document)
            onnx.save(changed, tmp_path / "t.onnx")
            message = refusal(tmp_path / "t.onnx")
            assert len(message.splitlines()) <= 1
            refused += bool(message)
    assert refused > 200


def test_damaged_bytes_are_one_line_or_harmless(exported: onnx.ModelProto, tmp_path: Path) -> None:
    content, rng = exported.SerializeToString(), np.random.default_rng(0)
    for index in range(60):
        damaged = bytearray(content)
        if index % 2:
            damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        else:
            del damaged[rng.integers(len(content)) :]
        (tmp_path / "t.onnx").write_bytes(damaged)
        assert len(refusal(tmp_path / "t.onnx").splitlines()) <= 1
