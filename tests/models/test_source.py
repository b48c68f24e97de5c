"""Networks of the user's: copied, never changed, and refused by name where a ticket could not bring them back."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from slt_compress.errors import UsageError
from slt_compress.models.registry import resolve_model
from slt_compress.models.source import named_source, own_source
from slt_compress.models.spec import PythonModel
from tests.support.own import build


class Filtered(nn.Module):
    """Its inputs pass a buffer first, which may be random and may change while it trains."""

    def __init__(self, values: Callable[[], torch.Tensor], *, persistent: bool = True, learns: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)
        self.register_buffer("filter", values(), persistent=persistent)
        self.learns = learns

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.learns and self.training:
            self.get_buffer("filter").mul_(0.9).add_(x.detach().mean(0), alpha=0.1)
        out: torch.Tensor = self.linear(x * self.get_buffer("filter"))
        return out


def ones() -> torch.Tensor:
    return torch.ones(64)


def noise() -> torch.Tensor:
    return torch.randn(64)


def test_a_passed_module_is_copied_and_stays_as_it_is() -> None:
    given = build()
    given[1].weight.requires_grad_(False)  # type: ignore[index]
    before = {name: values.clone() for name, values in given.state_dict().items()}
    source = own_source(given)
    module = source.build()
    assert not source.repeats
    assert not module.training
    assert given.training
    assert module[3].p == 0  # type: ignore[index]
    assert given[3].p == 0.5  # type: ignore[index]
    assert all(torch.equal(values, before[name]) for name, values in given.state_dict().items())
    assert not {id(one) for one in module.parameters()} & {id(one) for one in given.parameters()}


def test_a_function_builds_anew_and_one_that_does_not_is_noticed() -> None:
    assert own_source(build).repeats
    kept = build()
    source = own_source(lambda: kept)
    assert not source.repeats
    assert source.build() is not kept
    assert kept.training


def test_the_name_is_for_people_and_has_no_path() -> None:
    assert own_source(build).spec == PythonModel("own:build")
    assert own_source(build()).name == "container:Sequential"
    assert own_source(lambda: build()).name.startswith("test_source:test_the_name")


def test_a_named_network_has_a_source_too() -> None:
    spec = resolve_model("torchvision/resnet18", classes=10, channels=3, input_size=32)
    source = named_source(spec)
    assert (source.name, source.spec) == ("torchvision/resnet18", spec)
    assert source.library.startswith("torchvision ")


@pytest.mark.parametrize(
    ("values", "options", "stored"),
    [
        (ones, {}, []),
        (noise, {}, ["filter"]),
        (ones, {"learns": True}, ["filter"]),
        (ones, {"persistent": False}, []),
    ],
)
def test_buffers_that_a_new_build_has_otherwise_are_stored(values: Any, options: Any, stored: list[str]) -> None:
    source = own_source(lambda: Filtered(values, **options))
    module = source.build().train()
    module(torch.randn(5, 64))
    assert source.unsettled_buffers(module) == stored


@pytest.mark.parametrize(
    ("values", "options", "why"),
    [
        (noise, {"persistent": False}, "not persistent"),
        (lambda: torch.randint(1_000, (64,)), {}, "an integer"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_name(values: Any, options: Any, why: str) -> None:
    source = own_source(lambda: Filtered(values, **options))
    with pytest.raises(UsageError, match=f"the buffer filter of .* a ticket cannot store it: it is {why}"):
        source.unsettled_buffers(source.build())


def test_of_a_passed_module_nobody_knows_so_all_are_stored_if_they_are_small() -> None:
    source = own_source(Filtered(ones))
    assert source.unsettled_buffers(source.build()) == ["filter"]
    large = nn.Sequential(nn.Linear(2, 2))
    large.register_buffer("table", torch.zeros(200, 100))
    source = own_source(large)
    with pytest.raises(UsageError, match=r"the buffer table of .* is too large for a ticket; pass a function"):
        source.unsettled_buffers(source.build())


def fail() -> nn.Module:
    raise OSError("no such dictionary")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "a name, a torch module or a function that builds one, got 3"),
        (lambda: 3, "must return a torch module, got a int"),
        (fail, "own_source|test_source:fail cannot be built: OSError: no such dictionary"),
        (lambda: nn.Flatten(), "has no linear, convolutional or attention layer"),
        (lambda: build().double(), r"0\.weight of .* must be float32, it has float64"),
        (lambda: nn.Linear(2, 2, device="meta"), "weight of .* must be float32, it has no values"),
        (lambda: nn.Sequential(nn.LazyLinear(10)), r"0\.weight of .* has no shape yet"),
        (lambda: nn.LSTM(3, 3), "has a recurrent layer, itself: its weights cannot be gated"),
        (lambda: nn.Sequential(nn.Linear(2, 2), nn.GRUCell(3, 3)), "has a recurrent layer, 1"),
        (
            lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))),
            r"0\.weight of .* is computed from other parameters",
        ),
    ],
)
def test_what_no_ticket_could_bring_back_is_refused(given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        own_source(given)
