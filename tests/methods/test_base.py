"""What methods inherit: exact masks that do not depend on ties, the state of a checkpoint, and the ramp."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from slt_compress.masking.topk import kept_count
from slt_compress.methods.base import Method, ramp
from slt_compress.prng import Freeze
from tests.support.digits import lenet
from tests.support.gates import make_target


@dataclass(frozen=True)
class RankingSettings:
    learning_rate: float = 0.1
    spread: float = 2.0


class Ranking(Method):
    """The least that a method must bring along: every gate is open, and noise ranks the weights."""

    Settings = RankingSettings

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
