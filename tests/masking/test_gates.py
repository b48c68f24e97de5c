"""What a search method sees of a network: its slots, which gates can be searched, and the memory for saturated ones."""

import torch

from slt_compress.masking.gates import ALIGN, Gates, rows
from slt_compress.prng import Freeze
from slt_compress.structure.neuron_network import NeuronNetwork
from tests.support.digits import lenet
from tests.support.families import FAMILIES
from tests.support.neurons import neuron_network


def both() -> list[Gates]:
    return [lenet(freeze=Freeze(0.5, 0.2)), neuron_network(FAMILIES["cnn"].module(), "cnn")]


def test_a_slot_takes_whole_rows() -> None:
    assert [rows(size) for size in (1, ALIGN, ALIGN + 1)] == [1, 1, 2]
    for network in both():
        assert all(slot.offset % ALIGN == 0 for slot in network.slots)
        ends = [slot.offset + rows(slot.size) * ALIGN for slot in network.slots]
        assert ends == [*(slot.offset for slot in network.slots[1:]), network.weights.numel()]


def test_what_can_be_searched_is_neither_padding_nor_fixed() -> None:
    for network in both():
        assert int(network.searchable.sum()) == network.searchable_count
        assert not (network.searchable & network.locked).any()
        assert sum(slot.size for slot in network.slots) == network.size
        assert sum(part.numel() for part in network.split(network.weights)) == network.size
        padding = torch.ones_like(network.searchable)
        for part in network.split(padding):
            part.fill_(False)
        assert not network.searchable[padding].any()
        if isinstance(network, NeuronNetwork):
            assert torch.equal(network.searchable, ~padding)


def test_the_sparsity_is_the_share_of_closed_gates() -> None:
    for network in both():
        gate = network.searchable.clone()
        assert network.sparsity(gate) == 1 - (network.searchable_count + network.locked_count) / network.size
        gate[:] = False
        assert network.sparsity(gate) == 1 - network.locked_count / network.size


def test_a_saturated_gate_has_a_share_of_its_gradient() -> None:
    for network in both():
        gate = torch.tensor([0.0, 0.25, 1.0, 0.75]).repeat(network.weights.numel() // 4)
        network.remember_saturated(gate)
        network.grad.fill_(2.0)
        network.damp_saturated(0.25)
        assert torch.equal(network.grad, torch.where(gate.frac() > 0, 2.0, 0.5))


def test_blocks_cover_all_in_order() -> None:
    network = lenet()
    flat = torch.arange(network.weights.numel())
    assert torch.equal(torch.cat([part for (part,) in network.blocks(flat)]), flat)
