"""Starts of training under a mask: the weights and masks of tickets and files, and refusals of others."""

from dataclasses import replace

import pytest
import torch

from slt_compress.errors import TicketError, UsageError
from slt_compress.prng import SeedRecipe
from slt_compress.pruning.recipes import WeightRecipe
from slt_compress.pruning.under_mask import flat_mask, mask_start, same_network, ticket_start, trainer_of
from slt_compress.ticket.sample import sample_ticket
from tests.support.pruned import LENET, lenet_job, prepared_lenet, trained_network

SHAPES = {"1.weight": (300, 64), "4.weight": (100, 300), "7.weight": (10, 100)}


@pytest.mark.parametrize("initialiser", ["signed-constant", "kaiming-normal"])
def test_a_ticket_begins_with_its_own_weights(initialiser: str) -> None:
    ticket = sample_ticket(LENET, 0.3, input_size=8, channels=1, origin=SeedRecipe(7, initialiser))
    start = ticket_start(ticket, lenet_job())
    arrays, masks = start.network.weight_arrays(), start.network.mask_arrays()
    for layer in ticket.layers:
        assert (arrays[layer.name] == ticket.weights(layer.name)).all()
        assert (masks[layer.name] == ticket.mask(layer.name)).all()
    assert start.factors == {layer.name: layer.scale for layer in ticket.layers}
    assert not start.trained
    assert start.said == {"mask": "of a ticket of random", "mask_sparsity": ticket.sparsity}


def test_a_mask_begins_with_the_weights_of_the_seed() -> None:
    job = lenet_job(seed=3)
    network = trained_network(job, seed=3)
    masks = {slot.name: torch.ones(slot.shape) for slot in network.slots}
    masks["1.weight"][0] = 0
    start = mask_start(masks, job)
    assert torch.equal(start.network.weights, network.weights)
    assert int(start.network.mask.sum()) == 50_200 - 64
    trainer = trainer_of(start, job, WeightRecipe(0.1), None)
    assert trainer.show() == pytest.approx(64 / 50_200)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"1.weight": None}, "the masks are not those of net: missing: 1.weight"),
        ({"x": torch.ones(1)}, "the masks are not those of net: unexpected: x"),
        ({"4.weight": torch.ones(3, 2)}, "of another shape: 4.weight (3, 2) instead of (100, 300)"),
        ({"7.weight": torch.full((10, 100), 0.5)}, "the mask 7.weight must be of 0 and 1 alone"),
        ({name: torch.zeros(shape) for name, shape in SHAPES.items()}, "the masks keep no weight"),
    ],
)
def test_masks_of_another_network_are_refused(change: dict[str, torch.Tensor | None], message: str) -> None:
    network = trained_network(lenet_job())
    masks = {**{slot.name: torch.ones(slot.shape, dtype=torch.bool) for slot in network.slots}, **change}
    with pytest.raises(UsageError) as raised:
        flat_mask(network, {name: mask for name, mask in masks.items() if mask is not None}, "net")
    assert message in str(raised.value)


def test_the_network_has_to_be_that_of_the_ticket() -> None:
    ticket = sample_ticket(LENET, 0.3, input_size=8, channels=1)
    same_network(ticket, prepared_lenet())
    other = sample_ticket(LENET, 0.3, input_size=8, channels=1, classes=7)
    with pytest.raises(TicketError, match="with other tensors than those of lenet-300-100 for digits"):
        same_network(other, prepared_lenet())


def test_an_iterate_of_other_data_cannot_be_made() -> None:
    ticket = sample_ticket(LENET, 0.3, input_size=8, channels=1, origin=SeedRecipe(0, "kaiming-normal"))
    rewound = replace(ticket, provenance=replace(ticket.provenance, rewind_steps=3))
    with pytest.raises(UsageError, match="is rewound to step 3 of a training with `dataset=imagefolder`"):
        ticket_start(rewound, lenet_job())
