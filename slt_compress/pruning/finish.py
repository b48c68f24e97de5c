"""From a trained network to a measured ticket: rounded, with its statistics, and tested once."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from slt_compress.config import SearchConfig
from slt_compress.data.augment import Augmentation
from slt_compress.data.workers import lost_workers
from slt_compress.errors import DataError, SltError, TicketError, UnreachableError, UsageError
from slt_compress.evaluation.accuracy import Evaluation, evaluate, torch_classifier
from slt_compress.masking.parameters import statistic_names
from slt_compress.pipeline.find import UnmeasuredError, UnmeasuredInterrupt, rehearse
from slt_compress.pipeline.measure import check_reference, evaluate_ticket, provenance, reference_of, settle
from slt_compress.pipeline.prepare import Prepared
from slt_compress.pipeline.resume import make_steps
from slt_compress.prng import SeedRecipe
from slt_compress.progress import ProgressReporter, TrainingProgress
from slt_compress.pruning.network import TrainedNetwork
from slt_compress.pruning.pack import pack_values, round_weights
from slt_compress.pruning.results import TrainedResult
from slt_compress.pruning.steps import Follower, TrainingState
from slt_compress.pruning.trainer import WeightTrainer
from slt_compress.ticket.schema import SearchRecord
from slt_compress.ticket.stored import FP32
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.batchnorm import recalibrate
from slt_compress.training.checkpoint import Checkpoints
from slt_compress.training.loop import Clock, TrainingRun, noise

# Share of the steps, the last ones, that compute with rounded weights, where that pays, see docs/pruning.md.
ROUNDED = {"int4": 0.2}


class DivergedError(SltError):
    """The weights of a training are not finite."""


@dataclass(frozen=True)
class Job:
    """What the jobs of this room have in common.

    Attributes:
        prepared: network and data.
        config: seed, budget, and how the ticket is written.
        run: what a training sees.
        reporter: who is told how it is going.
        checkpoints: where the state of its trainings is kept.
    """

    prepared: Prepared
    config: SearchConfig
    run: TrainingRun
    reporter: ProgressReporter
    checkpoints: Checkpoints | None = None

    @classmethod
    def of(cls, prepared: Prepared, config: SearchConfig, reporter: ProgressReporter) -> "Job":
        """Return the job of a request. Raises UsageError for a network that no ticket can hold."""
        if not prepared.source.is_named:
            rehearse(prepared)
        if config.statistics != "auto" and not statistic_names(prepared.source.build()):
            raise UsageError(f"`statistics` has no meaning for {prepared.source.name}, which has none to be stored")
        if config.reference:
            check_reference(prepared)
        run = replace(prepared.run, seed=config.seed, augmentation=Augmentation(config.augment, config.seed))
        return cls(prepared, config, run, reporter)

    def part(self, name: str) -> "Job":
        """Return the job of a further training, which has a checkpoint of its own."""
        return replace(self, checkpoints=self.checkpoints.of(name)) if self.checkpoints else self

    @property
    def origin(self) -> SeedRecipe:
        """What a ticket generates."""
        assert self.config.initialiser
        return SeedRecipe(self.config.seed, self.config.initialiser)


@dataclass(frozen=True)
class Trained:
    """What a training leaves.

    Attributes:
        seconds: time of the steps.
        history: its reports.
    """

    seconds: float
    history: tuple[TrainingProgress, ...]


def train_through(job: Job, trainer: WeightTrainer, follower: Follower | None = None, values: str = FP32) -> Trained:
    """Make all steps of a run, or those that are left of it; the follower has begun. Where it pays for these values of
    the file, the last ones are made with rounded weights.
    """
    steps = job.run.budget.steps
    rounded_from = steps - int(steps * ROUNDED.get(values, 0.0))
    history: list[TrainingProgress] = []
    clock = Clock()
    with job.reporter.training_progress() as report:

        def record(progress: TrainingProgress) -> None:
            history.append(progress)
            if report:
                report(progress)

        state = TrainingState(trainer, follower)
        steps_made = make_steps(
            trainer, state, job.run, clock, job.reporter, report=record, checkpoints=job.checkpoints
        )
        for done in steps_made:
            if follower:
                follower.after(done, trainer)
            if done == rounded_from < steps:
                trainer.rounding = values
        trainer.network.weights.sum().item()  # waits for a GPU
        seconds = clock.seconds()
    return Trained(seconds, tuple(history))


def measure_statistics(job: Job, network: TrainedNetwork) -> None:
    """Measure the statistics of the norms under the present mask, and leave the module in evaluation mode."""
    run = job.run
    network.set_gate(network.mask)
    with noise(run, run.budget.steps, job.prepared.device):
        recalibrate(network.module, run.train, run.feed, run.budget.batch_size, run.order())


def evaluate_as_it_is(name: str, job: Job, network: TrainedNetwork) -> Evaluation:
    """Evaluate a network, not its ticket, on the "held-out" or the "test" examples."""
    split = job.run.validation if name == "held-out" else job.prepared.test
    with job.reporter.counter(f"evaluating on {name} {job.prepared.examples}") as report:
        classifier = torch_classifier(network.module, job.prepared.device)
        return evaluate(classifier, split, job.run.feed, report, task=job.run.task)


def check_readable(job: Job, network: TrainedNetwork) -> None:
    """Raise DataError, before a long training, if a reader would refuse its ticket, such as for too many classes;
    TicketError, with the name, for a part of a user's network that no ticket can hold.
    """
    said = provenance(job.prepared, network.module, SearchRecord("train", 0, job.run.budget.batch_size, {}))
    kept, network.mask = network.mask, one_of_each(network)
    try:
        pack_values(network, job.prepared, said, job.origin, FP32, "auto")
    except TicketError as error:
        if not job.prepared.source.is_named:
            raise
        raise DataError(f"no ticket can hold what the data names: {error}") from error
    finally:
        network.mask = kept


def one_of_each(network: TrainedNetwork) -> torch.Tensor:
    """Return the mask of the first weight of each tensor, flat bool."""
    mask = torch.zeros_like(network.searchable)
    mask[[slot.offset for slot in network.slots]] = True
    return mask


def refuse_diverged(job: Job, network: TrainedNetwork) -> None:
    """Raise DivergedError if a training has diverged; nobody goes on from its checkpoint, which goes."""
    if not all(bool(torch.isfinite(one).all()) for one in (network.weights, *network.module.parameters())):
        if job.checkpoints:
            job.checkpoints.remove()
        raise DivergedError("the training has diverged, its weights are not finite: give a lower `learning_rate`")


@dataclass(frozen=True)
class Finished:
    """A trained network as a ticket, not yet tested.

    Attributes:
        ticket: without metrics.
        validation: of the ticket, on held-out examples.
        unrounded: of the network before rounding, likewise.
        dense_bytes: size of its state dict in fp32.
        trained: what its training has left.
    """

    ticket: Ticket
    validation: Evaluation
    unrounded: Evaluation
    dense_bytes: int
    trained: Trained


@lost_workers()
def finish(
    job: Job, network: TrainedNetwork, trained: Trained, values: str, method: str, settings: dict[str, Any]
) -> Finished:
    """Round the weights of a trained network, pack it, and measure it on the held-out examples.

    Raises DivergedError if the training has, UnreachableError if the file cannot hold the values; UnmeasuredError,
    with the ticket, if it cannot be measured; UnmeasuredInterrupt likewise for a KeyboardInterrupt.
    """
    refuse_diverged(job, network)
    budget = job.run.budget
    record = SearchRecord(method, budget.steps, budget.batch_size, {**job.run.unusual_settings(), **settings})
    dense_bytes = sum(tensor.nbytes for tensor in network.module.state_dict().values())
    with _unmeasured() as made:
        measure_statistics(job, network)
        unrounded = evaluate_as_it_is("held-out", job, network)
        if values != FP32:
            try:
                round_weights(network, values)
            except UnreachableError as error:
                raise UnreachableError(
                    f"the trained weights do not fit into `values={values}` ({error}): give `values=fp32`, or a lower "
                    "`learning_rate` if the training has diverged"
                ) from error
            measure_statistics(job, network)
        said = provenance(job.prepared, network.module, record)
        made.append(pack_values(network, job.prepared, said, job.origin, values, job.config.codec))
        ticket, validation = settle(made[-1], job.config.statistics, job.prepared, job.reporter)
        made.append(ticket)
        if job.config.reference:
            ticket = ticket.with_reference(reference_of(ticket, job.prepared, job.reporter))
    return Finished(ticket, validation, unrounded, dense_bytes, trained)


@lost_workers()
def measured(job: Job, finished: Finished) -> TrainedResult:
    """Measure a ticket on the test examples: once, after all is decided. Raises as `finish` does."""
    ticket, validation, trained, budget = finished.ticket, finished.validation, finished.trained, job.run.budget
    with _unmeasured() as made:
        made.append(ticket)
        test = evaluate_ticket("test", ticket, job.prepared, job.reporter)
    name = test.metric_name
    return TrainedResult(
        ticket=ticket.with_metrics(**{name: test.metric, "loss": test.loss, f"validation_{name}": validation.metric}),
        test=test,
        validation=validation,
        dense_bytes=finished.dense_bytes,
        epochs=budget.epochs,
        seconds=trained.seconds,
        images_per_second=budget.steps * budget.batch_size / trained.seconds,
        history=trained.history,
        unrounded=finished.unrounded,
    )


@contextlib.contextmanager
def _unmeasured() -> Iterator[list[Ticket]]:
    """Give a list for what is made; if measuring fails, raise with the last of it, so that it can be saved."""
    made: list[Ticket] = []
    try:
        yield made
    except KeyboardInterrupt as interrupt:
        if not made:
            raise
        raise UnmeasuredInterrupt(made[-1]) from interrupt
    except Exception as error:
        if not made:
            raise
        raise UnmeasuredError(made[-1], error) from error
