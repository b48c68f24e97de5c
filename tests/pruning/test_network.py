"""Networks whose weights are trained: they begin as a reader of an open ticket gets them, and can be taken back."""

import numpy as np
import pytest
import torch

from slt_compress.models.registry import build_model, resolve_model
from slt_compress.prng import INITIALISERS, SeedRecipe
from slt_compress.pruning.network import TrainedNetwork, initialise
from slt_compress.ticket.assembly import CoatParts, LayerParts
from slt_compress.ticket.sample import sample_ticket
from slt_compress.ticket.ticket import Ticket
from tests.support.pruned import lenet_job, own_network, trained_network


@pytest.mark.parametrize("model", ["lenet-300-100", "conv2", "test_vit"])
def test_it_begins_as_an_open_ticket_restores(model: str) -> None:
    size = 28 if model == "test_vit" else 8
    known = sample_ticket(model, 0.5, input_size=size, channels=1, origin=SeedRecipe(3, "kaiming-normal"))
    module = build_model(resolve_model(model, classes=10, channels=1, input_size=size))
    scales = initialise(module, 3, "kaiming-normal")
    layers = [
        LayerParts(layer.name, layer.shape, [CoatParts(np.ones(layer.shape, np.bool_), scale=scales[layer.name])])
        for layer in known.layers
    ]
    statistics = known.statistics
    ticket = Ticket.assemble(layers, known.provenance, origin=known.origin, statistics=statistics)
    restored = dict(ticket.restore().named_parameters())
    assert all(torch.equal(restored[name], values) for name, values in module.named_parameters())


def test_a_module_keeps_its_values_and_all_of_them_are_trained() -> None:
    module = own_network()()
    before = {name: one.detach().clone() for name, one in module.named_parameters()}
    network = TrainedNetwork(module)
    assert all(torch.equal(one, before[name]) for name, one in module.named_parameters())
    assert all(one.requires_grad for one in module.parameters())
    assert set(network.others) == set(before) - {"1.weight", "4.weight"}
    assert network.trained.data_ptr() == network.weights.data_ptr()
    assert int(network.mask.sum()) == network.size == 64 * 24 + 240
    assert not network.has_branches or network.scales()["1.weight"] > 0


def test_a_state_can_be_taken_back() -> None:
    network = trained_network(lenet_job())
    state = network.state()
    with torch.no_grad():
        network.weights.mul_(2)
        for buffer in network.module.buffers():
            buffer.add_(1)
    network.load(state)
    again = network.state()
    assert state.keys() == again.keys()
    assert all(torch.equal(values, again[name]) for name, values in state.items())


def test_arrays_are_of_what_is_kept() -> None:
    network = trained_network(lenet_job())
    network.mask = network.mask & (torch.arange(len(network.mask)) % 3 == 0)
    weights, masks = network.weight_arrays(), network.mask_arrays()
    for name, mask in masks.items():
        assert (weights[name][~mask] == 0).all()
        assert (weights[name][mask] != 0).any()
    assert sum(int(mask.sum()) for mask in masks.values()) == int(network.mask.sum())


def test_other_scales_can_be_given() -> None:
    module = lenet_job().prepared.source.build()
    found = initialise(module, 1, "signed-constant", {"1.weight": 0.25})
    assert found["1.weight"] == 0.25
    signs = INITIALISERS["signed-constant"](1, "1.weight", 300 * 64)
    assert (module.get_parameter("1.weight").detach().numpy().ravel() == signs * np.float32(0.25)).all()
