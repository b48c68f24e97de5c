"""Which checkpoint a training may resume from: one of the same request, of the same weights, masks and teachers."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from slt_compress.pipeline.resume import check, course
from slt_compress.pruning.config import FindConfig, PruneConfig, TrainConfig
from slt_compress.pruning.finish import ROUNDED, Job
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.checkpoint import Checkpoints, digest_of
from slt_compress.training.distillation import Teacher

Given = Ticket | Teacher | Mapping[str, torch.Tensor] | None  # what a training begins with, or learns from

_COMMANDS = {PruneConfig: "prune", FindConfig: "find-ticket", TrainConfig: "train"}
_AFTERWARDS = {"run", "values", "store_weights", "controls"}  # what has no influence on the steps


def kept(
    job: Job,
    checkpoints: Checkpoints | None,
    config: PruneConfig | FindConfig | TrainConfig,
    given: Mapping[str, Given] | None = None,
) -> Job:
    """Return a job with its checkpoints. `given` is what it was given besides its settings.

    Raises UsageError for checkpoints of another request, CheckpointError for damaged ones, OutputError if they could
    not be written.
    """
    if checkpoints is None:
        return job
    asked = {name.replace("_", " "): value for name, value in vars(config).items() if name not in _AFTERWARDS}
    values = getattr(config, "values", None)
    known_by = {
        "command": _COMMANDS[type(config)],
        **course(job.config, job.prepared, job.origin.initialiser, job.prepared.source.build()),
        **asked,
        "rounding": values if values in ROUNDED else None,
        **{name: _digest(one) for name, one in (given or {}).items()},
    }
    training = replace(checkpoints, what="training", identity=known_by)
    check(training, job.reporter)
    steps = job.run.budget.steps
    if training.every and training.every >= steps:
        job.reporter.note(
            f"`checkpoint_every={training.every}` keeps nothing of a training of {steps:,} steps but its end"
        )
    for one in training.present() if training.resume else ():
        one.find()
    return replace(job, checkpoints=training)


def _digest(given: Given) -> str | None:
    if given is None or isinstance(given, Ticket):
        return given.digest if given else None
    return digest_of({}, given.module.state_dict() if isinstance(given, Teacher) else given)
