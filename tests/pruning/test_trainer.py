"""Steps of weights: under a mask as torch alone would make them, and under gates as the paper's equations say."""

from typing import Any

import pytest
import torch
from torch.func import functional_call

from slt_compress.methods import registry
from slt_compress.methods.base import Target
from slt_compress.pruning.network import TrainedNetwork
from slt_compress.pruning.recipes import WeightRecipe
from tests.support.pruned import generator, lenet_job, trained_network, trainer_for


def flat(network: TrainedNetwork, parts: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return tensors by name as one flat tensor of the network."""
    found = torch.zeros_like(network.weights)
    for slot, part in zip(network.slots, network.split(found), strict=True):
        part.copy_(parts[slot.name].flatten())
    return found


def batch(job: Any) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, targets = next(iter(job.run.batches(job.run.order())))
    return inputs, targets


def test_under_a_mask_only_kept_weights_move_and_as_by_torch_alone() -> None:
    job = lenet_job()
    network = trained_network(job)
    recipe = WeightRecipe(0.1, "sgd", momentum=0.9)
    trainer = trainer_for(job, network, recipe)
    mask = network.mask & (torch.arange(len(network.mask)) % 2 == 0)
    trainer.harden(mask)
    module = job.prepared.source.build().train()
    module.load_state_dict(network.module.state_dict())
    shaped = dict(zip((slot.name for slot in network.slots), network.split(network.weights.clone()), strict=True))
    kept = dict(zip((slot.name for slot in network.slots), network.split(mask), strict=True))
    free = {slot.name: shaped[slot.name].view(slot.shape).clone().requires_grad_() for slot in network.slots}
    inputs, targets = batch(job)
    network.module.train()
    for step in range(2):  # the slow reference: SGD on w of loss(w · mask)
        masked = {name: one * kept[name].view(one.shape) for name, one in free.items()}
        loss = torch.nn.functional.cross_entropy(functional_call(module, masked, (inputs,)), targets.long())
        assert trainer.step(step, inputs, targets).item() == pytest.approx(loss.item(), rel=1e-5)
        gradients = torch.autograd.grad(loss, list(free.values()))
        with torch.no_grad():
            for one, gradient in zip(free.values(), gradients, strict=True):
                velocity = gradient if step == 0 else one.velocity.mul(0.9).add(gradient)  # type: ignore[attr-defined]
                one.velocity = velocity  # type: ignore[attr-defined]
                one.sub_(recipe.rate(step, job.run.budget.steps) * velocity)
    assert torch.allclose(network.weights, flat(network, free), atol=1e-6)
    assert trainer.show() == pytest.approx(1 - int(mask.sum()) / network.size)


def test_gates_and_weights_move_as_the_paper_says() -> None:
    """Savarese et al.: minimise loss(sigmoid(β·s)·w) + λ·Σ sigmoid(β·s) over w and s, by autograd here."""
    job = lenet_job(4)
    network = trained_network(job)
    penalty = 3e-3
    target = Target(0.5, 4, 0, generator())
    options = {"penalty": penalty, "initial_score": 0.1}
    method = registry.make("continuous-sparsification", network, target, recipe="paper", options=options)
    trainer = trainer_for(job, network, WeightRecipe(0.1, "sgd"))
    trainer.soften(method)
    module = job.prepared.source.build().train()
    module.load_state_dict(network.module.state_dict())
    names = [slot.name for slot in network.slots]
    weights = [
        part.view(slot.shape).clone().requires_grad_()
        for slot, part in zip(network.slots, network.split(network.weights.clone()), strict=True)
    ]
    scores = [torch.full_like(one, 0.1).requires_grad_() for one in weights]
    inputs, targets = batch(job)
    network.module.train()
    for step in range(2):
        slope = 200.0 ** (step / 4)
        gates = [torch.sigmoid(slope * score) for score in scores]
        effective = {name: one * gate for name, one, gate in zip(names, weights, gates, strict=True)}
        loss = torch.nn.functional.cross_entropy(functional_call(module, effective, (inputs,)), targets.long())
        total = loss + penalty * sum(gate.sum() for gate in gates)
        found = torch.autograd.grad(total, [*weights, *scores])
        trainer.step(step, inputs, targets)
        with torch.no_grad():
            for one, gradient in zip(weights, found[: len(weights)], strict=True):
                one.sub_(trainer._recipe.rate(step, 4) * gradient)
            for score, gradient in zip(scores, found[len(weights) :], strict=True):
                velocity = gradient if step == 0 else score.velocity.mul(0.9).add(gradient)  # type: ignore[attr-defined]
                score.velocity = velocity  # type: ignore[attr-defined]
                score.sub_(0.1 * velocity)
    assert torch.allclose(network.weights, flat(network, dict(zip(names, weights, strict=True))), atol=1e-5)
    expected = flat(network, dict(zip(names, scores, strict=True)))[network.searchable]
    assert torch.allclose(method.parameter[network.searchable], expected, atol=1e-5)
    trainer.harden(method.hard_gate())
    assert torch.equal(network.mask, (method.parameter >= 0) & network.searchable)  # H(s)


@pytest.mark.parametrize("values", ["int8", "int4"])
def test_rounded_weights_are_what_the_network_computes_with(values: str) -> None:
    job = lenet_job()
    network = trained_network(job)
    trainer = trainer_for(job, network)
    trainer.rounding = values
    trainer.show()
    rows = network.module.get_parameter("7.weight").detach()
    assert all(len(row.unique()) <= (255 if values == "int8" else 15) for row in rows)
    before = network.weights.clone()
    trainer.step(0, *batch(job))
    assert (network.weights != before).float().mean() > 0.9  # gradients pass through the rounding


def test_a_schedule_can_begin_anew() -> None:
    job = lenet_job()
    network = trained_network(job)
    trainer = trainer_for(job, network)
    inputs, targets = batch(job)
    for first in (0, 3):
        trainer.restart(first, 3)
        rates = []
        for step in range(first, first + 3):
            trainer.step(step, inputs, targets)
            rates.append(trainer._optimiser.param_groups[0]["lr"])
        assert rates == pytest.approx([0.01, 0.0075, 0.0025])
