"""Facts against counts made by hand, and against real tickets."""

import pytest
import torch
from torch import nn

from slt_compress.assessment.facts import GATE_BYTES, facts_of
from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.models.registry import build_model, resolve_model
from slt_compress.tasks.record import TensorRecord
from slt_compress.ticket.sample import sample_ticket


def test_facts_of_a_small_network() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, groups=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5))
    facts = facts_of(net, (TensorRecord((3, 4, 4)),), (0.5,))
    assert facts.macs == 16 * 8 * 27 + 128 * 5
    assert facts.gated_weights == 8 * 27 + 128 * 5
    assert facts.other_weights == 8 + 5
    assert facts.dense_bytes["fp32"] == 4 * (facts.gated_weights + 13)
    assert facts.dense_bytes["int8"] == facts.gated_weights + 4 * (8 + 5) + 4 * 13
    assert facts.activation_bytes == 4 * (128 + 128)  # in and out of ReLU
    assert facts.training_bytes == 4 * (48 + 128)  # the image, and the outputs of ReLU, which the linear layer shares


@pytest.mark.parametrize("name", ["lenet-5", "resnet20", "vit_tiny_patch16_224"])
def test_a_ticket_of_even_density_has_the_estimated_bytes(name: str) -> None:
    channels, size = (1, 28) if name == "lenet-5" else (3, 32)
    module = build_model(resolve_model(name, classes=10, channels=channels, input_size=size))
    facts = facts_of(module, (TensorRecord((channels, size, size)),), (0.9,))
    ticket = sample_ticket(name, 0.1, input_size=size, channels=channels)
    assert len(ticket.to_bytes()) == pytest.approx(facts.ticket_bytes[0.9], rel=0.1)


def test_attention_is_counted() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    facts = facts_of(layer, (TensorRecord((6, 16)),), ())
    assert facts.macs == 6 * (16 * 48 + 16 * 16 + 2 * 16 * 32) + 2 * 6 * 6 * 16


def test_held_bytes_are_those_of_the_tensors_of_a_search() -> None:
    net = nn.Sequential(nn.Linear(160, 64, bias=False), nn.BatchNorm1d(64), nn.Linear(64, 16, bias=False))
    facts = facts_of(net, (TensorRecord((160,)),), ())
    network = FlatNetwork(net, 0, 0.1, torch.device("cpu"))
    gates = torch.zeros(network.size, requires_grad=True)
    optimiser = torch.optim.Adam([gates])
    gates.grad = network.grad
    optimiser.step()
    state = sum(value.nbytes for value in optimiser.state[gates].values() if value.numel() > 1)
    assert network.buffer.nbytes + network.weights.nbytes + gates.nbytes + state == GATE_BYTES * network.size
    assert facts.held_bytes == GATE_BYTES * network.size + 2 * 64 * 4
