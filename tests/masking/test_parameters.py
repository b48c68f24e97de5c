"""What becomes of each parameter: which are gated, and the values that those without a gate get."""

import numpy as np
import pytest
import torch
from torch import nn

from slt_compress import prng
from slt_compress.errors import UsageError
from slt_compress.masking.parameters import (
    EMBEDDING_STD,
    embedding_names,
    freeze_ungated,
    gated_names,
    scales,
    statistic_names,
)


class Mixed(nn.Module):
    """One of each kind of parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.empty(1, 1, 8))
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.embedding = nn.Embedding(5, 8)
        self.gamma = nn.Parameter(torch.empty(8))
        self.first = nn.Linear(8, 8)
        self.second = nn.Linear(8, 8)
        self.second.weight = self.first.weight


def test_gated_are_the_weights_of_layers_only() -> None:
    assert gated_names(Mixed()) == [
        "conv.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "first.weight",
    ]


def test_statistics_are_the_running_ones() -> None:
    assert statistic_names(Mixed()) == ["norm.running_mean", "norm.running_var"]


def test_other_statistics_are_refused() -> None:
    module = nn.Sequential(nn.Linear(2, 2))
    module.register_buffer("average", torch.zeros(2))
    with pytest.raises(UsageError, match="cannot store, among average"):
        statistic_names(module)


def test_every_ungated_value_is_set() -> None:
    module = Mixed()
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data.fill_(77)
    freeze_ungated(module, seed=1)
    gated = set(gated_names(module))
    left = [name for name, tensor in module.state_dict().items() if (tensor == 77).any() and name not in gated]
    assert left == ["second.weight"]  # the same tensor as first.weight
    assert torch.equal(module.get_parameter("conv.bias"), torch.zeros(8))
    assert torch.equal(module.gamma, torch.ones(8))
    expected = prng.uniform(1, "token", 8) * np.float32(3**0.5 * EMBEDDING_STD)
    assert torch.equal(module.token.ravel(), torch.from_numpy(expected))


def test_constants_are_scaled_up_only_where_no_batchnorm_follows() -> None:
    module = nn.Sequential(nn.Linear(50, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    found = scales(module, "signed-constant", 0.25)
    assert found["0.weight"] == pytest.approx((2 / 50) ** 0.5)
    assert found["3.weight"] == pytest.approx((2 / 8) ** 0.5 * 2)
    assert all(float(np.float32(scale)) == scale for scale in found.values())


def test_embeddings_are_what_is_neither_gated_nor_constant() -> None:
    assert embedding_names(Mixed()) == ["token", "embedding.weight"]
