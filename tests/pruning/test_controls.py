"""Controls: as many weights in each tensor, the same weights or the same mask, and nothing else that differs."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from slt_compress.prng import SeedRecipe
from slt_compress.pruning import controls
from slt_compress.pruning.config import TrainConfig
from slt_compress.pruning.controls import random_like
from slt_compress.pruning.retrain import train_ticket
from slt_compress.pruning.trainer import WeightTrainer
from slt_compress.pruning.under_mask import Start, ticket_start, trainer_of
from slt_compress.ticket.sample import sample_ticket
from tests.support.pruned import LENET, lenet_job, prepared_lenet, trained_network


def test_a_random_mask_has_the_same_densities() -> None:
    network = trained_network(lenet_job())
    mask = network.mask & (torch.rand(len(network.mask), generator=torch.Generator().manual_seed(0)) < 0.2)
    found = random_like(network, mask, 3)
    counts = [[int(part.sum()) for part in network.split(one)] for one in (mask, found)]
    assert counts[0] == counts[1]
    assert not torch.equal(mask, found)
    assert torch.equal(found, random_like(network, mask, 3))


def test_controls_differ_in_one_thing_each(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[Start] = []

    def remember(start: Start, *arguments: Any) -> WeightTrainer:
        starts.append(start)
        weights.append(start.network.weight_arrays()["1.weight"])
        return trainer_of(start, *arguments)

    weights: list[npt.NDArray[np.float32]] = []
    monkeypatch.setattr(controls, "trainer_of", remember)
    ticket = sample_ticket(LENET, 0.2, input_size=8, channels=1, origin=SeedRecipe(7))
    job = lenet_job(8)
    result = train_ticket(ticket, TrainConfig(run=job.config, controls=True), prepared=prepared_lenet(8))
    assert [control.name for control in result.controls] == ["random-mask", "other-weights"]
    assert [control.test.samples for control in result.controls] == [360, 360]
    own = ticket_start(ticket, job).network
    random, other = (start.network.mask for start in starts)
    assert torch.equal(other, own.mask)
    assert not torch.equal(random, own.mask)
    both = (random & own.mask)[: own.slots[0].size].view(own.slots[0].shape).numpy()
    assert (weights[0][both] == ticket.weights("1.weight")[both]).all()
    assert (weights[1] != ticket.weights("1.weight")).any()
    assert (np.abs(weights[1]) == np.abs(ticket.weights("1.weight"))).all()  # constants of the same size
