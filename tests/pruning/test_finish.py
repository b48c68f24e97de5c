"""From a trained network to a ticket: what is measured is what a reader gets, and nothing that was made is lost."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from slt_compress import evaluate
from slt_compress.errors import DataError, SltError, TicketError, UnreachableError, UsageError
from slt_compress.models.source import own_source
from slt_compress.pipeline import measure
from slt_compress.pipeline.find import UnmeasuredError, UnmeasuredInterrupt
from slt_compress.pruning.config import TRAINED
from slt_compress.pruning.finish import (
    Job,
    check_readable,
    evaluate_as_it_is,
    finish,
    measure_statistics,
    measured,
    one_of_each,
    train_through,
)
from slt_compress.pruning.recipes import WeightRecipe
from slt_compress.ticket.ticket import Ticket
from tests.support.pruned import lenet_job, own_network, prepared_lenet, trained_network, trainer_for
from tests.support.reporters import RecordingReporter


@pytest.mark.parametrize("values", ["fp32", "fp16", "int8", "int4"])
def test_the_result_is_that_of_the_written_ticket(values: str) -> None:
    reporter = RecordingReporter()
    job = lenet_job(20, reporter, codec="rice")
    network = trained_network(job)
    trainer = trainer_for(job, network)
    trainer.harden(network.mask & (torch.arange(len(network.mask)) % 4 == 0))
    trained = train_through(job, trainer)
    assert len(reporter.steps) == len(trained.history) == 20
    result = measured(job, finish(job, network, trained, values, "magnitude", {"rounds": 3}))
    ticket = Ticket.from_bytes(result.ticket.to_bytes())
    assert ticket.version == 2
    assert {layer.values.type for layer in ticket.layers if layer.values} == {values}
    assert {mask.codec for mask in ticket.masks} == {"rice"}
    assert evaluate(ticket).accuracy == result.accuracy == ticket.provenance.metrics["accuracy"]
    assert ticket.provenance.metrics["validation_accuracy"] == result.validation.accuracy
    assert ticket.provenance.method.settings == {"rounds": 3}
    assert result.unrounded is not None
    assert result.rounding_drop == result.unrounded.accuracy - result.validation.accuracy
    assert abs(result.rounding_drop) < 0.03
    assert result.images_per_second == pytest.approx(20 * 64 / trained.seconds)
    assert result.dense_bytes == 4 * (50_200 + 2 * 410) + 3 * 8


def test_statistics_are_those_of_the_mask() -> None:
    job = lenet_job()
    network = trained_network(job)
    measure_statistics(job, network)
    full = network.module.get_buffer("2.running_var").clone()
    network.mask = network.mask & (torch.arange(len(network.mask)) % 4 == 0)
    measure_statistics(job, network)
    assert network.module.get_buffer("2.running_var").mean() < 0.5 * full.mean()
    assert not network.module.training
    assert evaluate_as_it_is("held-out", job, network).samples == 143


UNMEASURED = [(OSError("gone"), UnmeasuredError), (KeyboardInterrupt(), UnmeasuredInterrupt)]


@pytest.mark.parametrize(("error", "kind"), UNMEASURED)
def test_a_ticket_that_cannot_be_measured_is_not_lost(
    error: BaseException, kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = lenet_job()
    network = trained_network(job)

    def fail(*_: Any, **__: Any) -> Iterator[None]:
        raise error

    monkeypatch.setattr(measure, "evaluate", fail)
    with pytest.raises(kind) as raised:
        finish(job, network, train_through(job, trainer_for(job, network)), "int8", "magnitude", {})
    assert raised.value.ticket.kept == 50_200  # type: ignore[attr-defined]
    monkeypatch.undo()
    finished = finish(job, network, train_through(job, trainer_for(job, network)), "int8", "magnitude", {})
    monkeypatch.setattr(measure, "evaluate", fail)
    with pytest.raises(kind) as raised:
        measured(job, finished)
    assert raised.value.ticket == finished.ticket  # type: ignore[attr-defined]


def test_statistics_that_are_not_there_have_no_form() -> None:
    vit = replace(prepared_lenet(), source=replace(prepared_lenet().source, build=lambda: torch.nn.Linear(2, 2)))
    with pytest.raises(UsageError, match="`statistics` has no meaning for lenet-300-100"):
        Job.of(vit, replace(TRAINED, statistics="fp16"), RecordingReporter())


def test_what_no_ticket_can_hold_is_refused_before_training() -> None:
    job = lenet_job()
    network = trained_network(job)
    check_readable(job, network)
    assert torch.equal(network.mask, network.searchable)
    assert [int(part.sum()) for part in network.split(one_of_each(network))] == [1, 1, 1]
    with pytest.raises(DataError, match="no ticket can hold what the data names: "):
        check_readable(replace(job, prepared=replace(job.prepared, classes=("x" * 2000,) * 10)), network)
    own = replace(job.prepared, source=own_source(own_network()), classes=("x" * 2000,) * 10)
    with pytest.raises(TicketError):
        check_readable(replace(job, prepared=own), network)


def test_a_training_that_has_diverged_is_told() -> None:
    job = lenet_job()
    network = trained_network(job)
    trained = train_through(job, trainer_for(job, network, WeightRecipe(1e38)))
    with pytest.raises(SltError, match="the training has diverged, its weights are not finite: give a lower `learning"):
        finish(job, network, trained, "fp16", "magnitude", {})


def test_weights_beyond_fp16_are_told_with_what_to_do() -> None:
    job = lenet_job()
    network = trained_network(job)
    trained = train_through(job, trainer_for(job, network, WeightRecipe(1e-3)))
    network.weights.mul_(1e6)
    with pytest.raises(UnreachableError, match=r"do not fit into `values=fp16` .*: give `values=fp32`, or a lower"):
        finish(job, network, trained, "fp16", "magnitude", {})
