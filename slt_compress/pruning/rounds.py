"""Ticket search with rewinding: a network is trained in rounds, each from the same early weights, and after each its
mask is smaller.

Iterative magnitude pruning: Frankle & Carbin (arXiv:1803.03635), rewound to step k as in Frankle et al.
(arXiv:1912.05671). Continuous sparsification: Savarese et al. (arXiv:1912.04427), where scores are trained beside the
weights, and between two rounds, at slope 1 again,

    s ← min(β·s, s₀)        so that what was suppressed stays so, and what was kept is free to go.

In the published code (lolemacs/continuous-sparsification) that is `prune` of models/layers.py.
"""

from collections.abc import Mapping
from typing import Any

import torch

from slt_compress.errors import UsageError
from slt_compress.masking.ranking import Ranking
from slt_compress.methods.base import Method, Target
from slt_compress.models.source import Given
from slt_compress.pipeline.find import UnmeasuredError, UnmeasuredInterrupt
from slt_compress.pipeline.measure import evaluate_ticket, provenance, settle
from slt_compress.pipeline.prepare import OwnData, Prepared, prepare
from slt_compress.progress import SILENT, ProgressReporter
from slt_compress.pruning.config import FindConfig
from slt_compress.pruning.finish import Job, check_readable, measure_statistics, refuse_diverged, train_through
from slt_compress.pruning.gated import make
from slt_compress.pruning.names import CONTINUOUS_SPARSIFICATION
from slt_compress.pruning.network import State, TrainedNetwork, initialise
from slt_compress.pruning.pack import pack_seed, pack_values, round_weights
from slt_compress.pruning.recipes import WeightRecipe, weight_recipe
from slt_compress.pruning.results import FindResult, FoundTicket
from slt_compress.pruning.resume import kept
from slt_compress.pruning.rewind import Rewinding
from slt_compress.pruning.steps import Follower
from slt_compress.pruning.trainer import WeightTrainer
from slt_compress.tasks.task import Task
from slt_compress.ticket.schema import SearchRecord
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.checkpoint import Checkpoints, grouped, of_group
from slt_compress.training.loop import torch_seed

DEFAULT_ROUNDS = {"magnitude": 5, CONTINUOUS_SPARSIFICATION: 3}


class Rounds(Follower):
    """Follows a training through its rounds, and notes a mask for each sparsity that was asked for.

    Round r, counted from 1, ends at the density that is the last one's to the power r / rounds. A sparsity between the
    ends of two rounds gets its mask at the end of the later one, of the weights or scores that this has trained.

    Attributes:
        masks: by sparsity, flat bool.
        early: the weights of step k.
    """

    def __init__(self, config: FindConfig, job: Job, rewinding: Rewinding, recipe: WeightRecipe) -> None:
        """Plan the rounds of a run; `recipe` is that of the weights after the steps of the rewinding."""
        super().__init__(torch.Generator(job.prepared.device).manual_seed(torch_seed(config.run.seed)))
        self.masks: dict[float, torch.Tensor] = {}
        self.early: State = {}
        self._config = config
        self._rewinding = rewinding
        self._recipe = recipe
        self._count = config.rounds or DEFAULT_ROUNDS[config.method]
        self._steps = job.run.budget.steps
        self._last = 1 - max(config.sparsities)
        self._round = 1
        self._method: Method | None = None

    @property
    def _is_gated(self) -> bool:
        return self._config.method == CONTINUOUS_SPARSIFICATION

    def _density(self, index: int) -> float:
        """Return the density at the end of a round."""
        return float(self._last ** (index / self._count))

    def begin(self, trainer: WeightTrainer) -> None:
        k, length = self._rewinding.steps, self._rewinding.schedule
        trainer.restart(0, length, self._rewinding.recipe if k else self._recipe)
        if not k:
            self.early = trainer.network.state()
            self._soften(trainer)

    def after(self, done: int, trainer: WeightTrainer) -> None:
        k, length = self._rewinding.steps, self._rewinding.schedule
        if self._round == 1 and done == k > 0:
            self.early = trainer.network.state()
            trainer.restart(0, length, self._recipe)
            self._soften(trainer)
        if done != self._end():
            return
        self._note(trainer)
        if self._round == self._count:
            return
        network = trainer.network
        if not self._is_gated:
            trainer.harden(self._ranked(trainer, self._density(self._round)))
        network.load(self.early)
        trainer.restart(done - k, length)
        self._round += 1
        self._soften(trainer)

    def state_dict(self) -> dict[str, torch.Tensor]:
        masks = {str(place): self.masks[one] for place, one in enumerate(self._config.sparsities) if one in self.masks}
        found = {**super().state_dict(), "round": torch.tensor(self._round)}
        return found | grouped("masks", masks) | grouped("early", self.early)

    def load_state_dict(self, tensors: Mapping[str, torch.Tensor], trainer: WeightTrainer) -> None:
        device, sparsities = trainer.network.weights.device, self._config.sparsities
        self._round = int(tensors["round"])
        self.masks = {sparsities[int(place)]: one.to(device) for place, one in of_group("masks", tensors).items()}
        self.early = {name: one.to(device) for name, one in of_group("early", tensors).items()}
        if self.early:  # the dense steps are over
            trainer.restart(0, self._rewinding.schedule, self._recipe)
            self._soften(trainer)
        super().load_state_dict(tensors, trainer)

    def _end(self) -> int:
        """Return at which step the present round ends: rounds after the first have no dense steps."""
        later = (self._round - 1) * (self._rewinding.schedule - self._rewinding.steps)
        return self._rewinding.schedule + later if self._round < self._count else self._steps

    def _note(self, trainer: WeightTrainer) -> None:
        """Note the masks of sparsities that this round has reached."""
        before = self._density(self._round - 1)
        for sparsity in self._config.sparsities:
            last = self._round == self._count
            reached = before > 1 - sparsity >= self._density(self._round) or last
            if sparsity not in self.masks and (reached or sparsity == 0):
                self.masks[sparsity] = self._ranked(trainer, 1 - sparsity)

    def _ranked(self, trainer: WeightTrainer, density: float) -> torch.Tensor:
        """Return the mask of the largest weights, or the highest scores, that are left."""
        network, layered = trainer.network, self._config.scope == "layer"
        scores = network.weights.abs()
        if self._method is not None:
            scores = self._method.parameter.detach()
        scores = scores.masked_fill(~network.mask, -1e9)
        return Ranking(network, density, layered=layered).mask(scores, self._generator)

    def _soften(self, trainer: WeightTrainer) -> None:
        """Put gates on the network, with the scores that the last round has left, if there was one."""
        if not self._is_gated:
            return
        config, before = self._config, self._method
        steps = self._rewinding.schedule
        target = Target(self._density(self._round), steps, config.run.seed, self._generator)
        method = make(config.method, trainer.network, target, config.recipe, {"scope": config.scope})
        if before is not None:
            reset_scores(method, before)
        self._method = method
        trainer.soften(method)


def reset_scores(method: Method, before: Method) -> None:
    """Give the gates of a new round the scores of the last one: min(β·s, s₀), β being the slope that it has reached in
    units of the one that it began with, and s counted from its middle.
    """
    settings: Any = before.settings()
    slope = settings["slope_end"] / settings["slope_start"]
    middle = before.state_dict()["middle"]
    with torch.no_grad():
        scores = (before.parameter.detach() - middle) * slope
        method.parameter.copy_(torch.minimum(scores, method.parameter.detach()))


def find(
    model: str | Given,
    config: FindConfig,
    reporter: ProgressReporter = SILENT,
    *,
    data: OwnData | None = None,
    task: Task | None = None,
    prepared: Prepared | None = None,
    checkpoints: Checkpoints | None = None,
) -> FindResult:
    """Search tickets whose kept weights, from the seed or from step k of dense training, train well.

    The arguments are those of `prune.prune`. Raises UsageError for rounds too short for the rewinding, SltError if
    the training has diverged, and with all tickets, if one cannot be measured, UnmeasuredError or UnmeasuredInterrupt.
    """
    job = Job.of(prepared or prepare(model, config.run, reporter, data=data, task=task), config.run, reporter)
    job = kept(job, checkpoints, config)
    module = job.prepared.source.build()
    scales = initialise(module, config.run.seed, job.origin.initialiser)
    network = TrainedNetwork(module, job.prepared.device)
    count = config.rounds or DEFAULT_ROUNDS[config.method]
    steps, k = job.run.budget.steps, config.rewind_steps
    length = (steps - k) // count + k
    if length - k < 1:
        raise UsageError(
            f"`rewind_steps={k}` leaves no step for each of {count} rounds: all steps together are {steps}"
        )
    recipe = weight_recipe(module, config.recipe, config.learning_rate, method=config.method)
    rewinding = Rewinding(k, length, weight_recipe(module, config.recipe, config.learning_rate))
    rounds = Rounds(config, job, rewinding, recipe)
    check_readable(job, network)
    trainer = WeightTrainer(network, job.run, recipe)
    reporter.note(
        f"{job.prepared.source.name} on {job.prepared.data_name}: {network.size:,} weights trained in {count} rounds "
        f"from step {k}, {steps:,} steps of {job.run.budget.batch_size} on {job.prepared.device}"
    )
    rounds.begin(trainer)
    trained = train_through(job, trainer, rounds)
    refuse_diverged(job, network)
    dense_bytes = sum(tensor.nbytes for tensor in network.module.state_dict().values())
    said = {"recipe": config.recipe, "rounds": count, "scope": config.scope}
    if k:
        said["rewinding"] = rewinding.settings(job)
    record = SearchRecord(config.method, steps, job.run.budget.batch_size, {**job.run.unusual_settings(), **said})
    packed = []
    for sparsity in config.sparsities:
        network.load(rounds.early)
        network.mask = rounds.masks[sparsity] & network.searchable
        packed.append(_pack(job, network, record, config, scales))
    tickets: list[FoundTicket] = []
    for place, sparsity in enumerate(config.sparsities):  # all are there by then: none is lost by what comes now
        others = [*(one.ticket for one in tickets), *packed[place + 1 :]]
        try:
            tickets.append(_measure(job, packed[place], sparsity))
        except KeyboardInterrupt as interrupt:
            raise UnmeasuredInterrupt(packed[place], others) from interrupt
        except Exception as error:  # whatever it is, the search was long
            raise UnmeasuredError(packed[place], error, others) from error
    return FindResult(
        tickets=tuple(tickets),
        dense_bytes=dense_bytes,
        epochs=job.run.budget.epochs,
        seconds=trained.seconds,
        images_per_second=steps * job.run.budget.batch_size / trained.seconds,
    )


def _pack(
    job: Job,
    network: TrainedNetwork,
    record: SearchRecord,
    config: FindConfig,
    scales: dict[str, float],
) -> Ticket:
    """Return the ticket of the present mask on the early weights, without metrics."""
    said = provenance(job.prepared, network.module, record, config.rewind_steps)
    if config.store_weights:
        round_weights(network, "fp16")
        measure_statistics(job, network)
        return pack_values(network, job.prepared, said, job.origin, "fp16", config.run.codec)
    if config.rewind_steps:  # what the file restores to are the weights of the seed
        generated = job.prepared.source.build()
        initialise(generated, config.run.seed, job.origin.initialiser)
        fresh = TrainedNetwork(generated, job.prepared.device)
        fresh.mask = network.mask
        network = fresh
    measure_statistics(job, network)
    return pack_seed(network, job.prepared, said, job.origin, scales, config.run.codec)


def _measure(job: Job, ticket: Ticket, sparsity: float) -> FoundTicket:
    """Return a ticket with its metrics."""
    ticket, validation = settle(ticket, job.config.statistics, job.prepared, job.reporter)
    test = evaluate_ticket("test", ticket, job.prepared, job.reporter)
    name = test.metric_name
    metrics = {name: test.metric, "loss": test.loss, f"validation_{name}": validation.metric}
    return FoundTicket(ticket.with_metrics(**metrics), sparsity, test, validation)
