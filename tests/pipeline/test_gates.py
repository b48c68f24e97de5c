"""Gates of weights or of neurons: what is searched, and what a ticket stores of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset

from slt_compress.config import SearchConfig
from slt_compress.errors import UnreachableError, UsageError
from slt_compress.masking.topk import kept_count
from slt_compress.models.spec import ModelSpec
from slt_compress.pipeline.find import find_ticket
from slt_compress.pipeline.gates import Searched, _repeat, put_gates
from slt_compress.pipeline.prepare import OwnData, Prepared, prepare
from slt_compress.prng import Freeze, SeedRecipe
from slt_compress.structure.neuron_network import NeuronNetwork, slot_name
from slt_compress.structure.neurons import NO_NEURON
from slt_compress.tasks.task import task_of
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.checkpoint import Checkpoints
from slt_compress.training.search import search
from tests.support.families import Two
from tests.support.own import build, digits

NEURONS = SearchConfig(granularity="neuron", sparsity=0.5, max_steps=4, batch_size=64)
METHODS = ("crbg", "edge-popup", "continuous-sparsification", "random")


def searched(model: str, config: SearchConfig) -> tuple[Searched, Prepared]:
    prepared = prepare(model, config)
    origin = SeedRecipe(config.seed, "signed-constant", config.freeze)
    return put_gates(prepared.source.build(), prepared, config, origin), prepared


def changed(**settings: Any) -> SearchConfig:
    return SearchConfig(**{"granularity": "neuron", "sparsity": 0.5, "max_steps": 4, "batch_size": 64, **settings})


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_gates_of_weights_are_those_of_the_network() -> None:
    found, _ = searched("lenet-300-100", SearchConfig(sparsity=0.5))
    assert found.gates is found.network
    assert found.structure is None
    assert found.described == "50,200 gated weights"


def test_gates_of_neurons_are_in_groups() -> None:
    found, _ = searched("lenet-300-100", NEURONS)
    assert isinstance(found.gates, NeuronNetwork)
    assert found.described == "400 neurons in 2 groups"
    scales = {slot.name: slot.scale for slot in found.network.slots}
    whole = {slot.name: slot.scale for slot in searched("lenet-300-100", SearchConfig(sparsity=0.0))[0].network.slots}
    assert scales == whole  # batch normalisation follows every layer


@pytest.mark.parametrize("model", ["lenet-5", "resnet20", "test_vit", "torchvision/shufflenet_v2_x0_5"])
def test_a_ticket_closes_the_neurons_that_were_found(model: str) -> None:
    found, prepared = searched(model, NEURONS)
    assert found.structure is not None
    masks = search(found.gates, prepared.run, NEURONS).masks
    for group in found.structure.groups:
        assert int(masks[slot_name(group)].sum()) == kept_count(group.size, 0.5)
    layers = {layer.name: layer for layer in found.layers(masks)}
    opened = np.append(np.concatenate([masks[slot_name(group)].numpy() for group in found.structure.groups]), True)
    for slot in found.network.slots:
        expected = np.ones(slot.shape, np.bool_)
        for axis in found.structure.axes:
            if axis.tensor == slot.name:
                np.moveaxis(expected, axis.axis, 0)[~opened[axis.neurons]] = False
        stored = np.ones(slot.shape, np.bool_)
        for slices in layers[slot.name].coats[0].slices:
            np.moveaxis(stored, slices.axis, 0)[~np.repeat(slices.open, slices.repeat)] = False
        assert np.array_equal(stored, expected)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_searches_neurons(method: str, tmp_path: Path) -> None:
    steps = {"max_steps": 4} if method != "random" else {"max_steps": None}
    result = find_ticket("lenet-300-100", changed(method=method, **steps))
    result.ticket.save(tmp_path / "t.safetensors")
    ticket = Ticket.load(tmp_path / "t.safetensors")
    assert ticket.version == 2
    module, smaller = ticket.restore(), ticket.restore(compact=True)
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(module(images), smaller(images), atol=1e-5)
    assert smaller.get_parameter("1.weight").shape == (150, 64)
    assert smaller.get_parameter("4.weight").shape == (50, 150)
    assert parameters(smaller) == 64 * 150 + 150 * 50 + 50 * 10
    assert ticket.provenance.method.settings.get("granularity", "neuron") == "neuron"


@pytest.mark.parametrize("method", METHODS[:3])
def test_a_resumed_search_of_neurons_finds_the_same(method: str, tmp_path: Path) -> None:
    config = changed(method=method, max_steps=6)
    whole = find_ticket("lenet-300-100", config).ticket.to_bytes()
    kept = Checkpoints(tmp_path / "ckpt", every=3)
    assert find_ticket("lenet-300-100", config, checkpoints=kept).ticket.to_bytes() == whole
    again = find_ticket("lenet-300-100", config, checkpoints=Checkpoints(tmp_path / "ckpt", resume=True))
    assert again.ticket.to_bytes() == whole


@pytest.mark.parametrize("model", ["resnet20", "test_vit"])
def test_what_is_evaluated_is_what_is_restored_and_what_is_left(model: str) -> None:
    result = find_ticket(model, changed(max_steps=2, batch_size=32))
    whole, smaller = result.ticket.restore(), result.ticket.restore(compact=True)
    shape = result.ticket.provenance.model
    assert isinstance(shape, ModelSpec)
    images = torch.randn(4, shape.channels, shape.input_size, shape.input_size)
    with torch.no_grad():
        assert torch.allclose(whole(images), smaller(images), atol=1e-3)
    assert parameters(smaller) < 0.7 * parameters(whole)


def test_a_network_of_ones_own_loses_its_dead_neurons() -> None:
    train, test = digits()
    ticket = find_ticket(build, changed(max_steps=3), data=OwnData(train, test)).ticket
    whole, smaller = ticket.apply_to(build()), ticket.apply_to(build(), compact=True)
    with torch.no_grad():
        assert torch.allclose(whole(test.tensors[0]), smaller(test.tensors[0]), atol=1e-4)
    assert smaller.get_parameter("0.weight").shape == (50, 64)
    assert smaller.get_parameter("2.weight").shape == (1,)  # PReLU
    assert smaller.get_parameter("4.weight").shape == (50, 50)  # LayerNorm ties what this makes together
    assert smaller.get_buffer("1.running_mean").shape == (50,)


def test_token_ids_and_several_outputs_are_no_obstacle() -> None:
    random = torch.Generator().manual_seed(0)
    tokens, numbers = torch.randint(7, (200, 5), generator=random), torch.randn(200, 3, generator=random)

    class Pairs(Dataset[Any]):
        def __len__(self) -> int:
            return 200

        def __getitem__(self, index: int) -> Any:
            return (tokens[index], numbers[index]), index % 4

    task = task_of(lambda outputs, labels: cross_entropy(outputs[0], labels), lambda outputs, _: float(len(outputs[1])))
    ticket = find_ticket(Two, changed(max_steps=2), data=OwnData(Pairs(), Pairs()), task=task).ticket
    whole, smaller = ticket.apply_to(Two()), ticket.apply_to(Two(), compact=True)
    with torch.no_grad():
        for one, other in zip(whole(tokens, numbers), smaller(tokens, numbers), strict=True):
            assert torch.allclose(one, other, atol=1e-4)
    assert smaller.get_parameter("numbers.weight").shape == (4, 3)


def test_a_scope_that_is_asked_for_is_taken() -> None:
    assert changed().chosen_options == {"scope": "layer"}
    assert changed(options={"scope": "global"}).chosen_options == {"scope": "global"}
    assert changed(method="random", max_steps=None).chosen_options == {}
    assert SearchConfig().chosen_options == {}
    module = find_ticket("lenet-300-100", changed(options={"scope": "global"})).ticket.restore()
    assert sum(int(module.get_parameter(name).any(1).sum()) for name in ("1.weight", "4.weight")) == 200


def test_fixed_gates_have_no_meaning_for_neurons() -> None:
    with pytest.raises(UsageError, match="`freeze_ratio` is for gates of weights alone, not for `granularity=neuron`"):
        changed(freeze=Freeze(0.5, 0.1))


def test_a_network_without_neurons_that_can_go_is_refused() -> None:
    def tiny() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    with pytest.raises(UnreachableError, match=r"no neuron of .*tiny.* can go alone.*`granularity=weight` works$"):
        find_ticket(tiny, NEURONS)


def test_neighbours_that_belong_to_one_neuron_share_a_gate() -> None:
    assert _repeat(np.array([0, 0, 0, 1, 1, 1])) == 3
    assert _repeat(np.array([0, 0, 1, 1, 1, 1])) == 2
    assert _repeat(np.array([0, 0, 1, 1, 1])) == 1
    assert _repeat(np.array([NO_NEURON, NO_NEURON, 4, 4])) == 2
