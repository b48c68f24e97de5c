"""The yardstick: the same network trained normally, all its weights, with the budget and the pictures of a search.

It leaves no file. It says what sparsity and frozen weights cost.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from slt_compress import models
from slt_compress.augment import Augmentation
from slt_compress.evaluate import Evaluation, evaluate, torch_classifier
from slt_compress.jobs import Prepared, Watch
from slt_compress.network import embedding_names, freeze_ungated, gated_names
from slt_compress.pictures import Split
from slt_compress.search import PEEK_PICTURES, Clock, Course, Progress, forward, peek, recalibrate, torch_seed

LEARNING_RATE = 1e-2  # of Adam, falling to 0 as a cosine; chosen on validation pictures, see docs/methods.md
EMBEDDING_STD = 0.02  # of embeddings and tokens: here they can learn their scale


@dataclass(frozen=True)
class Trained:
    """What was measured of a dense network; `bytes` is its state dict in fp32."""

    test: Evaluation
    validation: Evaluation
    bytes: int
    seconds: float
    images_per_second: float


def train_dense(prepared: Prepared, seed: int, watch: Watch, augment: str = "none") -> Trained:
    """Train a network normally and measure it once on the test pictures. `augment` is one of `augment.NAMES`."""
    device, budget = prepared.device, prepared.budget
    module = models.build(prepared.spec)
    initialise(module, seed)
    module.to(device)
    course = Course(budget, prepared.preprocessing, Augmentation(augment, seed), prepared.precision)
    with watch.search_progress() as report:
        seconds = optimise(module, prepared.train, prepared.validation, course, seed, report)
    order = torch.Generator().manual_seed(torch_seed(seed))
    recalibrate(module, prepared.train, prepared.preprocessing, budget.batch_size, order)
    classifier = torch_classifier(module, device)
    validation, test = (
        evaluate(classifier, split, prepared.preprocessing) for split in (prepared.validation, prepared.test)
    )
    size = sum(tensor.nbytes for tensor in module.state_dict().values())
    return Trained(test, validation, size, seconds, budget.steps * budget.batch_size / seconds)


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


def optimise(
    module: nn.Module,
    train: Split,
    validation: Split,
    course: Course,
    seed: int,
    report: Callable[[Progress], None] | None = None,
    learning_rate: float = LEARNING_RATE,
) -> float:
    """Train all parameters with Adam; the pictures come in the order in which a search of this seed sees them.

    Return the seconds that the steps have taken.
    """
    budget = course.budget
    order = torch.Generator().manual_seed(torch_seed(seed))
    optimiser = torch.optim.Adam(module.parameters(), fused=True)
    shown = next(validation.batches(min(PEEK_PICTURES, budget.batch_size)))
    report_every = max(1, budget.steps // 100)
    clock = Clock()
    module.train()
    for step, (images, labels) in enumerate(course.batches(train, order)):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * (1 + math.cos(math.pi * step / budget.steps)) / 2
        optimiser.zero_grad()
        loss = F.cross_entropy(forward(module, images, course.precision), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        done = step + 1
        if report and (done % report_every == 0 or done == budget.steps):
            cross_entropy = loss.item()  # waits for a GPU
            rate = done * budget.batch_size / clock.seconds()
            with clock.stopped():
                accuracy = peek(module, shown, course.preprocessing)
                report(Progress(done, budget.steps, cross_entropy, 0.0, accuracy, rate))
    loss.item()
    return clock.seconds()
