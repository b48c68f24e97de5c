"""The dense baseline: the same network with all its weights trained, with the budget and the images of a search.

It leaves no file. It says what sparsity and frozen weights cost. Each run tries a few learning rates, each for the
whole budget, and takes the one that is best on held-out images: a baseline of a poor rate would flatter every ticket.
"""

from dataclasses import dataclass, replace

import torch
from torch import nn

from slt_compress.config import SearchConfig
from slt_compress.data.augment import Augmentation
from slt_compress.data.batches import Tensors
from slt_compress.data.workers import lost_workers
from slt_compress.evaluation.accuracy import Evaluation, evaluate, torch_classifier
from slt_compress.masking.parameters import embedding_names, freeze_ungated, gated_names, residual_branches
from slt_compress.pipeline.prepare import Prepared
from slt_compress.pipeline.resume import check, course, make_steps
from slt_compress.progress import SILENT, ProgressReporter
from slt_compress.pruning.network import initialise as start_as_a_search
from slt_compress.tasks.task import Targets
from slt_compress.training.batchnorm import recalibrate
from slt_compress.training.checkpoint import Checkpoints, grouped, moments, of_group, set_moments
from slt_compress.training.loop import Clock, TrainingRun, forward, noise, torch_seed
from slt_compress.training.recipes import DenseRecipe, recipe_for

EMBEDDING_STD = 0.02  # of embeddings and tokens: here they can learn their scale


@dataclass(frozen=True)
class DenseResult:
    """What was measured of a dense network.

    Attributes:
        test: on the test split.
        validation: on held-out training images.
        bytes: size of its state dict in fp32.
        seconds: time of the optimiser steps.
        images_per_second: training images, over all steps.
        learning_rate: the one that was best on held-out images, or that was given.
    """

    test: Evaluation
    validation: Evaluation
    bytes: int
    seconds: float
    images_per_second: float
    learning_rate: float


class DenseTrainer:
    """Optimises all parameters of a module."""

    def __init__(self, module: nn.Module, run: TrainingRun, recipe: DenseRecipe, learning_rate: float) -> None:
        self.module = module
        self._optimiser = torch.optim.AdamW(module.parameters(), weight_decay=recipe.weight_decay, fused=True)
        self._recipe = recipe
        self._learning_rate = learning_rate
        self._run = run

    def step(self, step: int, inputs: Tensors, targets: Targets) -> torch.Tensor:
        steps = self._run.budget.steps
        for group in self._optimiser.param_groups:
            group["lr"] = self._learning_rate * self._recipe.factor(step, steps)
        self._optimiser.zero_grad()
        loss = self._run.task.mean_loss(forward(self.module, inputs, self._run.precision), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return loss.detach()

    def show(self) -> float:
        return 0.0

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return what changes from step to step, by name."""
        return grouped("module", self.module.state_dict()) | grouped("optimiser", moments(self._optimiser))

    def load_state_dict(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take over what `state_dict` has returned, on any device."""
        self.module.load_state_dict(of_group("module", tensors))
        set_moments(self._optimiser, of_group("optimiser", tensors))


@lost_workers()
def train_dense(
    prepared: Prepared,
    config: SearchConfig,
    reporter: ProgressReporter = SILENT,
    *,
    learning_rate: float | None = None,
    checkpoints: Checkpoints | None = None,
) -> DenseResult:
    """Train a network normally and measure it once on the test images. Of `config`, seed and augmentation are read.

    With the learning rate given, or with each of its recipe's, of which the best on held-out images counts. The images
    come in the order in which a search of this seed sees them. `checkpoints` keep the state, that of each rate; delete
    them when all is done.
    """
    run = replace(prepared.run, seed=config.seed, augmentation=Augmentation(config.augment, config.seed))
    module = prepared.source.build()
    recipe = recipe_for(module)
    known_by = {"command": "dense", **course(config, prepared, "dense", module)} if checkpoints else {}
    trained = []
    for rate in recipe.tried(learning_rate):
        kept = None
        if checkpoints:
            identity = {**known_by, "learning rate": rate}
            kept = replace(checkpoints.of(repr(rate)), what="training", identity=identity)
            check(kept, reporter)
        trained.append(train_at_rate(prepared, run, recipe, rate, reporter, checkpoints=kept))
    best = max(trained, key=lambda one: one.validation.metric)
    test = evaluate(torch_classifier(best.module, prepared.device), prepared.test, run.feed, task=run.task)
    return DenseResult(
        test=test,
        validation=best.validation,
        bytes=sum(tensor.nbytes for tensor in best.module.state_dict().values()),
        seconds=best.seconds,
        images_per_second=run.budget.steps * run.budget.batch_size / best.seconds,
        learning_rate=best.learning_rate,
    )


@dataclass(frozen=True)
class Trained:
    """A network trained at one learning rate.

    Attributes:
        module: with the trained weights.
        validation: its metric on held-out training images.
        seconds: time of the optimiser steps.
        learning_rate: at which it was trained.
    """

    module: nn.Module
    validation: Evaluation
    seconds: float
    learning_rate: float


def train_at_rate(
    prepared: Prepared,
    run: TrainingRun,
    recipe: DenseRecipe,
    learning_rate: float,
    reporter: ProgressReporter = SILENT,
    *,
    checkpoints: Checkpoints | None = None,
) -> Trained:
    """Train all weights of a network for the budget of a run, and measure them on held-out images."""
    module = prepared.source.build()
    initialise(module, run.seed)
    module.to(prepared.device)
    clock, trainer = Clock(), DenseTrainer(module, run, recipe, learning_rate)
    with reporter.training_progress() as report:
        for _ in make_steps(trainer, trainer, run, clock, reporter, report=report, checkpoints=checkpoints):
            pass
        next(module.parameters()).sum().item()  # waits for a GPU
        seconds = clock.seconds()
    with noise(run, run.budget.steps, prepared.device):
        recalibrate(module, run.train, run.feed, run.budget.batch_size, run.order())
    validation = evaluate(torch_classifier(module, prepared.device), run.validation, run.feed, task=run.task)
    return Trained(module, validation, seconds, learning_rate)


def initialise(module: nn.Module, seed: int) -> None:
    """Give every parameter the value that training starts from, on the CPU, from one seeded torch generator.

    Weights of convolutions and linear layers are normal with variance 2 / fan-in (He et al. 2015), embeddings normal
    with standard deviation `EMBEDDING_STD`, biases 0 and scales 1. Networks with residual branches behind LayerNorms,
    such as transformers, start from the scales that a search gives them: a baseline that starts from worse ones would
    flatter every ticket (docs/methods.md).
    """
    if residual_branches(module):
        start_as_a_search(module, seed, "kaiming-normal")
        return
    generator = torch.Generator().manual_seed(torch_seed(seed))
    freeze_ungated(module, seed)
    with torch.no_grad():
        for name in gated_names(module):
            nn.init.kaiming_normal_(module.get_parameter(name), nonlinearity="relu", generator=generator)
        for name in embedding_names(module):
            nn.init.normal_(module.get_parameter(name), std=EMBEDDING_STD, generator=generator)
