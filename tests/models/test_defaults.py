"""Whatever torch's global state is: the same bytes, float32 on the CPU, and that state afterwards as it was before."""

import contextlib
import hashlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import slt_compress
from slt_compress import Ticket
from slt_compress.errors import TicketError, UsageError
from slt_compress.models.defaults import torch_defaults
from slt_compress.models.spec import ModelSpec
from tests.support.commands import Searched
from tests.support.tickets import make_ticket


@contextlib.contextmanager
def changed(setter: Callable[[Any], object], value: object, before: object) -> Iterator[None]:
    setter(value)
    try:
        yield
    finally:
        setter(before)


@contextlib.contextmanager
def warnings_as_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def default_dtype(dtype: torch.dtype) -> AbstractContextManager[None]:
    return changed(torch.set_default_dtype, dtype, torch.float32)


STATES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "meta": lambda: changed(torch.set_default_device, "meta", None),
    "device context": lambda: torch.device("meta"),
    "inference mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "deterministic": lambda: changed(torch.use_deterministic_algorithms, True, False),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "matmul": lambda: changed(torch.set_float32_matmul_precision, "medium", "highest"),
    "warnings": warnings_as_errors,
}


def state() -> dict[str, Any]:
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "matmul": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "random": bytes(torch.get_rng_state().tolist()) if torch.get_default_device().type == "cpu" else b"",
    }


def digest(module: nn.Module) -> str:
    """Return a digest of all values, once they have been found to be plain float32 on the CPU."""
    sha = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        assert tensor.device.type == "cpu"
        assert tensor.dtype in (torch.float32, torch.int64)
        assert not tensor.is_inference()
        sha.update(name.encode() + tensor.detach().numpy().tobytes())
    return sha.hexdigest()


def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))


DATA = TensorDataset(torch.randn(60, 64, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 10)


@pytest.fixture(scope="module")
def own() -> Ticket:
    return slt_compress.search(net, train=DATA, test=DATA, max_steps=2).ticket


@pytest.mark.parametrize("name", STATES)
def test_a_ticket_is_restored_to_the_same_bytes(own: Ticket, name: str) -> None:
    """Of networks of ours, of timm's with a table that it computes, and of the user's."""
    tickets = [make_ticket("resnet20", 0.3), make_ticket("test_vit", 0.3)]
    wanted = [digest(ticket.restore()) for ticket in tickets]
    with STATES[name]():
        before = state()
        found = [ticket.restore() for ticket in tickets]
        assert state() == before
        applied = own.apply_to(net())
    assert [digest(module) for module in found] == wanted
    assert digest(applied) == digest(own.apply_to(net()))


class CastInside(nn.Sequential):
    """A network that chooses bfloat16 by itself."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            outputs: torch.Tensor = super().forward(inputs)  # type: ignore[no-untyped-call]
        return outputs.float()


@pytest.mark.parametrize(("build", "precision"), [(net, "bf16"), (lambda: CastInside(*net().children()), "fp32")])
def test_every_step_casts_the_weights_anew(build: Callable[[], nn.Module], precision: str) -> None:
    centres = torch.randn(10, 64, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(2000) % 10
    data = TensorDataset(
        centres[labels] + 0.5 * torch.randn(2000, 64, generator=torch.Generator().manual_seed(2)), labels
    )
    found = slt_compress.search(build, train=data, test=data, max_steps=200, batch_size=100, precision=precision)
    assert found.accuracy > 0.9


def work(own: Ticket, file: Path, folder: Path) -> list[object]:
    """Go through the front door for everything but a comparison; return all that is found."""
    found = slt_compress.search("resnet20", max_steps=1, batch_size=16)
    again = slt_compress.search(net, train=DATA, test=DATA, max_steps=2)
    exported = slt_compress.export(own, folder / "t.onnx", source=net, test=DATA)
    measured = [slt_compress.evaluate(file), slt_compress.evaluate(own, test=DATA, source=net)]
    return [
        found.ticket.digest,
        again.ticket.digest,
        exported.max_abs_difference,
        (folder / "t.onnx").read_bytes(),
        [(one.metric, one.loss) for one in measured],
    ]


@pytest.fixture(scope="module")
def wanted(own: Ticket, searched: Searched, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """What is found with torch's state as it is."""
    return work(own, searched[0], tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("name", ["float64", "device context", "inference mode", "autocast", "warnings"])
def test_the_front_door_is_not_impressed(
    own: Ticket, searched: Searched, wanted: list[object], tmp_path: Path, name: str
) -> None:
    with STATES[name]():
        before = state()
        found = work(own, searched[0], tmp_path)
        assert state() == before
    assert found == wanted
    assert own.digest == wanted[1]


def test_a_failure_leaves_the_state_as_it_was() -> None:
    with default_dtype(torch.float64), torch.device("meta"), torch.no_grad():
        before = state()
        with torch_defaults():
            assert torch.zeros(1).dtype == torch.float32
            assert torch.ones(1, requires_grad=True).mul(2).requires_grad
        with pytest.raises(TicketError), torch_defaults():
            raise TicketError("no")
        assert state() == before


def test_a_module_of_other_numbers_becomes_float32(own: Ticket) -> None:
    wanted = digest(own.apply_to(net()))
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        given = net().to(dtype)
        assert digest(own.apply_to(given)) == wanted
        assert given[1].weight.dtype == dtype  # type: ignore[index]


def test_tied_weights_stay_tied_and_a_table_without_values_is_named() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(8, 8)
            self.second = nn.Linear(8, 8)
            self.second.weight = self.first.weight
            self.register_buffer("table", torch.ones(8))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(inputs)) * self.table  # type: ignore[no-any-return]

    data = TensorDataset(torch.randn(20, 8), torch.arange(20) % 8)
    ticket = slt_compress.search(Tied, train=data, test=data, max_steps=1).ticket
    assert not isinstance(ticket.provenance.model, ModelSpec)
    module = Tied().double()
    applied = ticket.apply_to(module)
    assert isinstance(applied, Tied)
    assert applied.first.weight is applied.second.weight
    with torch.device("meta"), pytest.raises(UsageError, match="the buffer table of the module has no values"):
        ticket.apply_to(Tied())
