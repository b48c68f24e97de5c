"""Ticket search with rewinding: rounds, resets and masks against the papers' words."""

from typing import Any

import pytest
import torch

from slt_compress.errors import SltError, UsageError
from slt_compress.evaluation.accuracy import Evaluation
from slt_compress.methods import registry
from slt_compress.methods.base import Target
from slt_compress.pipeline.find import UnmeasuredError, UnmeasuredInterrupt
from slt_compress.pipeline.measure import evaluate_ticket
from slt_compress.pruning import rounds
from slt_compress.pruning.config import FindConfig
from slt_compress.pruning.finish import train_through
from slt_compress.pruning.recipes import WeightRecipe
from slt_compress.pruning.rewind import Rewinding
from slt_compress.pruning.rounds import Rounds, find, reset_scores
from slt_compress.pruning.trainer import WeightTrainer
from slt_compress.ticket.ticket import Ticket
from tests.support.pruned import LENET, generator, lenet_job, prepared_lenet, trained_network, trainer_for


def test_scores_are_reset_as_the_paper_says() -> None:
    """Savarese et al., algorithm 2: s ← min(β·s, s₀), with β = 200 at the end of a round."""
    network = trained_network(lenet_job())
    target = Target(0.5, 4, 0, generator())
    options = {"initial_score": 0.05}
    before, after = (
        registry.make("continuous-sparsification", network, target, recipe="paper", options=options) for _ in range(2)
    )
    scores = torch.linspace(-0.3, 0.3, len(before.parameter))
    before.parameter.data.copy_(scores)
    reset_scores(after, before)
    slow = torch.tensor([min(200.0 * one, 0.05) for one in scores.tolist()])
    free = network.searchable
    assert torch.allclose(after.parameter.detach()[free], slow[free], atol=1e-4)


@pytest.mark.parametrize("method", ["magnitude", "continuous-sparsification"])
@pytest.mark.parametrize("k", [0, 4])
def test_every_round_begins_at_the_early_weights(method: str, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    job = lenet_job(24)
    config = FindConfig(run=job.config, method=method, rounds=3, rewind_steps=k, sparsity=(0.5, 0.9))
    network = trained_network(job)
    recipe = WeightRecipe(0.01)
    trainer = trainer_for(job, network, recipe)
    length = (24 - k) // 3 + k
    rounds = Rounds(config, job, Rewinding(k, length, recipe), recipe)
    starts: list[torch.Tensor] = []
    rounds.begin(trainer)
    after = rounds.after

    def seen(done: int, trainer: WeightTrainer) -> None:
        after(done, trainer)
        if done in (k, length, 2 * length - k):
            starts.append(network.weights.clone())

    monkeypatch.setattr(rounds, "after", seen)
    if not k:
        starts.append(network.weights.clone())
    train_through(job, trainer, rounds)
    assert len(starts) == 3
    assert all(torch.equal(start, rounds.early[""]) for start in starts)
    assert {sparsity: int(mask.sum()) for sparsity, mask in rounds.masks.items()} == {0.5: 25_100, 0.9: 5_020}
    if method == "magnitude":
        assert not bool((rounds.masks[0.9] & ~rounds.masks[0.5]).any())


@pytest.mark.parametrize("method", ["magnitude", "continuous-sparsification"])
@pytest.mark.parametrize("recipe", ["default", "paper"])
def test_tickets_keep_their_word(method: str, recipe: str) -> None:
    config = FindConfig(run=lenet_job(12).config, method=method, recipe=recipe, sparsity=(0.8, 0.3))
    result = find(LENET, config, prepared=prepared_lenet(12))
    assert [found.sparsity for found in result.tickets] == [0.8, 0.3]
    for found in result.tickets:
        ticket = Ticket.from_bytes(found.ticket.to_bytes())
        assert ticket.sparsity == pytest.approx(found.sparsity, abs=1e-4)
        assert ticket.initialiser == "kaiming-normal"
        assert ticket.version == 1  # a seed and a mask are all there is
        assert ticket.provenance.metrics["accuracy"] == found.test.accuracy


def test_weights_of_the_early_step_can_be_stored() -> None:
    fields: dict[str, Any] = {"run": lenet_job(12).config, "method": "magnitude", "rewind_steps": 3, "rounds": 2}
    (kept,) = find(LENET, FindConfig(**fields, store_weights=True), prepared=prepared_lenet(12)).tickets
    (alone,) = find(LENET, FindConfig(**fields), prepared=prepared_lenet(12)).tickets
    assert kept.ticket.provenance.rewind_steps == alone.ticket.provenance.rewind_steps == 3
    assert {layer.values.type for layer in kept.ticket.layers if layer.values} == {"fp16"}
    assert alone.ticket.values_bytes == 0
    assert all((kept.ticket.mask(layer.name) == alone.ticket.mask(layer.name)).all() for layer in kept.ticket.layers)


def test_rounds_need_steps() -> None:
    config = FindConfig(run=lenet_job(12).config, rewind_steps=10, rounds=3)
    with pytest.raises(UsageError, match="`rewind_steps=10` leaves no step for each of 3 rounds: all steps"):
        find(LENET, config, prepared=prepared_lenet(12))


@pytest.mark.parametrize(
    ("failure", "raised"), [(OSError("gone"), UnmeasuredError), (KeyboardInterrupt(), UnmeasuredInterrupt)]
)
def test_no_ticket_is_lost_where_one_cannot_be_measured(
    failure: BaseException, raised: type[UnmeasuredError | UnmeasuredInterrupt], monkeypatch: pytest.MonkeyPatch
) -> None:
    tested: list[object] = []

    def second_fails(*arguments: Any) -> Evaluation:
        tested.append(arguments)
        if len(tested) == 2:
            raise failure
        return evaluate_ticket(*arguments)

    monkeypatch.setattr(rounds, "evaluate_ticket", second_fails)
    config = FindConfig(run=lenet_job(12).config, sparsity=(0.5, 0.8, 0.9))
    with pytest.raises(raised) as caught:
        find(LENET, config, prepared=prepared_lenet(12))
    told = caught.value
    assert isinstance(told, UnmeasuredError | UnmeasuredInterrupt)
    assert told.ticket.kept == 10_040
    assert [one.kept for one in told.others] == [25_100, 5_020]
    assert [bool(one.provenance.metrics) for one in told.others] == [True, False]


def test_a_search_that_has_diverged_is_told() -> None:
    config = FindConfig(run=lenet_job(12).config, learning_rate=3e38)
    with pytest.raises(SltError, match="the training has diverged"):
        find(LENET, config, prepared=prepared_lenet(12))
