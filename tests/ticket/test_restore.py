"""From a ticket back to a network: every value is regenerated, whatever the state of the libraries' generators."""

import copy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from slt_compress import prng
from slt_compress.errors import TicketError
from slt_compress.masking.parameters import EMBEDDING_SCALE, gated_names
from slt_compress.models.registry import architecture_digest
from slt_compress.models.spec import ModelSpec
from slt_compress.prng import SeedRecipe
from slt_compress.tasks.record import TensorRecord
from slt_compress.ticket.assembly import CoatParts, LayerParts
from slt_compress.ticket.stored import StoredTensor
from slt_compress.ticket.ticket import Ticket
from tests.support.documents import OWN

GOLDEN = Path(__file__).parent.parent / "golden"

_STATE_DIGEST = """
import hashlib, sys, torch
from slt_compress import Ticket
torch.manual_seed(int(sys.argv[2]))
module = Ticket.load(sys.argv[1]).restore()
sha = hashlib.sha256()
for name, tensor in module.state_dict().items():
    sha.update(name.encode() + tensor.numpy().tobytes())
print(sha.hexdigest())
"""


class Net(nn.Module):
    """A network with all kinds of values: a tied table, attention, a slope, a scalar and buffers of several types."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.position = nn.Parameter(torch.empty(1, 5, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.BatchNorm1d(5)
        self.act = nn.PReLU(5)
        self.gain = nn.Parameter(torch.empty(()))
        self.parts = nn.ModuleDict({"to-out": nn.Linear(8, 8)})
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.embed.weight
        self.level: torch.Tensor
        self.register_buffer("level", torch.zeros((), dtype=torch.float64))
        self.table: torch.Tensor
        self.register_buffer("table", torch.arange(5))
        self.register_buffer("passing", torch.ones(2), persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens) + self.position
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = self.drop(self.act(self.norm(self.parts["to-out"](x)))) * self.gain + self.level.float()
        y: torch.Tensor = self.head(x)
        return y


def own_ticket(module: nn.Module, **changes: Any) -> Ticket:
    """Return a ticket of a network of the user's, with random masks."""
    draw = np.random.default_rng(0)
    shapes = {name: tuple(module.get_parameter(name).shape) for name in gated_names(module)}
    arguments: dict[str, Any] = {
        "layers": [LayerParts(name, shape, [CoatParts(draw.random(shape) < 0.5)]) for name, shape in shapes.items()],
        "provenance": replace(
            OWN,
            architecture=architecture_digest(module),
            inputs=(TensorRecord((5,), "int64"),),
            outputs=(TensorRecord((5, 20)),),
        ),
        "origin": SeedRecipe(3, "kaiming-uniform"),
        "statistics": {
            "norm.running_mean": draw.standard_normal(5),
            "norm.running_var": StoredTensor.of(draw.random(5), "uint8-squared"),
            "level": np.float32(0.5),
        },
        "parameters": {"norm.weight": draw.standard_normal(5)},
        "constants": {"act.weight": 0.25, "gain": 2.0},
    }
    return Ticket.from_bytes(Ticket.assemble(**{**arguments, **changes}).to_bytes())


def test_weights_are_sign_times_scale_times_mask(ticket: Ticket) -> None:
    module = ticket.restore()
    assert not module.training
    for layer in ticket.layers:
        found = module.get_parameter(layer.name).detach().numpy()
        bits = np.unpackbits(prng.sign_bits(ticket.seed, layer.name, layer.size), bitorder="little")[: layer.size]
        signs = 1 - 2 * bits.astype(np.float32).reshape(layer.shape)
        assert np.array_equal(found, signs * np.float32(layer.scale) * ticket.mask(layer.name))
    for name, values in ticket.statistics.items():
        assert np.array_equal(module.get_buffer(name).numpy().ravel(), values)


def test_a_ticket_of_version_2_is_restored_with_all_that_it_stores() -> None:
    ticket = Ticket.load(GOLDEN / "v2-restored.safetensors")
    state = ticket.restore().state_dict()
    for layer in ticket.layers:
        assert np.array_equal(state.pop(layer.name).numpy(), ticket.weights(layer.name))
    for name, stored in ticket.parameters.items():
        assert np.array_equal(state.pop(name).numpy(), stored.values())
    for name, values in ticket.statistics.items():
        assert np.array_equal(state.pop(name).numpy(), values)
    assert state
    assert all(name.endswith("num_batches_tracked") and not tensor for name, tensor in state.items())


def test_processes_with_other_global_seeds_agree_bit_for_bit(searched: tuple[Path, dict[str, Any]]) -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", _STATE_DIGEST, str(searched[0]), str(seed)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert len(digests) == 1


def test_nothing_is_left_to_the_library(ticket: Ticket, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every fresh tensor full of NaN, the restored network has none."""
    empty = torch.empty

    def poisoned(*args: Any, **kwargs: Any) -> torch.Tensor:
        tensor = empty(*args, **kwargs)
        return tensor.fill_(torch.nan) if tensor.is_floating_point() else tensor

    monkeypatch.setattr(torch, "empty", poisoned)
    for one in (ticket, Ticket.load(GOLDEN / "v2-restored.safetensors")):
        state = one.restore().state_dict()
        assert all(bool(torch.isfinite(tensor).all()) for tensor in state.values())


def test_another_architecture_is_refused(ticket: Ticket) -> None:
    with pytest.raises(TicketError, match="differs from the network of the ticket"):
        replace(ticket, provenance=replace(ticket.provenance, architecture="0" * 64)).restore()


@pytest.mark.parametrize("name", ["hf-hub:timm/resnet18.a1_in1k", "resnet18.a1_in1k"])
def test_trained_weights_are_out_of_reach(ticket: Ticket, name: str) -> None:
    model = ModelSpec("timm", name, classes=10, channels=1, input_size=8)
    with pytest.raises(TicketError, match="cannot be built: unknown model"):
        replace(ticket, provenance=replace(ticket.provenance, model=model)).restore()


def test_layers_and_statistics_must_be_the_networks(ticket: Ticket) -> None:
    with pytest.raises(TicketError, match=r"layers of the ticket are not those of lenet-300-100: 7\.weight"):
        replace(ticket, layers=ticket.layers[:-1]).restore()
    with pytest.raises(TicketError, match="statistics of the ticket"):
        ticket.with_statistics({}).restore()


def test_a_network_of_the_users_own_is_asked_for() -> None:
    with pytest.raises(
        TicketError,
        match=r"^the network of this ticket is your own, nets:Net\.<locals>\.make: give the function that builds it "
        r"\(`source`\), or call Ticket\.apply_to\(module\)$",
    ):
        own_ticket(Net()).restore()


def test_every_value_of_a_given_network_is_set_in_a_copy() -> None:
    given = Net().train()
    given.position.requires_grad = False
    before = copy.deepcopy(given.state_dict())
    ticket = own_ticket(given)
    module = ticket.apply_to(given)
    assert isinstance(module, Net)
    assert not any(part.training for part in module.modules())
    for layer in ticket.layers:
        assert np.array_equal(module.get_parameter(layer.name).detach().numpy(), ticket.weights(layer.name))
    assert np.array_equal(module.norm.weight.detach().numpy(), ticket.parameters["norm.weight"].values())
    assert not module.norm.bias.any()
    assert module.norm.running_mean is not None
    assert np.array_equal(module.norm.running_mean.numpy(), ticket.statistics["norm.running_mean"])
    assert set(module.act.weight.flatten().tolist()) == {0.25}
    assert module.gain.item() == 2
    assert module.level.item() == 0.5
    assert module.level.dtype == torch.float64
    expected = prng.uniform(3, "position", 40) * np.float32(EMBEDDING_SCALE)
    assert np.array_equal(module.position.detach().numpy().ravel(), expected)
    assert module.table.tolist() == [0, 1, 2, 3, 4]
    # The given network is as it was.
    assert all(part.training for part in given.modules())
    assert not given.position.requires_grad
    assert given.gain.requires_grad
    assert all(
        torch.equal(tensor.nan_to_num(), before[name].nan_to_num()) for name, tensor in given.state_dict().items()
    )


def test_a_tied_table_stays_tied_under_either_name() -> None:
    given = Net()
    ticket = own_ticket(given)
    assert "head.weight" in {layer.name for layer in ticket.layers}
    module = ticket.apply_to(given)
    assert isinstance(module, Net)
    assert module.head.weight is module.embed.weight
    assert np.array_equal(module.embed.weight.detach().numpy(), ticket.weights("head.weight"))
    renamed = tuple(
        replace(layer, name="embed.weight") if layer.name == "head.weight" else layer for layer in ticket.layers
    )
    other = replace(ticket, layers=renamed, weights_digest="")
    other = replace(other, weights_digest=_digest_here(other))
    found = other.apply_to(given).get_parameter("head.weight")
    assert np.array_equal(found.detach().numpy(), other.weights("embed.weight"))
    parts = [*ticket.layers, replace(ticket.layers[-1], name="embed.weight")]
    with pytest.raises(TicketError, match="two layers of the ticket are one tensor of"):
        replace(ticket, layers=tuple(parts)).apply_to(given)


def _digest_here(ticket: Ticket) -> str:
    from slt_compress.ticket.ticket import _weights_digest

    return _weights_digest(ticket.initialiser, ticket.seed, ticket.layers)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_of_another_precision_becomes_float32(dtype: torch.dtype) -> None:
    """As its tickets hold and measure it; what is given stays as it is."""
    given = Net()
    ticket = own_ticket(given)
    module = ticket.apply_to(given.to(dtype))
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in given.parameters()} == {dtype}
    expected = torch.from_numpy(ticket.weights("head.weight"))
    assert torch.equal(module.get_parameter("head.weight").detach(), expected)


def test_a_trained_layer_may_stand_among_the_parameters() -> None:
    given = Net()
    values = np.random.default_rng(1).standard_normal((8, 8)).astype(np.float32)
    name = "parts.to-out.weight"
    ticket = own_ticket(given)
    layers = tuple(layer for layer in ticket.layers if layer.name != name)
    without = replace(ticket, layers=layers, parameters={**ticket.parameters, name: StoredTensor.of(values)})
    module = replace(without, weights_digest=_digest_here(without)).apply_to(given)
    assert np.array_equal(module.get_parameter(name).detach().numpy(), values)


def test_tickets_of_version_1_are_applied_too(ticket: Ticket) -> None:
    restored = ticket.restore()
    applied = ticket.apply_to(ticket.restore().train())
    assert not applied.training
    for (name, tensor), (other, found) in zip(restored.state_dict().items(), applied.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(tensor, found)


class Wider(Net):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"to-out": nn.Linear(8, 8), "more": nn.Linear(2, 2)})


class Otherwise(Net):
    """The same names and shapes in another order."""

    def __init__(self) -> None:
        super().__init__()
        position = self.position
        del self.position
        self.position = position


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Linear(2, 2), "the layers of the ticket are not those of nets:Net.<locals>.make: attention.in_proj_weight"),
        (Wider(), "the layers of the ticket are not those of nets:Net.<locals>.make: parts.more.weight"),
        (
            Otherwise(),
            "the module has other tensors than nets:Net.<locals>.make, the network of the ticket, or in anot",
        ),
    ],
)
def test_another_network_is_refused(module: nn.Module, words: str) -> None:
    with pytest.raises(TicketError) as caught:
        own_ticket(Net()).apply_to(module)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"constants": {"nobody": 1.0}}, "layers of the ticket are not those of .*: nobody"),
        ({"parameters": {"norm.weight": np.ones(6)}}, "layers of the ticket are not those of .*: norm.weight"),
        ({"parameters": {"level": np.float32(1)}, "statistics": {}}, "layers of the ticket are not those of .*: level"),
        ({"statistics": {}}, "statistics of the ticket are not those of .*: norm.running_mean, norm.running_var"),
        (
            {"statistics": {"norm.running_mean": np.ones(5), "norm.running_var": np.ones((5, 1))}},
            "statistics of the ticket are not those of .*: norm.running_var",
        ),
        (
            {"statistics": {"norm.running_mean": np.ones(5), "norm.running_var": np.ones(5), "table": np.ones(5)}},
            "statistics of the ticket are not those of .*: table",
        ),
    ],
)
def test_what_the_network_does_not_have_is_refused(changes: dict[str, Any], words: str) -> None:
    given = Net()
    with pytest.raises(TicketError, match=words):
        own_ticket(given, **changes).apply_to(given)


def test_weights_of_another_generator_are_refused() -> None:
    given = Net()
    with pytest.raises(TicketError, match="when the ticket was made"):
        replace(own_ticket(given), weights_digest="0" * 64).apply_to(given)
