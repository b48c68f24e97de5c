"""Small networks, data and functions of a user's own."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

CLASSES = 10


def digits() -> tuple[TensorDataset, TensorDataset]:
    """Return the digits as rows of 64 numbers, 1,400 to train on and 397 to test with."""
    bunch = load_digits()
    order = torch.randperm(len(bunch.target), generator=torch.Generator().manual_seed(0))
    inputs, targets = torch.tensor(bunch.data, dtype=torch.float32)[order] / 16, torch.tensor(bunch.target)[order]
    return TensorDataset(inputs[:1400], targets[:1400]), TensorDataset(inputs[1400:], targets[1400:])


def build() -> nn.Module:
    """Return a network that has one of each kind of what a ticket stores and rebuilds."""
    return nn.Sequential(
        *(nn.Linear(64, 100), nn.BatchNorm1d(100), nn.PReLU(), nn.Dropout(0.5)),
        *(nn.Linear(100, 50), nn.LayerNorm(50), nn.GELU(), nn.Linear(50, CLASSES)),
    )


class TwoInputs(nn.Module):
    """Token ids and numbers in, two tensors out."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 8)
        self.numbers = nn.Linear(3, 8)
        self.first, self.second = nn.Linear(8, 4), nn.Linear(8, 2)

    def forward(self, tokens: torch.Tensor, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = torch.relu(self.table(tokens).mean(1) + self.numbers(numbers))
        return self.first(hidden), self.second(hidden)
