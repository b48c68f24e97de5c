"""What methods inherit: exact masks that do not depend on ties, the state of a checkpoint, and the ramp."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from slt_compress.masking.gates import Gates
from slt_compress.masking.topk import kept_count, scopes
from slt_compress.methods import registry
from slt_compress.methods.base import GLOBAL, LAYER, Method, ramp
from slt_compress.prng import Freeze
from tests.support.digits import lenet
from tests.support.families import FAMILIES
from tests.support.gates import make_target
from tests.support.neurons import neuron_network


@dataclass(frozen=True)
class RankingSettings:
    learning_rate: float = 0.1
    spread: float = 2.0


class Ranking(Method):
    """The least that a method must bring along: every gate is open, and noise ranks the weights."""

    Settings: ClassVar[type] = RankingSettings

    def __init__(self, density: float, freeze: Freeze = Freeze(), seed: int = 0) -> None:
        super().__init__(lenet(density, freeze=freeze), make_target(density, 10, seed), RankingSettings())
        self.parameter: nn.Parameter = nn.Parameter(self._noise().mul_(self._settings.spread))

    def learning_rate(self, step: int) -> float:  # noqa: ARG002
        return float(self._settings.learning_rate)

    def gate(self, step: int) -> torch.Tensor:  # noqa: ARG002
        return torch.ones_like(self.parameter)

    def backward(self, step: int) -> None:  # noqa: ARG002
        self._network.gate_gradient()

    def hard_gate(self) -> torch.Tensor:
        return self.mask()


@pytest.mark.parametrize("density", [0.0005, 0.02, 0.1, 0.5, 0.999, 1.0])
def test_the_mask_has_exactly_the_target_number_even_when_all_gates_tie(density: float) -> None:
    method = Ranking(density)
    with torch.no_grad():
        method.parameter.fill_(1.0)
    mask = method.mask()
    padding = ~method._network.searchable
    assert int(mask.sum()) == kept_count(method._network.size, density)
    assert not mask[padding].any()
    layers = [part.float().mean().item() for part in method._network.split(mask)]
    assert all(part > 0 for part in layers)
    if density == 0.5:
        assert layers == pytest.approx([0.5] * 3, abs=0.06)  # ties are broken evenly, not by position


def test_the_mask_keeps_the_largest_parameters() -> None:
    method = Ranking(0.3)
    with torch.no_grad():
        method.parameter.uniform_(0, 1, generator=torch.Generator().manual_seed(1))
    mask = method.mask()
    real = method._network.searchable
    kept, dropped = method.parameter[mask & real], method.parameter[~mask & real]
    assert kept.min() >= dropped.max()


def test_the_mask_opens_the_gates_that_are_fixed_open() -> None:
    method = Ranking(0.3, Freeze(0.5, 0.2))
    network, mask = method._network, method.mask()
    assert int(mask.sum()) == round(0.3 * network.size)
    assert mask[network.locked].all()
    assert not mask[~(network.searchable | network.locked)].any()


def test_the_state_is_the_parameter_and_what_is_loaded_is_a_copy() -> None:
    method, other = Ranking(0.3), Ranking(0.3, seed=1)
    state = method.state_dict()
    assert list(state) == ["parameter"]
    assert state["parameter"].data_ptr() == method.parameter.data_ptr()
    assert not torch.equal(method.parameter, other.parameter)
    other.load_state_dict(state)
    assert torch.equal(method.parameter, other.parameter)
    assert other.parameter.data_ptr() != method.parameter.data_ptr()
    assert other.parameter.requires_grad
    with pytest.raises(KeyError, match="parameter"):
        other.load_state_dict({})


def test_noise_is_standard_normal_one_number_a_weight_and_from_the_generator_of_the_target() -> None:
    method = Ranking(0.3)
    assert method.parameter.shape == method._network.weights.shape
    assert torch.equal(
        method.parameter, 2 * torch.randn(method.parameter.shape, generator=make_target(0.3, 10).generator)
    )


def test_settings_are_told_field_by_field() -> None:
    assert Ranking(0.3).settings() == {"learning_rate": 0.1, "spread": 2.0}


@dataclass(frozen=True)
class ScopedSettings:
    learning_rate: float = 0.1
    spread: float = 2.0
    scope: str = GLOBAL


class Scoped(Ranking):
    Settings = ScopedSettings
    ADDED: ClassVar = {"scope": GLOBAL}

    def __init__(self, scope: str) -> None:
        super().__init__(0.3)
        self._settings = ScopedSettings(scope=scope)
        self._ranking = self._network.ranking(0.3, layered=scope == LAYER)


def test_settings_that_were_added_are_told_where_they_differ() -> None:
    plain = {"learning_rate": 0.1, "spread": 2.0}
    assert Scoped(GLOBAL).settings() == plain
    assert Scoped(LAYER).settings() == {**plain, "scope": LAYER}


def test_the_mask_is_of_the_scope() -> None:
    for scope in (GLOBAL, LAYER):
        method = Scoped(scope)
        with torch.no_grad():
            method.parameter[: method._network.slots[0].size] += 10  # all of the first layer is best
        counts = [int(part.sum()) for part in method._network.split(method.mask())]
        wanted = [kept_count(slot.size, 0.3) for slot in method._network.slots]
        assert (counts == wanted) == (scope == LAYER)


@pytest.mark.parametrize("neurons", [False, True])
@pytest.mark.parametrize("density", [0.1, 0.5])
@pytest.mark.parametrize(
    ("name", "recipe"),
    [(name, recipe) for name, entry in registry.METHODS.items() if entry.optimises for recipe in entry.recipes],
)
def test_every_method_ends_with_the_target_count_in_every_layer(
    name: str, recipe: str, density: float, neurons: bool
) -> None:
    """And goes on, from what it has saved, as if nothing had happened."""

    def make() -> tuple[Gates, Method]:
        network = neuron_network(FAMILIES["resnet"].module(), "resnet", density) if neurons else lenet(density)
        return network, registry.make(name, network, make_target(density, 6), recipe=recipe, options={"scope": LAYER})

    def walk(network: Gates, method: Method, first: int, last: int) -> None:
        for step in range(first, last):
            network.set_gate(method.gate(step))
            generator = torch.Generator().manual_seed(step)
            network.grad.copy_(torch.randn(network.grad.shape, generator=generator).mul_(network.weights != 0))
            method.backward(step)
            with torch.no_grad():
                method.parameter.sub_(0.01 * network.grad)

    network, method = make()
    walk(network, method, 0, 3)
    state = {key: value.clone() for key, value in method.state_dict().items()}
    drawn = method._target.generator.get_state()
    walk(network, method, 3, 6)
    mask = method.mask()
    assert [int(part.sum()) for part in network.split(mask)] == [kept_count(s.size, density) for s in network.slots]
    assert [scope.count for scope in scopes(network, density, layered=True)] == [
        int(part.sum()) for part in network.split(mask)
    ]
    again, other = make()
    other.load_state_dict(state)
    other._target.generator.set_state(drawn)
    walk(again, other, 3, 6)
    assert torch.equal(other.parameter, method.parameter)
    assert torch.equal(other.mask(), mask)


def test_by_default_adam_moves_the_parameter_alone() -> None:
    method = Ranking(0.3)
    optimiser = method.optimiser()
    assert isinstance(optimiser, torch.optim.Adam)
    assert [group["params"] for group in optimiser.param_groups] == [[method.parameter]]


@pytest.mark.parametrize(
    ("progress", "value"), [(0.0, 0.0), (0.2, 0.0), (0.3, 0.25), (0.4, 0.5), (0.6, 1.0), (1.0, 1.0)]
)
def test_a_ramp_is_flat_before_and_after_and_linear_between(progress: float, value: float) -> None:
    assert ramp(progress, 0.2, 0.6) == pytest.approx(value)
