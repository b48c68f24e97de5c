"""The search: what it finds, that it is repeatable, and that reporting has no influence."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slt_compress.config import SearchConfig
from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.methods import registry
from slt_compress.progress import TrainingProgress
from slt_compress.training.distributed import DistributedContext
from slt_compress.training.search import FoundMask, GateTrainer, search
from tests.support.digits import CPU, accuracy, lenet, lenet_for, training_run
from tests.support.gates import make_target


def find(
    steps: int,
    sparsity: float = 0.9,
    seed: int = 0,
    method: str = "crbg",
    reports: list[TrainingProgress] | None = None,
    **run: Any,
) -> tuple[FoundMask, FlatNetwork]:
    config = SearchConfig(sparsity=sparsity, seed=seed, method=method)
    network = lenet_for(config)
    report = None if reports is None else reports.append
    return search(network, training_run(steps, seed=seed, **run), config, report=report), network


def kept(found: FoundMask) -> int:
    return sum(int(mask.sum()) for mask in found.masks.values())


def test_a_search_learns_and_a_random_mask_does_not() -> None:
    _, network = find(150)
    _, control = find(150, method="random")
    assert accuracy(network) > 0.9
    assert accuracy(control) < 0.5


def test_hardening_costs_little() -> None:
    reports: list[TrainingProgress] = []
    _, network = find(300, 0.8, reports=reports)
    assert reports[-1].sparsity == pytest.approx(0.8, abs=0.02)
    assert reports[-1].metric is not None
    assert accuracy(network) > reports[-1].metric - 0.03


@pytest.mark.parametrize("steps", [1, 5, 40])
@pytest.mark.parametrize("sparsity", [0.98, 0.8, 0.5, 0.0])
def test_every_search_has_the_target_sparsity_however_short(steps: int, sparsity: float) -> None:
    found, network = find(steps, sparsity)
    assert kept(found) == round((1 - sparsity) * network.size)
    assert all(bool(mask.any()) for mask in found.masks.values())


def test_the_same_seed_gives_the_same_ticket_and_another_another() -> None:
    (first, network), (again, same), (other, _) = find(20), find(20), find(20, seed=1)
    for name, mask in first.masks.items():
        assert torch.equal(mask, again.masks[name])
    for name, values in network.module.named_buffers():
        assert torch.equal(values, same.module.get_buffer(name))
    assert any(not torch.equal(mask, other.masks[name]) for name, mask in first.masks.items())


def test_reporting_does_not_change_the_result() -> None:
    reports: list[TrainingProgress] = []
    (silent, network), (reported, same) = find(30), find(30, reports=reports)
    assert all(torch.equal(mask, reported.masks[name]) for name, mask in silent.masks.items())
    for name, values in network.module.named_buffers():
        assert torch.equal(values, same.module.get_buffer(name))
    assert [report.step for report in reports] == list(range(1, 31))
    assert all(report.metric is not None and 0 <= report.metric <= 1 for report in reports)


def test_no_weight_is_trained() -> None:
    found, network = find(20)
    _, fresh = find(1)
    assert torch.equal(network.weights, fresh.weights)
    for slot in network.slots:
        effective = network.module.get_parameter(slot.name)
        assert torch.equal(effective.abs(), slot.scale * found.masks[slot.name])


def test_bf16_finds_as_good_a_ticket() -> None:
    found, network = find(150, precision="bf16")
    assert accuracy(network) > 0.9
    assert found.settings["precision"] == "bf16"
    assert all(parameter.dtype == torch.float32 for parameter in network.module.parameters())
    assert "precision" not in find(1)[0].settings


def test_augmented_images_give_another_ticket_that_says_so() -> None:
    plain, (found, network) = find(100)[0], find(100, augment="crop")
    assert found.settings["augment"] == "crop"
    assert any(not torch.equal(mask, plain.masks[name]) for name, mask in found.masks.items())
    assert accuracy(network) > 0.8


def test_what_a_search_took_is_told() -> None:
    found, _ = find(20)
    assert found.steps == 20
    assert found.images_per_second == pytest.approx(20 * 256 / found.seconds)


def test_a_step_moves_the_parameter_by_the_gradient_of_the_sharpened_loss() -> None:
    """The parameter after a step of edge-popup's SGD, against autograd on a network without flat buffers."""
    network, run = lenet(0.5), training_run(4)
    method = registry.make("edge-popup", network, make_target(0.5, 4), recipe="paper")
    optimiser = method.optimiser()
    before = method.parameter.detach().clone()
    images, labels = next(run.batches(run.order()))
    gate = method.gate(0).clone()
    parts = zip(network.slots, network.split(network.weights), network.split(gate), strict=True)
    effective = {
        slot.name: (slot.scale * weights * z).view(slot.shape).detach().requires_grad_(True)
        for slot, weights, z in parts
    }
    state = {name: value.clone() for name, value in network.module.state_dict().items()}
    network.module.train()
    logits = torch.func.functional_call(network.module, {**state, **effective}, (images,))
    loss = F.cross_entropy(1.5 * logits, labels)
    loss.backward()  # type: ignore[no-untyped-call]
    assert GateTrainer(network, method, optimiser, 256).step(0, images, labels).item() == pytest.approx(loss.item())
    after = network.split(method.parameter.detach())
    weighed = (network.split(flat) for flat in (network.weights, before))
    for slot, new, weights, old in zip(network.slots, after, *weighed, strict=True):
        through = effective[slot.name].grad
        assert through is not None
        gradient = through.flatten() * weights * slot.scale * old.sign() + 1e-4 * old
        assert torch.allclose(new, old - 0.1 * gradient, rtol=1e-4, atol=1e-6)


def test_the_gradients_of_all_shares_are_that_of_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without BatchNorm, whose statistics are a process's own: 255 images in two shares of 128 and 127."""
    run = training_run(4, batch_size=255)
    given: list[torch.Tensor] = []

    def keep(_: DistributedContext, tensor: torch.Tensor) -> torch.Tensor:
        given.append(tensor.clone())
        return tensor

    monkeypatch.setattr(DistributedContext, "all_reduce_sum", keep)
    for context in (DistributedContext(), DistributedContext(0, 2), DistributedContext(1, 2)):
        module = nn.Sequential(nn.Flatten(), nn.Linear(64, 30), nn.ReLU(), nn.Linear(30, 10))
        network = FlatNetwork(module, 0, 0.5, CPU)
        method = registry.make("crbg", network, make_target(0.5, 4))
        images, labels = next(run.batches(run.order(), shard=context.shard))
        GateTrainer(network, method, method.optimiser(), 255, context=context).step(0, images, labels)
    whole, first, second = given
    assert torch.allclose(first + second, whole, rtol=1e-4, atol=1e-6)
