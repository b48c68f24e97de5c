"""MACs against those that torch counts, for the same operation under onnxruntime in fp32 and in 8 bits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from torch.utils.flop_counter import FlopCounterMode

from slt_compress.benchmark import macs, worker
from tests.support.graphs import save_graph

FLOAT, UINT8, INT8, INT32 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32


def by_torch(operation: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        operation()
    return int(counter.get_total_flops()) // 2


def by_onnxruntime(path: Path, batch: int = 2) -> int | None:
    from slt_compress.benchmark.graph import read_graph

    request = {
        "path": str(path),
        "threads": 1,
        "provider": "CPUExecutionProvider",
        "runs": 1,
        "profile": str(path.with_suffix("")),
        "batches": [(batch, read_graph(path, "a").entries("a", batch, {}))],
    }
    *_, last = worker.measure(request)
    return macs.count_file(Path(last["profile"]))


Z = torch.zeros
QUANTISED = {"s": np.float32(0.1), "z": np.uint8(0), "zi": np.int8(0)}
CASES: dict[str, tuple[Any, str, list[str], dict[str, Any], dict[str, Any], list[Any]]] = {
    # name: (torch's operation, operator, inputs, attributes, constants, shape of x)
    "convolution": (
        lambda: F.conv2d(Z(2, 4, 9, 9), Z(6, 2, 3, 3), stride=2, groups=2),
        *("Conv", ["x", "w"], {"strides": [2, 2], "group": 2}, {"w": np.ones((6, 2, 3, 3), np.float32)}),
        ["N", 4, 9, 9],
    ),
    "transposed convolution": (
        lambda: F.conv_transpose2d(Z(2, 4, 5, 5), Z(4, 3, 3, 3), stride=2),
        *("ConvTranspose", ["x", "w"], {"strides": [2, 2]}, {"w": np.ones((4, 3, 3, 3), np.float32)}),
        ["N", 4, 5, 5],
    ),
    "layer": (
        lambda: Z(2, 5) @ Z(5, 7),
        *("Gemm", ["x", "w"], {"transB": 1}, {"w": np.ones((7, 5), np.float32)}),
        ["N", 5],
    ),
    "product": (
        lambda: torch.bmm(Z(2, 3, 5), Z(2, 5, 7)),
        *("MatMul", ["x", "w"], {}, {"w": np.ones((5, 7), np.float32)}),
        ["N", 3, 5],
    ),
    "8-bit convolution": (
        lambda: F.conv2d(Z(2, 4, 9, 9), Z(6, 4, 3, 3)),
        *("QLinearConv", ["x", "s", "z", "w", "s", "zi", "s", "z"], {}, {"w": np.ones((6, 4, 3, 3), np.int8)}),
        ["N", 4, 9, 9],
    ),
    "8-bit convolution of whole numbers": (
        lambda: F.conv2d(Z(2, 4, 9, 9), Z(6, 4, 3, 3)),
        *("ConvInteger", ["x", "w", "z"], {}, {"w": np.ones((6, 4, 3, 3), np.uint8)}),
        ["N", 4, 9, 9],
    ),
    "8-bit product": (
        lambda: torch.bmm(Z(2, 3, 5), Z(2, 5, 7)),
        *("MatMulInteger", ["x", "w", "z"], {}, {"w": np.ones((5, 7), np.int8)}),
        ["N", 3, 5],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_what_torch_counts(tmp_path: Path, name: str) -> None:
    operation, operator, names, attributes, constants, shape = CASES[name]
    kind, gives = (FLOAT, FLOAT) if "8-bit" not in name else (UINT8, UINT8 if operator == "QLinearConv" else INT32)
    used = {key: value for key, value in (QUANTISED | constants).items() if key in names}
    node = helper.make_node(operator, names, ["y"], **attributes)
    path = save_graph(tmp_path / "a.onnx", {"x": (kind, shape)}, [node], used, gives)
    assert by_onnxruntime(path) == by_torch(operation) > 0


def test_forms_of_a_network_have_the_same(exports: Path, tmp_path: Path) -> None:
    from slt_compress.ticket.ticket import Ticket

    module = Ticket.load(exports / "t.safetensors").restore()
    whole = by_torch(lambda: module(Z(2, 1, 8, 8)))
    found = []
    for form in ("compact", "dense", "int8"):
        (tmp_path / f"{form}.onnx").write_bytes((exports / f"{form}.onnx").read_bytes())
        found.append(by_onnxruntime(tmp_path / f"{form}.onnx"))
    assert found[0] == found[1] == found[2]
    assert found[0] is not None
    assert found[0] <= whole


def _event(operator: str, inputs: list[list[int]], output: list[int]) -> dict[str, Any]:
    described = [{"float": shape} for shape in inputs]
    return {"args": {"op_name": operator, "input_type_shape": described, "output_type_shape": [{"float": output}]}}


def test_attention_and_recurrence() -> None:
    queries, keys, values = [2, 4, 5, 8], [2, 4, 7, 8], [2, 4, 7, 3]
    expected = by_torch(lambda: (Z(8, 5, 8) @ Z(8, 8, 7)) @ Z(8, 7, 3))
    assert macs.count([_event("Attention", [queries, keys, values], [2, 4, 5, 3])]) == expected
    steps, examples, wide, hidden = 6, 2, 5, 3
    layer = _event("LSTM", [[steps, examples, wide], [1, 4 * hidden, wide], [1, 4 * hidden, hidden]], [])
    assert macs.count([layer]) == steps * examples * 4 * hidden * (wide + hidden)


def test_what_cannot_be_counted_is_not_guessed(tmp_path: Path) -> None:
    counted = _event("MatMul", [[2, 3], [3, 4]], [2, 4])
    assert macs.count([counted, {"name": "session"}, _event("Relu", [[2, 4]], [2, 4])]) == 24
    assert macs.count([counted, _event("Einsum", [[2, 3], [3, 4]], [2, 4])]) is None
    assert macs.count([counted, _event("LSTM", [[2, 3]], [2, 4])]) is None
    (tmp_path / "p.json").write_text(json.dumps([counted])[:-1] + '{"name": "a "quoted" node"}]')
    assert macs.count_file(tmp_path / "p.json") is None
