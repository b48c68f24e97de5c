"""Tickets for five tasks: networks, data, losses and metrics of your own.

python examples/five_tasks.py                     all of them, a few minutes on one core
python examples/five_tasks.py regression language   some of them

Each is searched at 90 % sparsity, saved, restored, measured and exported to an ONNX file that regenerates its weights.
The data comes with scikit-learn, so nothing is downloaded.
"""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits, make_friedman1
from torch import nn
from torch.utils.data import Dataset, TensorDataset

import slt_compress

Split = Dataset[tuple[torch.Tensor, ...]]  # of (input, target)


@dataclass(frozen=True)
class Example:
    """A task: what builds its network, its data, and what is minimised and measured; None and names as in `search`."""

    build: Callable[[], nn.Module]
    data: Callable[[], tuple[Split, Split]]  # train, test
    loss: str | Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    metric: str | Callable[[torch.Tensor, torch.Tensor], float] | None = None
    steps: int = 1_000
    batch_size: int = 128


# Multi-class: one of ten digits, on pictures that are not square.


def digit_classifier() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(64 * 4 * 6, 10)),
    )


def wide_digits() -> tuple[Split, Split]:
    """Digits of 8 × 8 px anywhere in pictures of 8 × 12."""
    images, labels = _digits()
    generator = np.random.default_rng(0)
    pictures = np.zeros((len(images), 1, 8, 12), np.float32)
    for picture, image, left in zip(pictures, images, generator.integers(0, 5, len(images)), strict=True):
        picture[0, :, left : left + 8] = image
    return _split(torch.from_numpy(pictures), torch.from_numpy(labels))


# Multi-label: which of the ten digits are in a picture of three.


def label_finder() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU()),
        *(nn.Conv2d(48, 96, 3, padding=1), nn.BatchNorm2d(96), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(96 * 4 * 12, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 10)),
    )


def digit_rows() -> tuple[Split, Split]:
    """Three digits side by side, 8 × 24 px; the targets say for each digit whether it is there."""
    images, labels = _digits()
    chosen = np.random.default_rng(0).integers(0, len(images), (6_000, 3))
    chosen[4_800:] = chosen[4_800:] % (len(images) // 5) + 4 * (
        len(images) // 5
    )  # the test split has digits of its own
    chosen[:4_800] %= 4 * (len(images) // 5)
    rows = images[chosen].transpose(0, 2, 1, 3).reshape(len(chosen), 1, 8, 24)
    present = np.zeros((len(chosen), 10), np.float32)
    np.put_along_axis(present, labels[chosen], 1, 1)
    return _split(torch.from_numpy(rows), torch.from_numpy(present))


# Regression: a number from a table of ten columns.


def regressor() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(10, 256), nn.BatchNorm1d(256), nn.ReLU()),
        *(nn.Linear(256, 256), nn.BatchNorm1d(256), nn.ReLU()),
        nn.Linear(256, 1),
    )


def friedman() -> tuple[Split, Split]:
    """Friedman's first problem (1991), with noise; inputs and target standardised."""
    inputs, targets = make_friedman1(5_000, noise=1.0, random_state=0)
    inputs = (inputs - 0.5) * 12**0.5
    targets = (targets - targets[:4_000].mean()) / targets[:4_000].std()
    return _split(torch.tensor(inputs, dtype=torch.float32), torch.tensor(targets, dtype=torch.float32)[:, None])


# Segmentation: background, even digit or odd digit, for every pixel.


class UNet(nn.Module):
    """A small U-Net (Ronneberger et al. 2015, arXiv:1505.04597): two levels down, two up."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.down1, self.down2 = _double(1, width), _double(width, 2 * width)
        self.bottom = _double(2 * width, 4 * width)
        self.rise2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.up2 = _double(4 * width, 2 * width)
        self.rise1 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.up1 = _double(2 * width, width)
        self.head = nn.Conv2d(width, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        bottom = self.bottom(F.max_pool2d(second, 2))
        second = self.up2(torch.cat([second, self.rise2(bottom)], 1))
        first = self.up1(torch.cat([first, self.rise1(second)], 1))
        logits: torch.Tensor = self.head(first)
        return logits


def _double(channels: int, outputs: int) -> nn.Module:
    layers: list[nn.Module] = []
    for count in (channels, outputs):
        layers += [nn.Conv2d(count, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def scattered_digits() -> tuple[Split, Split]:
    """Two digits in noisy pictures of 16 × 24 px; the targets are 0, 1 (even) or 2 (odd) for every pixel."""
    images, labels = _digits()
    generator = np.random.default_rng(0)
    pictures = generator.normal(0, 0.1, (2_500, 1, 16, 24)).astype(np.float32)
    classes = np.zeros((2_500, 16, 24), np.int64)
    share = len(images) * 4 // 5
    for index, (picture, truth) in enumerate(zip(pictures, classes, strict=True)):
        for half in (0, 12):
            one = int(generator.integers(0, share) if index < 2_000 else generator.integers(share, len(images)))
            top, left = generator.integers(0, 9), half + generator.integers(0, 5)
            picture[0, top : top + 8, left : left + 8] += images[one]
            truth[top : top + 8, left : left + 8][images[one] > 0.3] = 1 + labels[one] % 2
    return _split(torch.from_numpy(pictures), torch.from_numpy(classes))


# Language: the next character.

CONTEXT, VOCABULARY = 64, 96  # characters


class CharacterModel(nn.Module):
    """A decoder-only transformer of nanoGPT's smallest configuration: 4 blocks, 4 heads, width 128, context 64. The
    table of characters is the weight of the last layer too.
    """

    def __init__(self, width: int = 128, heads: int = 4, blocks: int = 4) -> None:
        super().__init__()
        self.characters = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Embedding(CONTEXT, width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, VOCABULARY, bias=False)
        self.head.weight = self.characters.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Turn int64 (n, time) into logits (n, time, vocabulary)."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.characters(tokens) + self.positions(places)
        for block in self.blocks:
            x = block(x)
        logits: torch.Tensor = self.head(self.norm(x))
        return logits


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)  # in the order in which they run: so the two residual branches are found
        self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.rise, self.fall = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, 2)
        )
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.projection(attended.transpose(1, 2).flatten(2))
        branch: torch.Tensor = self.fall(F.gelu(self.rise(self.norm2(x))))
        return x + branch


def next_character(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of (n, time, vocabulary) logits and (n, time) characters, in nats."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def characters_right(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """Return the share of characters that were predicted."""
    return float((logits.argmax(2) == targets).float().mean())


def prose() -> tuple[Split, Split]:
    """Windows of 64 characters of the descriptions that come with scikit-learn; the last fifth is the test split."""
    folder = resources.files("sklearn.datasets.descr")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".rst")), key=lambda file: file.name)
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    codes = torch.tensor([ord(letter) - 32 if 32 <= ord(letter) < 127 else 95 for letter in text])
    windows = codes.unfold(0, CONTEXT + 1, 8)
    return _split(windows[:, :-1].clone(), windows[:, 1:].clone())


EXAMPLES = {
    "multi-class": Example(digit_classifier, wide_digits, "cross-entropy"),
    "multi-label": Example(label_finder, digit_rows, "binary-cross-entropy"),
    "regression": Example(regressor, friedman, "mse", steps=2_000),
    "segmentation": Example(UNet, scattered_digits, "cross-entropy", "mean-iou", batch_size=64),
    "language": Example(CharacterModel, prose, next_character, characters_right, steps=2_000, batch_size=32),
}


def main(names: list[str]) -> None:
    for name in names or EXAMPLES:
        example = EXAMPLES[name]
        train, test = example.data()
        result = slt_compress.search(
            example.build,
            train=train,
            test=test,
            loss=example.loss,
            metric=example.metric,
            sparsity=0.9,
            max_steps=example.steps,
            batch_size=example.batch_size,
        )
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "ticket.safetensors"
            result.ticket.save(file)
            network = slt_compress.Ticket.load(file).apply_to(example.build())
            exported = slt_compress.export(
                file, Path(folder) / "net.onnx", source=example.build, test=test, metric=example.metric
            )
            dense = sum(parameter.nbytes for parameter in network.parameters())
            print(
                f"{name}: {result.test.metric_name} {result.metric:.4f}; dense {dense:,} B, ticket "
                f"{file.stat().st_size:,} B, ONNX {exported.bytes:,} B"
            )


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Return 1,797 digits, float32 (n, 8, 8) from 0 to 1, and their int64 labels, in a fixed order."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    return (digits.images[order] / 16).astype(np.float32), digits.target[order].astype(np.int64)


def _split(inputs: torch.Tensor, targets: torch.Tensor) -> tuple[Split, Split]:
    """Return four fifths to train on and the rest to test with."""
    count = len(inputs) * 4 // 5
    return TensorDataset(inputs[:count], targets[:count]), TensorDataset(inputs[count:], targets[count:])


if __name__ == "__main__":
    if unknown := set(sys.argv[1:]) - set(EXAMPLES):
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(EXAMPLES)}")
    main(sys.argv[1:])
