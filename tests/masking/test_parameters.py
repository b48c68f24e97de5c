"""What becomes of each parameter: which are gated, and the values that those without a gate get."""

import numpy as np
import pytest
import torch
from torch import nn

from slt_compress import prng
from slt_compress.masking.parameters import (
    BRANCH_START,
    CALM,
    EMBEDDING_STD,
    ENOUGH_INPUTS,
    density_of,
    embedding_names,
    freeze_ungated,
    gated_names,
    other_statistic_names,
    residual_branches,
    scales,
    set_constants,
    slopes,
    statistic_names,
)
from slt_compress.models.registry import build_model, resolve_model


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
    scale = scales(module, "signed-constant", 1.0)["0.weight"].value
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
    assert found["0.weight"].value == pytest.approx((2 / 50) ** 0.5)
    assert found["3.weight"].value == pytest.approx((2 / 8) ** 0.5 * 2 * (ENOUGH_INPUTS / 8) ** 0.5)
    assert all(float(np.float32(scale.value)) == scale.value for scale in found.values())
    assert [found[name].balanced for name in ("0.weight", "3.weight")] == [False, True]


@pytest.mark.parametrize(("inputs", "factor"), [(16, 2), (32, 2**0.5), (64, 1), (128, 1)])
def test_a_last_layer_of_few_inputs_can_give_sure_answers_too(inputs: int, factor: float) -> None:
    """Not one that a BatchNorm follows, and not the one before it."""
    module = nn.Sequential(nn.Linear(8, inputs), nn.ReLU(), nn.Linear(inputs, 4))
    found = scales(module, "signed-constant", 1.0)
    assert found["2.weight"].value == pytest.approx((2 / inputs) ** 0.5 * factor)
    assert found["0.weight"].value == pytest.approx((2 / 8) ** 0.5)
    normalised = scales(module.append(nn.BatchNorm1d(4, affine=False)), "signed-constant", 1.0)
    assert normalised["2.weight"].value == pytest.approx((2 / inputs) ** 0.5)


def test_tensors_may_have_densities_of_their_own() -> None:
    assert density_of("0.weight", 0.25) == density_of("0.weight", {"0.weight": 0.25, "2.weight": 1.0}) == 0.25
    module = nn.Sequential(nn.Linear(50, 8), nn.ReLU(), nn.Linear(8, 4))
    found = scales(module, "signed-constant", {"0.weight": 1.0, "2.weight": 0.25})
    assert found["0.weight"] == scales(module, "signed-constant", 1.0)["0.weight"]
    assert found["2.weight"] == scales(module, "signed-constant", 0.25)["2.weight"]


class RootMeanSquareRMSNorm(nn.Module):
    """A norm of the user's, known by its name."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))


class Block(nn.Module):
    """Two residual branches; what follows the second norm ends with a layer that does not return to the width."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.norm2 = RootMeanSquareRMSNorm(8)
        self.rise, self.fall, self.aside = nn.Linear(8, 32), nn.Linear(32, 8), nn.Linear(8, 3)


def test_residual_branches_are_found_by_their_norms() -> None:
    module = nn.Sequential(nn.Linear(4, 8), Block(), nn.LayerNorm(8), nn.Linear(8, 10))
    attention = ["1.attention.in_proj_weight", "1.attention.out_proj.weight"]
    assert residual_branches(module) == [attention, ["1.rise.weight", "1.fall.weight"]]


@pytest.mark.parametrize(
    ("name", "count", "first"),
    [
        ("vit_tiny_patch16_224", 24, ["blocks.0.attn.qkv.weight", "blocks.0.attn.proj.weight"]),
        ("deit_tiny_patch16_224", 24, ["blocks.0.attn.qkv.weight", "blocks.0.attn.proj.weight"]),
        (
            "swin_tiny_patch4_window7_224",
            24,
            ["layers.0.blocks.0.attn.qkv.weight", "layers.0.blocks.0.attn.proj.weight"],
        ),
        ("convnext_atto", 12, ["stages.0.blocks.0.mlp.fc1.weight", "stages.0.blocks.0.mlp.fc2.weight"]),
        ("torchvision/convnext_tiny", 18, ["features.1.0.block.3.weight", "features.1.0.block.5.weight"]),
        ("torchvision/swin_t", 24, ["features.1.0.attn.qkv.weight", "features.1.0.attn.proj.weight"]),
        ("resnet18", 0, []),
        ("mobilenetv3_small_100", 0, []),
        ("lenet-300-100", 0, []),
    ],
)
def test_the_libraries_blocks_are_known(name: str, count: int, first: list[str]) -> None:
    module = build_model(resolve_model(name, classes=10, channels=3, input_size=32))
    branches = residual_branches(module)
    assert len(branches) == count
    assert (branches or [[]])[0] == first


def test_branches_begin_and_end_with_smaller_scales() -> None:
    module = nn.Sequential(nn.Linear(4, 8), *(Block() for _ in range(4)), nn.LayerNorm(8), nn.Linear(8, 10))
    found = scales(module, "signed-constant", 0.25)
    assert all(scale.balanced for scale in found.values())
    expected = {
        "0.weight": (2 / 4) ** 0.5,
        "1.rise.weight": (2 / 8) ** 0.5 * BRANCH_START,
        "1.fall.weight": (2 / 32) ** 0.5 * 2 / 8,
        "1.aside.weight": (2 / 8) ** 0.5,
        "6.weight": (2 / 8) ** 0.5,
    }
    for name, value in expected.items():
        assert found[name].value == pytest.approx(2 * CALM * value)  # 2: for a quarter of the gates


def test_embeddings_are_what_is_neither_gated_nor_constant() -> None:
    assert embedding_names(Mixed()) == ["token", "embedding.weight"]
