"""`random`: the mask is the seed's, whatever else is asked for, and nothing is optimised."""

import pytest
import torch

from slt_compress.config import SearchConfig
from slt_compress.masking.topk import random_mask
from slt_compress.methods.random import Random, RandomSettings
from slt_compress.prng import Freeze
from slt_compress.training.search import search
from tests.support.digits import accuracy, lenet, lenet_for, training_run
from tests.support.gates import make_target


@pytest.mark.parametrize("freeze", [Freeze(), Freeze(0.5, 0.2)], ids=["searchable", "fixed"])
def test_the_mask_is_that_of_the_seed_with_the_density_in_every_tensor(freeze: Freeze) -> None:
    network = lenet(0.3, freeze=freeze)
    method = Random(network, make_target(0.3, 0, seed=5), RandomSettings())
    mask = method.mask()
    assert torch.equal(mask, random_mask(network, 0.3, 5))
    assert torch.equal(mask, method.hard_gate())
    for slot, part in zip(network.slots, network.split(mask), strict=True):
        assert int(part.sum()) == pytest.approx(0.3 * slot.size, abs=1)
    assert mask[network.locked].all()
    other = Random(network, make_target(0.3, 0, seed=6), RandomSettings())
    assert not torch.equal(mask, other.mask())


def test_it_has_no_settings_and_makes_no_step() -> None:
    method = Random(lenet(0.3), make_target(0.3, 10), RandomSettings())
    assert method.settings() == {}
    for refused in (method.learning_rate, method.gate, method.backward):
        with pytest.raises(AssertionError):
            refused(0)


def test_a_search_with_it_runs_no_steps_whatever_the_budget_and_draws_the_same_mask() -> None:
    config = SearchConfig(method="random", sparsity=0.7, seed=2)
    networks = [lenet_for(config) for _ in range(2)]
    short, long = (
        search(network, training_run(steps, seed=2), config) for network, steps in zip(networks, (1, 500), strict=True)
    )
    assert (short.steps, short.images_per_second, short.settings) == (long.steps, long.images_per_second, long.settings)
    assert (long.steps, long.images_per_second, long.settings) == (0, 0, {})
    drawn = networks[0].split(random_mask(networks[0], 0.3, 2))
    for (name, mask), part in zip(short.masks.items(), drawn, strict=True):
        assert torch.equal(mask, long.masks[name])
        assert torch.equal(mask.flatten(), part)
    assert accuracy(networks[0]) < 0.5
