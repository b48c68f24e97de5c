"""The early iterate: the same again from what a ticket says, and a clear word where that cannot be."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from slt_compress.errors import TicketError, UsageError
from slt_compress.pruning.config import FindConfig
from slt_compress.pruning.recipes import PAPER, WeightRecipe
from slt_compress.pruning.rewind import NOT_REWOUND, Rewinding, check_same_run, dense_start, early_iterate, recorded
from slt_compress.pruning.rounds import find
from slt_compress.pruning.under_mask import flat_mask
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.loop import Clock, optimise
from tests.support.pruned import LENET, lenet_job, prepared_lenet, trained_network, trainer_for


def found(steps: int = 3, **fields: Any) -> Ticket:
    job = lenet_job(12)
    config = FindConfig(run=job.config, method="magnitude", rewind_steps=steps, sparsity=0.5, rounds=2, **fields)
    return Ticket.from_bytes(find(LENET, config, prepared=prepared_lenet(12)).tickets[0].ticket.to_bytes())


def test_the_iterate_is_what_the_first_steps_of_a_training_leave() -> None:
    job = lenet_job(6)
    network = trained_network(job)
    recipe = WeightRecipe(0.01)
    state = early_iterate(job, network, Rewinding(2, 6, recipe))
    again = trained_network(job)
    for done in optimise(trainer_for(job, again, recipe), job.run, Clock()):
        if done == 2:
            break
    assert all(torch.equal(state[name], values) for name, values in again.state().items())
    assert not torch.equal(network.weights, trained_network(job).weights)


def test_a_ticket_says_how_its_iterate_comes_about() -> None:
    ticket = found()
    rewinding = recorded(ticket)
    assert (rewinding.steps, rewinding.schedule) == (3, 7)
    assert rewinding.recipe == WeightRecipe(0.01)  # of dense training: that of the rounds decays
    assert recorded(found(recipe="paper")).recipe == PAPER
    assert recorded(found(0)) == NOT_REWOUND
    check_same_run(ticket, lenet_job(20))
    check_same_run(found(0), replace(lenet_job(), run=replace(lenet_job().run, precision="bf16")))


def test_the_dense_start_is_the_same_again() -> None:
    job = lenet_job(20)
    one, same, other = (dense_start(job, seed, Rewinding(3, 7, WeightRecipe(0.01))) for seed in (0, 0, 1))
    assert torch.equal(one.weights, same.weights)
    assert not torch.equal(one.weights, other.weights)
    assert job.run.seed == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [({"precision": "bf16"}, "`precision=fp32`, which is made again first: give that, got bf16")],
)
def test_an_iterate_of_another_run_is_refused(change: dict[str, str], message: str) -> None:
    job = lenet_job()
    with pytest.raises(UsageError, match=message):
        check_same_run(found(), replace(job, run=replace(job.run, **change)))  # type: ignore[arg-type]
    small = replace(job.run, budget=replace(job.run.budget, batch_size=32))
    with pytest.raises(UsageError, match="`batch_size=64`"):
        check_same_run(found(), replace(job, run=small))
    with pytest.raises(UsageError, match="`dataset=digits`"):
        check_same_run(found(), replace(job, prepared=replace(job.prepared, dataset="mnist")))


@pytest.mark.parametrize("said", [None, {}, {"recipe": {}, "schedule": 3}, {"recipe": {"drops": [1]}}, "x"])
def test_a_ticket_that_does_not_say_it_is_refused(said: object) -> None:
    ticket = found()
    method = replace(ticket.provenance.method, settings={"rewinding": said})
    silent = replace(ticket, provenance=replace(ticket.provenance, method=method))
    with pytest.raises(TicketError, match="is rewound to step 3, and does not say how that is reached"):
        recorded(silent)


@pytest.mark.parametrize("method", ["magnitude", "continuous-sparsification"])
def test_a_search_rewinds_to_what_is_made_again(method: str) -> None:
    fields = {"method": method, "rewind_steps": 3, "rounds": 2, "sparsity": 0.5, "store_weights": True}
    config = FindConfig(run=lenet_job(12).config, **fields)  # type: ignore[arg-type]
    (stored,) = find(LENET, config, prepared=prepared_lenet(12)).tickets
    network = dense_start(lenet_job(20), 0, recorded(stored.ticket))
    network.mask = network.mask & flat_mask(network, masks_of(stored.ticket), "net")
    rounded = {name: one.astype(np.float16).astype(np.float32) for name, one in network.weight_arrays().items()}
    assert all((stored.ticket.weights(name) == one).all() for name, one in rounded.items())


def masks_of(ticket: Ticket) -> dict[str, torch.Tensor]:
    return {layer.name: torch.from_numpy(ticket.mask(layer.name)) for layer in ticket.layers}
