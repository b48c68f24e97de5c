"""Node.js runs a graph with the files of a page, and what goes wrong in it is told in a line."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from slt_compress.errors import VerificationError
from slt_compress.html_export import wasm
from slt_compress.web_export.node import session
from slt_compress.web_export.runtime import Runtime, read
from tests.support.pages import RUNTIME, fake_runtime, needs_node, needs_runtime


def graph(path: Path, operator: str = "Cast") -> Path:
    """Write a graph that gives the pixels of an image of 2 x 2 as they are."""
    cast = helper.make_node(operator, ["images"], ["values"], to=TensorProto.FLOAT)
    flat = helper.make_node("Flatten", ["values"], ["logits"])
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 2, 2, 1])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])
    model = helper.make_model(
        helper.make_graph([cast, flat], "g", [images], [logits]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    onnx.save(model, path)
    return path


def started() -> tuple[str, Runtime]:
    found = wasm.node()
    assert found
    assert RUNTIME
    return found, read(Path(RUNTIME))


@needs_node
@needs_runtime
def test_each_image_has_its_outputs(tmp_path: Path) -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (300, 2, 2, 1), dtype=np.uint8))
    with session(*started(), graph(tmp_path / "g.onnx"), 4, 4) as run:
        for _ in range(2):
            assert torch.equal(run(images), images.reshape(300, 4).float())
        assert run.milliseconds > 0
        assert run.heap_bytes >= 2**20
    assert run.process.returncode is not None


@needs_node
@needs_runtime
def test_a_graph_that_the_runtime_refuses_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(VerificationError, match=r"onnxruntime-web [\d.]+ does not run the graph: .*Casting.*: nothing"),
        session(*started(), graph(tmp_path / "g.onnx", "Casting"), 4, 4),
    ):
        pass


@needs_node
@needs_runtime
def test_an_end_in_the_middle_is_told(tmp_path: Path) -> None:
    with session(*started(), graph(tmp_path / "g.onnx"), 4, 4) as run:
        run.process.kill()
        with pytest.raises(VerificationError, match="does not run the graph: it ended with -9: nothing was written"):
            run(torch.zeros((1, 2, 2, 1), dtype=torch.uint8))


@needs_node
def test_files_that_are_no_runtime_are_told(tmp_path: Path) -> None:
    node = wasm.node()
    assert node
    runtime = read(fake_runtime(tmp_path / "dist"))
    with (
        pytest.raises(
            VerificationError, match=r"onnxruntime-web 1\.30\.0 does not run the graph: 1: nothing was written"
        ),
        session(node, runtime, graph(tmp_path / "g.onnx"), 4, 4),
    ):
        pass


def test_a_program_that_cannot_be_run_is_told(tmp_path: Path) -> None:
    runtime = read(fake_runtime(tmp_path / "dist"))
    with (
        pytest.raises(VerificationError, match="cannot run /no/node: "),
        session("/no/node", runtime, graph(tmp_path / "g.onnx"), 4, 4),
    ):
        pass
