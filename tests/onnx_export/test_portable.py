"""Portable graphs regenerate what numpy does from the ticket, all tensors at once, from few operators."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from slt_compress import prng
from slt_compress.errors import UnreachableError
from slt_compress.onnx_export import portable
from slt_compress.onnx_export.portable import Generated, Signed
from slt_compress.onnx_export.stored_functions import StoredLayer
from slt_compress.ticket.stored import WEIGHT_TYPES, StoredWeights

# Integer operators that runtimes agree on, what moves values, and what the graph of the network itself has here.
OPERATORS = {
    *("Add", "Mul", "Div", "Mod", "Sub", "Range", "CumSum", "ReduceSum", "GreaterOrEqual", "Where"),
    *("Cast", "Concat", "Expand", "Gather", "Reshape", "ScatterElements", "Slice", "Split", "Unsqueeze"),
    *("Identity", "ConstantOfShape"),
}


def portable_file(generated: Generated, constants: dict[str, npt.NDArray[np.float32]]) -> onnx.ModelProto:
    """A graph that does nothing but give its generated tensors and these constants."""
    shapes = {
        name: [len(layer.kept.get(axis, range(length))) for axis, length in enumerate(layer.mask.shape)]
        for name, layer in generated.layers.items()
    }
    shapes |= {name: list(shape) for name, shape in generated.embeddings.items()}
    shapes |= {name: list(layer.mask.shape) for name, layer in generated.stored.items()}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    shapes |= {name: list(values.shape) for name, values in constants.items()}
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name} out"]) for name in shapes],
        "g",
        inputs,
        [helper.make_tensor_value_info(f"{name} out", TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    traced = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return portable.portable(traced, generated)


def stored_layers() -> dict[str, tuple[StoredLayer, npt.NDArray[np.float32]]]:
    """Layers of every type with raw, sparse and no masks, each with its weights."""
    draw = np.random.default_rng(0)
    found = {}
    for kind in WEIGHT_TYPES:
        for density in (0.1, 0.5, 1.0):
            mask = draw.random((30, 7)) < density
            weights = StoredWeights.of(draw.standard_normal(mask.shape, np.float32), mask, kind)
            found[f"{kind} {density}"] = StoredLayer.of(weights, mask, {}), weights.weights(mask)
    return found


def run(model: onnx.ModelProto, folder: Path) -> dict[str, npt.NDArray[np.float32]]:
    """What onnxruntime makes of a graph, all of which it must fold."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    assert not onnx.load(folder / "optimised.onnx").graph.node
    return dict(zip([value.name for value in session.get_outputs()], session.run(None, {}), strict=True))


@pytest.mark.parametrize("seed", [0, 2**64 - 1])
def test_all_tensors_are_exact(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sizes = {"a": (7, 3, 5), "b": (1, 1), "c": (32, 32, 2), "d": (1000,), "e": (40, 9), "f": (5, 2), "g": (3000, 7)}
    densities = {"a": 0.1, "b": 1.0, "c": 0.5, "d": 0.95, "e": 0.09, "f": 0.0, "g": 0.004}
    masks = {name: random.random(shape) < densities[name] for name, shape in sizes.items()}
    kept = {"c": {0: np.arange(1, 31, 3), 2: np.array([1])}, "e": {1: np.array([0, 8])}}
    layers = {
        name: Signed(mask, float(np.float32(0.1 + index)), kept.get(name, {}))
        for index, (name, mask) in enumerate(masks.items())
    }
    constants = {"choice": np.where(random.random((20, 20)) < 0.3, np.float32(-100), np.float32(0))}
    shapes = {"x": (1, 3, 7), "y": (100, 2)}
    model = portable_file(Generated(seed, layers, shapes, 0.02), constants)

    assert not model.functions
    assert {entry.domain for entry in model.opset_import} == {""}
    assert {node.op_type for node in model.graph.node} <= OPERATORS
    onnx.checker.check_model(model, full_check=True)
    found = run(model, tmp_path)
    for name, layer in layers.items():
        signs = prng.signs(seed, name, layer.mask.size).reshape(layer.mask.shape)
        expected = np.where(layer.mask, signs * np.float32(layer.scale), np.float32(0))
        for axis, indices in layer.kept.items():
            expected = expected.take(indices, axis)
        assert found[f"{name} out"].tobytes() == expected.tobytes()  # so that no zero is negative
    for name, shape in shapes.items():
        values = prng.uniform(seed, name, int(np.prod(shape))).reshape(shape) * np.float32(0.02)
        assert np.array_equal(found[f"{name} out"], values)
    assert np.array_equal(found["choice out"], constants["choice"])


@pytest.mark.parametrize("among", ["layers and embeddings", "layers", "embeddings", ""])
def test_stored_weights_are_exact(among: str, tmp_path: Path) -> None:
    stored = stored_layers()
    layers = {"a": Signed(np.random.default_rng(1).random((7, 3, 5)) < 0.3, 0.25)} if "layers" in among else {}
    shapes = {"x": (3, 7)} if "embeddings" in among else {}
    model = portable_file(Generated(5, layers, shapes, 0.5, {name: layer for name, (layer, _) in stored.items()}), {})
    assert {node.op_type for node in model.graph.node} <= OPERATORS
    onnx.checker.check_model(model, full_check=True)
    found = run(model, tmp_path)
    for name, (_, weights) in stored.items():
        assert found[f"{name} out"].tobytes() == weights.tobytes()
    for name, layer in layers.items():
        signs = prng.signs(5, name, layer.mask.size).reshape(layer.mask.shape)
        assert np.array_equal(found[f"{name} out"], np.where(layer.mask, signs * np.float32(0.25), 0))
    for name, shape in shapes.items():
        assert np.array_equal(found[f"{name} out"].ravel(), prng.uniform(5, name, 21) * np.float32(0.5))
        assert found[f"{name} out"].shape == shape


def test_more_weights_than_int32_can_number_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "MAX_WEIGHTS", 99)
    layers = {"a": Signed(np.ones((10, 10), np.bool_), 1.0)}
    with pytest.raises(UnreachableError, match="regenerates at most 99 weights; use `weights=ternary8`"):
        portable_file(Generated(0, layers, {}, 1.0), {})
    monkeypatch.setattr(portable, "MAX_WEIGHTS", 101)
    stored = {"w": stored_layers()["int8 0.5"][0]}
    with pytest.raises(UnreachableError, match="regenerates at most 101 weights; use `weights=dense`"):
        portable_file(Generated(0, {}, {}, 1.0, stored), {})
