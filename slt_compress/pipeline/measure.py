"""What a ticket says of itself, and what is measured of it: always of the network that a reader of its file gets."""

import contextlib

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from slt_compress.errors import UnreachableError, UsageError
from slt_compress.evaluation.accuracy import Evaluation, evaluate, torch_classifier
from slt_compress.masking.parameters import statistic_names
from slt_compress.models.registry import architecture_digest
from slt_compress.monitoring.observe import observe_split
from slt_compress.pipeline.prepare import Prepared
from slt_compress.progress import ProgressReporter
from slt_compress.tasks.record import CLASSIFICATION
from slt_compress.ticket.held_out import Reference
from slt_compress.ticket.schema import Provenance, SearchRecord
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.distributed import SINGLE_PROCESS, DistributedContext


def provenance(prepared: Prepared, module: nn.Module, method: SearchRecord, rewind_steps: int = 0) -> Provenance:
    """Return what a ticket says of where it comes from and what its network is for, without metrics."""
    return Provenance(
        model=prepared.source.spec,
        library=prepared.source.library,
        architecture=architecture_digest(module),
        dataset=prepared.dataset,
        classes=list(prepared.classes),
        preprocessing=prepared.preprocessing,
        method=method,
        metrics={},
        inputs=prepared.inputs,
        outputs=prepared.outputs,
        task=prepared.run.task.record,
        rewind_steps=rewind_steps,
    )


def statistics_of(prepared: Prepared, module: nn.Module) -> dict[str, npt.NDArray[np.float32]]:
    """Return the floating-point buffers of a trained module that no builder and no seed gives, by name.

    Raises UsageError, naming the buffer, for one that cannot be stored.
    """
    names = (*statistic_names(module), *prepared.source.unsettled_buffers(module))
    return {name: module.get_buffer(name).detach().cpu().numpy().copy() for name in names}


def settle(
    ticket: Ticket,
    statistics: str,
    prepared: Prepared,
    reporter: ProgressReporter,
    context: DistributedContext = SINGLE_PROCESS,
) -> tuple[Ticket, Evaluation]:
    """Return the ticket with its statistics in the chosen form, and its evaluation on held-out examples.

    "auto" is decided by the predictions on these; where there are none, it means fp32.
    """
    if statistics == "fp16":
        ticket = ticket.with_half_statistics()
    validation = evaluate_ticket("held-out", ticket, prepared, reporter, context)
    if statistics == "auto" and ticket.statistics and validation.predictions is not None:
        with contextlib.suppress(UnreachableError):  # too large for fp16
            half = ticket.with_half_statistics()
            shorter = evaluate_ticket("held-out", half, prepared, reporter, context)
            assert shorter.predictions is not None
            if torch.equal(validation.predictions, shorter.predictions):
                return half, shorter
    return ticket, validation


def evaluate_ticket(
    name: str,
    ticket: Ticket,
    prepared: Prepared,
    reporter: ProgressReporter,
    context: DistributedContext = SINGLE_PROCESS,
) -> Evaluation:
    """Evaluate the network that a reader of the ticket's file gets on the "held-out" or the "test" examples."""
    run = prepared.run
    classifier = torch_classifier(restored(ticket, prepared), prepared.device)
    split = run.validation if name == "held-out" else prepared.test
    with reporter.counter(f"evaluating on {name} {prepared.examples}") as report:
        return evaluate(classifier, split, run.feed, report, context, task=run.task)


def restored(ticket: Ticket, prepared: Prepared) -> nn.Module:
    """Return the network that a reader of the ticket's file gets."""
    read = Ticket.from_bytes(ticket.to_bytes())
    return read.restore() if prepared.source.is_named else read.apply_to(prepared.source.build())


def check_reference(prepared: Prepared) -> None:
    """Raise UsageError unless there can be a reference of the held-out images."""
    if prepared.preprocessing is None or prepared.run.task.record.name != CLASSIFICATION:
        raise UsageError("`reference` is for networks that give one class an image of a named data set")


def reference_of(ticket: Ticket, prepared: Prepared, reporter: ProgressReporter) -> Reference:
    """Return how the network that a reader of the ticket's file gets sees the held-out images."""
    module = restored(ticket, prepared)
    with reporter.counter("looking at held-out images") as report:
        seen = observe_split(module, prepared.run.validation, prepared.run.feed, prepared.device, report)
    return Reference.of(seen.quantities, seen.predicted, seen.labels, len(prepared.classes))
