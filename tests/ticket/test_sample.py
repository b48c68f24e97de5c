"""Sample tickets: what is asked for in size and seed, whole like a searched one, and the same every time."""

import numpy as np
import pytest
import torch
from torch import nn

from slt_compress.errors import UnknownModelError
from slt_compress.prng import Freeze, SeedRecipe
from slt_compress.ticket.sample import measure_statistics, sample_ticket, with_values
from slt_compress.ticket.stored import WEIGHT_TYPES
from slt_compress.ticket.ticket import Ticket


@pytest.mark.parametrize("density", [0.02, 0.5])
def test_a_sample_keeps_the_density_in_every_tensor_and_is_restored(density: float) -> None:
    ticket = sample_ticket("lenet-5", density, input_size=28, channels=1, classes=7)
    for layer in ticket.layers:
        assert layer.kept == round(layer.size * density)
    loaded = Ticket.from_bytes(ticket.to_bytes())
    loaded.check()
    with torch.no_grad():
        logits = loaded.restore()(torch.randn(50, 1, 28, 28, generator=torch.Generator().manual_seed(1)))
    assert logits.shape == (50, 7)
    assert 0.1 < logits.std() < 10


def test_the_same_recipe_gives_the_same_bytes() -> None:
    origin = SeedRecipe(3, "kaiming-normal", Freeze(0.5, 0.05))
    ticket = sample_ticket("lenet-300-100", 0.1, input_size=8, channels=1, origin=origin, codec="rice")
    assert (ticket.seed, ticket.initialiser, ticket.freeze) == (3, "kaiming-normal", Freeze(0.5, 0.05))
    assert {layer.codec for layer in ticket.layers} == {"rice"}
    torch.manual_seed(99)
    again = sample_ticket("lenet-300-100", 0.1, input_size=8, channels=1, origin=origin, codec="rice")
    assert again.to_bytes() == ticket.to_bytes()
    assert sample_ticket("lenet-300-100", 0.1, input_size=8, channels=1).to_bytes() != ticket.to_bytes()


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(UnknownModelError):
        sample_ticket("resnet81", 0.1)


def test_statistics_are_those_of_noise() -> None:
    module = nn.Sequential(nn.BatchNorm2d(2)).train()
    measure_statistics(module, channels=2, size=8)
    assert not module.training
    noise = torch.randn(16, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    mean, variance = (module.get_buffer(f"0.running_{name}").numpy() for name in ("mean", "var"))
    assert np.allclose(mean, noise.mean((0, 2, 3)), atol=1e-6)
    assert np.allclose(variance, noise.var((0, 2, 3)), rtol=1e-5)
    plain = nn.Sequential(nn.Linear(2, 2)).train()
    measure_statistics(plain, channels=2, size=8)  # takes no images: nothing would be measured
    assert not plain.training


@pytest.mark.parametrize("kind", WEIGHT_TYPES)
def test_a_sample_with_stored_numbers_is_whole_and_the_same_every_time(kind: str) -> None:
    old = sample_ticket("test_vit", 0.2, input_size=16, channels=1)
    ticket = with_values(old, kind, {old.layers[1].name})
    kinds = [layer.values and layer.values.type for layer in ticket.layers]
    assert kinds == [kind, None, *[kind] * (len(kinds) - 2)]
    assert all(np.array_equal(ticket.mask(layer.name), old.mask(layer.name)) for layer in old.layers)
    assert len(ticket.parameters) > 1
    assert {stored.type for stored in ticket.parameters.values()} == {"fp16"}
    loaded = Ticket.from_bytes(ticket.to_bytes())
    loaded.check()
    module = loaded.restore()
    for name, stored in ticket.parameters.items():
        assert np.array_equal(module.get_parameter(name).detach().numpy(), stored.values())
    with torch.no_grad():
        logits = module(torch.randn(50, 1, 16, 16, generator=torch.Generator().manual_seed(1)))
    assert 0.1 < logits.std() < 10
    assert np.array_equal(loaded.weights(old.layers[1].name), old.weights(old.layers[1].name))
    assert with_values(old, kind, {old.layers[1].name}).to_bytes() == ticket.to_bytes()
