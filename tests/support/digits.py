"""The digits in memory, and the smallest searches on them."""

import torch

from slt_compress.config import SearchConfig
from slt_compress.data.augment import Augmentation
from slt_compress.data.datasets import open_dataset
from slt_compress.data.splits import Split, hold_out
from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.methods import registry
from slt_compress.models.registry import build_model, resolve_model
from slt_compress.prng import Freeze
from slt_compress.training.loop import Budget, TrainingRun

CPU = torch.device("cpu")
DIGITS = open_dataset("digits", None)
TRAIN, VALIDATION = hold_out(DIGITS.read("train", 8))  # 1,294 and 143 images
PREPROCESSING = DIGITS.preprocessing(8, TRAIN)
LENET = resolve_model("lenet-300-100", classes=10, channels=1, input_size=8)


def lenet(
    density: float = 0.1, seed: int = 0, initialiser: str = "signed-constant", freeze: Freeze = Freeze()
) -> FlatNetwork:
    """Return a LeNet-300-100 for digits, 50,200 gated weights, on the CPU."""
    return FlatNetwork(build_model(LENET), seed, density, CPU, initialiser, freeze)


def lenet_for(config: SearchConfig) -> FlatNetwork:
    """Return the LeNet-300-100 that a search of this config is made in."""
    initialiser = config.initialiser or registry.initialiser(config.method, config.recipe)
    return lenet(config.density, config.seed, initialiser, config.freeze)


def training_run(
    steps: int,
    *,
    batch_size: int = 256,
    seed: int = 0,
    augment: str = "none",
    precision: str = "fp32",
    validation: Split = VALIDATION,
) -> TrainingRun:
    """Return a run on the training images, of which a pass makes five batches of 256."""
    budget = Budget(steps, batch_size, steps / (len(TRAIN) // batch_size))
    return TrainingRun(TRAIN, validation, PREPROCESSING, budget, seed, Augmentation(augment, seed), precision)


@torch.no_grad()
def accuracy(network: FlatNetwork) -> float:
    """Return the accuracy on the held-out images, as a fraction."""
    images, labels = next(VALIDATION.batches(1000))
    return float((network.module(PREPROCESSING(images)).argmax(1) == labels).float().mean())
