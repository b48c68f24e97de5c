"""A search that begins with the mask of another ticket."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from slt_compress.config import SearchConfig
from slt_compress.errors import TicketError, UsageError
from slt_compress.pipeline.find import find_ticket
from slt_compress.pipeline.start import start_mask
from slt_compress.prng import Freeze, SeedRecipe
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.checkpoint import Checkpoints
from tests.support.digits import lenet
from tests.support.tickets import make_ticket

LENET = "lenet-300-100"
SHORT: dict[str, Any] = {"max_steps": 10, "batch_size": 64, "sparsity": 0.9}
METHODS = [("crbg", "default"), ("crbg", "paper"), ("edge-popup", "default"), ("continuous-sparsification", "default")]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("start") / "found.safetensors"
    find_ticket(LENET, SearchConfig(max_steps=100, sparsity=0.8)).ticket.save(path)
    return path


def shared(one: Ticket, other: Ticket) -> float:
    """Share of the weights that the first keeps which the other keeps too."""
    masks = [(one.mask(layer.name), other.mask(layer.name)) for layer in one.layers]
    return sum(int((first & second).sum()) for first, second in masks) / one.kept


def test_the_mask_lies_where_the_gates_are(found: Path) -> None:
    network = lenet(0.2)
    ticket = Ticket.load(found)
    mask = start_mask(found, network, ticket.origin)
    assert int(mask.sum()) == ticket.kept
    for slot, part in zip(network.slots, network.split(mask), strict=True):
        assert torch.equal(part.view(slot.shape), torch.from_numpy(ticket.mask(slot.name)))


@pytest.mark.parametrize(("method", "recipe"), METHODS)
def test_a_short_search_stays_near_where_it_begins(found: Path, method: str, recipe: str) -> None:
    config = SearchConfig(method=method, recipe=recipe, initialiser="signed-constant", **SHORT)
    fresh = find_ticket(LENET, config)
    warm = find_ticket(LENET, replace(config, init_from=found))
    before = Ticket.load(found)
    assert shared(warm.ticket, before) > max(0.7, shared(fresh.ticket, before) + 0.2)
    assert warm.validation.metric > fresh.validation.metric
    assert warm.ticket.sparsity == fresh.ticket.sparsity


def test_a_resumed_one_ends_with_the_same_bytes_and_only_one_of_the_same_start_is(found: Path, tmp_path: Path) -> None:
    config = SearchConfig(init_from=found, **SHORT)
    whole = find_ticket(LENET, config).ticket
    kept = Checkpoints(tmp_path / "ckpt", every=6)
    find_ticket(LENET, config, checkpoints=kept)
    resumed = find_ticket(LENET, config, checkpoints=Checkpoints(kept.folder, resume=True)).ticket
    assert resumed.to_bytes() == whole.to_bytes()
    with pytest.raises(UsageError, match="belongs to another search: its start is"):
        find_ticket(LENET, replace(config, init_from=None), checkpoints=Checkpoints(kept.folder, resume=True))


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        (SeedRecipe(1, "signed-constant"), "is of other random weights: give `seed=0`"),
        (SeedRecipe(0, "uniform"), "is of other random weights: give `init=signed-constant`"),
        (SeedRecipe(0, "signed-constant", Freeze(0.5, 0.0)), "is of other random weights: give `freeze_ratio=0.0`"),
    ],
)
def test_other_weights_are_refused(found: Path, origin: SeedRecipe, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        start_mask(found, lenet(), origin)


def test_other_networks_and_files_are_refused(found: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    make_ticket("lenet-5", 0.1).save(other)
    with pytest.raises(UsageError, match="is a ticket of another network"):
        start_mask(other, lenet(), SeedRecipe(0))
    with pytest.raises(TicketError, match="cannot read the ticket"):
        start_mask(tmp_path / "none", lenet(), SeedRecipe(0))
    with pytest.raises(UsageError, match="`init_from` has no meaning for `method=random`"):
        find_ticket(LENET, SearchConfig(method="random", init_from=found))
    with pytest.raises(UsageError, match="`init_from` is for gates of weights"):
        SearchConfig(granularity="neuron", init_from=found)
