"""The steps in torch compute what the network does; with grids, what the C code does in whole numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from slt_compress.c_export import fixed, graph, reference
from slt_compress.c_export.export import CExportConfig, export
from slt_compress.c_export.network import Network, prepared
from slt_compress.data.splits import TensorSplit
from slt_compress.onnx_export.trace import trace
from slt_compress.tasks.task import recorded_task
from slt_compress.ticket.record import NetworkRecord
from tests.support.c_code import NETWORKS, Everything, compiled_file, needs_compiler, ticket_of


def kept(name: str, tensor: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    return tensor


@needs_compiler
@pytest.mark.parametrize("kind", NETWORKS)
def test_steps_compute_what_the_network_does(tmp_path: Path, kind: type[Everything]) -> None:
    """In whole numbers too: each tensor is rounded to its grid, as the C code has it, but for what lies on a border."""
    torch.manual_seed(0)
    module = kind()
    ticket = ticket_of(module, kind.shape)
    restored = ticket.apply_to(module)
    record = NetworkRecord.of(ticket)
    network: Network = graph.read(trace(restored, record, 20), {layer.name: layer.scale for layer in ticket.layers})
    values = {layer.name: restored.get_parameter(layer.name).detach().sign() for layer in ticket.layers}
    inputs = torch.randn(32, *kind.shape)
    with torch.no_grad():
        expected = restored(inputs)
    assert torch.allclose(reference.run(network, values, inputs, kept), expected, atol=1e-4)

    network = prepared(network)
    grids = fixed.grids(network, values, [inputs])
    step = network.steps[-1].output

    def rounded(name: str, tensor: torch.Tensor) -> torch.Tensor:
        grid = grids[name]
        if name == step and kind.__name__ != "Sums":
            return tensor  # the last layer's sums are not rounded
        return (((tensor / grid.step).round() + grid.zero).clamp(0, 255) - grid.zero) * grid.step

    emulated = reference.run(network, values, inputs, rounded).numpy()
    split, task = TensorSplit(inputs, expected), recorded_task(ticket.provenance.task)
    config = CExportConfig(arithmetic="fixed", max_accuracy_drop=1.0)
    export(restored, ticket, tmp_path / "t.c", config, test=split, calibration=split, task=task)
    found = compiled_file(tmp_path / "t.c", tmp_path / "program").run(inputs.numpy())
    off = np.abs(found - emulated) / np.abs(expected.numpy()).max()
    assert np.median(off) < 1e-3
    assert off.max() < 0.03
