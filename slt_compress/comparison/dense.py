"""The dense baseline: the same network with all its weights trained, with the budget and the images of a search.

It leaves no file. It says what sparsity and frozen weights cost.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import nn

from slt_compress.comparison.results import DENSE_LEARNING_RATE
from slt_compress.data.augment import Augmentation
from slt_compress.data.batches import Tensors
from slt_compress.evaluation.accuracy import Evaluation, evaluate, torch_classifier
from slt_compress.masking.parameters import embedding_names, freeze_ungated, gated_names
from slt_compress.pipeline.prepare import Prepared
from slt_compress.progress import SILENT, ProgressReporter
from slt_compress.tasks.task import Targets
from slt_compress.training.batchnorm import recalibrate
from slt_compress.training.loop import Clock, TrainingRun, forward, optimise, torch_seed

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
    """

    test: Evaluation
    validation: Evaluation
    bytes: int
    seconds: float
    images_per_second: float


class DenseTrainer:
    """Optimises all parameters of a module with Adam."""

    def __init__(self, module: nn.Module, run: TrainingRun, learning_rate: float = DENSE_LEARNING_RATE) -> None:
        self.module = module
        self._optimiser = torch.optim.Adam(module.parameters(), fused=True)
        self._learning_rate = learning_rate
        self._run = run

    def step(self, step: int, inputs: Tensors, targets: Targets) -> torch.Tensor:
        for group in self._optimiser.param_groups:
            group["lr"] = self._learning_rate * (1 + math.cos(math.pi * step / self._run.budget.steps)) / 2
        self._optimiser.zero_grad()
        loss = self._run.task.mean_loss(forward(self.module, inputs, self._run.precision), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return loss.detach()

    def show(self) -> float:
        return 0.0


def train_dense(
    prepared: Prepared,
    seed: int,
    reporter: ProgressReporter = SILENT,
    *,
    augment: str = "none",
    learning_rate: float | None = None,
) -> DenseResult:
    """Train a network normally and measure it once on the test images. `augment` as in `SearchConfig`.

    The images come in the order in which a search of this seed sees them.
    """
    rate = DENSE_LEARNING_RATE if learning_rate is None else learning_rate
    run = replace(prepared.run, seed=seed, augmentation=Augmentation(augment, seed))
    module = prepared.source.build()
    initialise(module, seed)
    module.to(prepared.device)
    clock = Clock()
    with reporter.training_progress() as report:
        for _ in optimise(DenseTrainer(module, run, rate), run, clock, report):
            pass
        next(module.parameters()).sum().item()  # waits for a GPU
        seconds = clock.seconds()
    recalibrate(module, run.train, run.feed, run.budget.batch_size, run.order())
    classifier = torch_classifier(module, prepared.device)
    validation, test = (
        evaluate(classifier, split, run.feed, task=run.task) for split in (run.validation, prepared.test)
    )
    return DenseResult(
        test=test,
        validation=validation,
        bytes=sum(tensor.nbytes for tensor in module.state_dict().values()),
        seconds=seconds,
        images_per_second=run.budget.steps * run.budget.batch_size / seconds,
    )


def initialise(module: nn.Module, seed: int) -> None:
    """Give every parameter the value that training starts from, on the CPU, from one seeded torch generator.

    Weights of convolutions and linear layers are normal with variance 2 / fan-in (He et al. 2015), embeddings normal
    with standard deviation `EMBEDDING_STD`, biases 0 and scales 1.
    """
    generator = torch.Generator().manual_seed(torch_seed(seed))
    freeze_ungated(module, seed)
    with torch.no_grad():
        for name in gated_names(module):
            nn.init.kaiming_normal_(module.get_parameter(name), nonlinearity="relu", generator=generator)
        for name in embedding_names(module):
            nn.init.normal_(module.get_parameter(name), std=EMBEDDING_STD, generator=generator)
