"""What becomes of each parameter: which are gated, and the values that those without a gate get."""

import numpy as np
import pytest
import torch
from torch import nn

from slt_compress import prng
from slt_compress.masking.parameters import (
    EMBEDDING_STD,
    embedding_names,
    freeze_ungated,
    gated_names,
    other_statistic_names,
    scales,
    set_constants,
    slopes,
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


def test_other_statistics_are_the_other_persistent_numbers() -> None:
    module = Mixed()
    module.register_buffer("average", torch.zeros(2))
    module.register_buffer("count", torch.zeros(2, dtype=torch.int64))
    module.register_buffer("table", torch.zeros(2), persistent=False)
    assert other_statistic_names(module) == ["average"]
    assert statistic_names(module) == ["norm.running_mean", "norm.running_var"]


class Tied(nn.Module):
    """A table that is the weight of the last layer too, as in language models."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.table.weight


def test_a_table_that_is_a_weight_too_is_gated() -> None:
    module = Tied()
    assert gated_names(module) == ["head.weight"]
    assert embedding_names(module) == []
    module.table.weight.data.fill_(77)
    freeze_ungated(module, 0)
    assert (module.table.weight == 77).all()


def test_the_slope_of_a_prelu_stays() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.PReLU(init=0.5))
    freeze_ungated(module, 0)
    assert slopes(module) == {"1.weight": 1.0}
    set_constants(module, {"1.weight": 0.5})
    assert slopes(module) == {"1.weight": 0.5}


@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (2, 2)])
def test_the_outputs_of_a_transposed_convolution_have_unit_variance(stride: int, groups: int) -> None:
    """In the middle of the picture, where no weight falls over the border."""
    layer = nn.ConvTranspose2d(32, 16, 4, stride, groups=groups, bias=False)
    module = nn.Sequential(layer, nn.ReLU())
    scale = scales(module, "signed-constant", 1.0)["0.weight"]
    signs = torch.from_numpy(prng.INITIALISERS["signed-constant"](0, "0.weight", layer.weight.numel()))
    layer.weight.data = (signs * scale).view(layer.weight.shape).float()
    images = torch.randn(8, 32, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = layer(images)[..., 4:-4, 4:-4]
    assert float(found.var()) == pytest.approx(2, rel=0.1)  # He et al.: a rectifier halves it again


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
