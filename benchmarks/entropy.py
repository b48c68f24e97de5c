"""What an ideal entropy coder would save over the numbers of stored weights, for weights that are trained.

    python -m benchmarks.entropy DATA [--steps N] [--sparsity S]

DATA holds MNIST in torchvision's layout and cifar10-jpg. LeNet-300-100 (MNIST) and conv4 (CIFAR-10 at 16 px) are
trained for so many steps of Adam, pruned by magnitude in each layer, and trained again for as many with the mask fixed:
without further aims, so their accuracy says only that they have learnt. `entropy` is that of the numbers of each layer
by themselves, Σ -p·log2 p: what a coder could reach that knows their frequencies, which take some bytes, too.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from slt_compress.data.datasets import open_dataset
from slt_compress.data.preprocessing import Preprocessing
from slt_compress.data.splits import IndexedSplit
from slt_compress.evaluation.accuracy import evaluate, torch_classifier
from slt_compress.masking.parameters import gated_names
from slt_compress.models.registry import build_model, resolve_model
from slt_compress.prng import scale, uniform
from slt_compress.ticket.stored import StoredWeights

NETWORKS = {"lenet-300-100": ("mnist", "", 28, 1), "conv4": ("imagefolder", "cifar10-jpg", 16, 3)}
BATCH = 128
Masks = dict[str, torch.Tensor]


def learn(module: nn.Module, train: IndexedSplit, feed: Preprocessing, steps: int, masks: Masks) -> None:
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    batches = train.passes(BATCH, torch.Generator().manual_seed(0))
    module.train()
    for _ in range(steps):
        inputs, labels = next(batches)
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(module(feed(inputs)), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            for name, mask in masks.items():
                module.get_parameter(name).mul_(mask)
    module.eval()


def entropy(numbers: npt.NDArray[np.generic]) -> float:
    """Return bits a number, by the frequencies of the numbers."""
    counts = np.unique(numbers, return_counts=True)[1] / numbers.size
    return float(-(counts * np.log2(counts)).sum())


def measure(name: str, data: Path, steps: int, sparsity: float) -> None:
    dataset, subfolder, size, channels = NETWORKS[name]
    opened = open_dataset(dataset, data / subfolder)
    train, test = opened.read("train", size), opened.read("test", size)
    feed = opened.preprocessing(size, train)
    module = build_model(resolve_model(name, classes=10, channels=channels, input_size=size))
    with torch.no_grad():
        for one in gated_names(module):
            weight = module.get_parameter(one)
            values = uniform(0, one, weight.numel()) * np.float32(scale("kaiming-uniform", weight[0].numel()))
            weight.copy_(torch.from_numpy(values).view(weight.shape))
    learn(module, train, feed, steps, {})
    masks = {}
    for one in gated_names(module):
        size_of = module.get_parameter(one).detach().abs()
        masks[one] = size_of > size_of.flatten().kthvalue(round(sparsity * size_of.numel())).values
    learn(module, train, feed, steps, masks)
    accuracy = evaluate(torch_classifier(module, torch.device("cpu")), test, feed).accuracy
    print(f"\n{name}, {dataset}, {size} px, {sparsity:.0%} sparse: {accuracy:.2%} of the test images\n")
    print("| type | bits a weight | entropy | saved of the values | bytes of masks and values | saved of these |")
    print("|---|---|---|---|---|---|")
    gates = [mask.numpy() for mask in masks.values()]
    share = np.array([gate.mean() for gate in gates])
    bound = sum(
        gate.size * float(-(p * np.log2(p) + (1 - p) * np.log2(1 - p))) / 8
        for gate, p in zip(gates, share, strict=True)
    )
    for kind in ("int8", "int4"):
        stored, ideal, kept = 0.0, 0.0, 0
        for one, gate in zip(masks, gates, strict=True):
            weights = StoredWeights.of(module.get_parameter(one).detach().numpy(), gate, kind)
            numbers = weights.numbers(gate)[0]
            stored += len(weights.data)
            ideal += entropy(numbers) * numbers.size / 8
            kept += numbers.size
        width = {"int8": 8, "int4": 4}[kind]
        saved = kept * width / 8 - ideal
        total = bound + stored
        print(
            f"| {kind} | {width} | {8 * ideal / kept:.2f} | {saved / (kept * width / 8):.1%} | {total:,.0f} "
            f"| {saved / total:.1%} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--sparsity", type=float, default=0.9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in NETWORKS:
        measure(name, arguments.data, arguments.steps, arguments.sparsity)


if __name__ == "__main__":
    main()
