"""Graphs of networks: they take any batch, share the parameters, and what cannot be traced is said in a line."""

import pytest
import torch
from torch import nn

from slt_compress.errors import UnreachableError
from slt_compress.structure.trace import trace
from tests.support.families import FAMILIES
from tests.support.neurons import difference, outputs


@pytest.mark.parametrize("name", ["cnn", "fused", "torchvision vit", "two"])
def test_the_graph_computes_the_same_for_any_batch(name: str) -> None:
    family = FAMILIES[name]
    module = family.module()
    graph = trace(module, family.inputs(), name)
    for batch in (1, 2, 5):
        inputs = family.inputs(batch)
        assert difference(outputs(module, inputs), outputs(graph, inputs)) < 1e-6


def test_parameters_are_shared_and_keep_their_names() -> None:
    module = FAMILIES["cnn"].module()
    graph = trace(module, FAMILIES["cnn"].inputs(), "cnn")
    for node in graph.graph.find_nodes(op="get_attr"):
        assert node.target in {**dict(module.named_parameters()), **dict(module.named_buffers())}
    assert all(graph.get_parameter(name) is value for name, value in module.named_parameters())


def test_heads_are_not_hidden_in_one_operator_and_the_setting_is_put_back() -> None:
    module = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True).eval()
    before = torch.backends.mha.get_fastpath_enabled()
    graph = trace(module, (torch.zeros(2, 5, 8),), "encoder")
    assert torch.backends.mha.get_fastpath_enabled() == before
    assert not any("_transformer_encoder_layer" in str(node.target) for node in graph.graph.nodes)


class Several(nn.Module):
    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[0] + inputs[1]


def test_inputs_may_be_several_in_one_argument() -> None:
    graph = trace(Several(), (torch.zeros(2, 3), torch.zeros(2, 3)), "several")
    assert graph(torch.ones(4, 3), torch.ones(4, 3)).sum() == 24


class Deciding(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Printing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        print("hello")
        return x + 1


def test_what_torch_cannot_trace_is_refused_in_a_line() -> None:
    with pytest.raises(UnreachableError, match=r"torch cannot trace deciding.*`granularity=weight` works") as caught:
        trace(Deciding(), (torch.zeros(2, 3),), "deciding")
    assert "\n" not in str(caught.value)


def test_what_a_network_prints_is_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    trace(Printing(), (torch.zeros(2, 3),), "printing")
    assert capsys.readouterr().out == ""
