"""The package's own architectures: published sizes, names that only they can have, shapes on every data set."""

import pytest
import timm
import torch

from slt_compress.masking.parameters import freeze_ungated, gated_names
from slt_compress.models import architectures
from slt_compress.models.registry import build_model, resolve_model


def build(name: str, channels: int, size: int, classes: int = 10) -> torch.nn.Module:
    return build_model(resolve_model(name, classes=classes, channels=channels, input_size=size))


@pytest.mark.parametrize("name", [name for name in architectures.NAMES if name != "wide_resnet28_10"])
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (1, 28), (3, 32)])
def test_they_take_every_data_set(name: str, channels: int, size: int) -> None:
    spec = resolve_model(name, classes=7, channels=channels, input_size=size)
    module = build_model(spec)
    freeze_ungated(module, 0)
    assert module(torch.zeros(2, channels, spec.input_size, spec.input_size)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("lenet-300-100", 266_200),
        ("lenet-5", 61_470),
        ("conv2", 4_300_992),
        ("conv8", 5_275_840),
        ("resnet20", 268_336),
        ("resnet32", 461_872),
        ("resnet56", 848_944),
        ("wide_resnet16_4", 2_745_264),
        ("wide_resnet28_10", 36_461_232),
        ("fastnet", 1_970_464),
    ],
)
def test_they_have_the_published_sizes(name: str, weights: int) -> None:
    """LeNets on 28 px grey, all others on 32 px colour: Frankle & Carbin 2019, Ramanujan et al. 2020, He et al. 2015
    (0.27, 0.46 and 0.85 M with norms and biases), Zagoruyko & Komodakis 2016 (2.7 and 36.5 M).
    """
    grey = name.startswith("lenet")
    module = build(name, 1 if grey else 3, 28 if grey else 32)
    assert sum(module.get_parameter(gated).numel() for gated in gated_names(module)) == weights


def test_a_width_multiplies_the_channels() -> None:
    narrow, wide = (build(name, 3, 32) for name in ("resnet20", "resnet20-w3"))
    for name in gated_names(narrow):
        assert wide.get_parameter(name).shape[0] == narrow.get_parameter(name).shape[0] * (1 if "fc" in name else 3)


@pytest.mark.parametrize(
    ("name", "layers"), [("resnet20", 20), ("resnet110", 110), ("wide_resnet16_4", 16 - 2), ("wide_resnet40_1", 40 - 2)]
)
def test_the_depth_is_that_of_the_name(name: str, layers: int) -> None:
    """Wide ResNets count three shortcuts, which are left out here, and not the classifier."""
    weighted = [gated for gated in gated_names(build(name, 3, 32)) if "shortcut" not in gated]
    assert len(weighted) == layers


def test_option_a_takes_every_second_pixel_and_adds_channels_of_zeros() -> None:
    block = architectures.BasicBlock(2, 5, stride=2)
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)  # leaves the shortcut alone
    x = torch.rand(1, 2, 4, 4)
    y = block.eval()(x)
    assert torch.equal(y[:, :2], x[:, :, ::2, ::2])
    assert not y[:, 2:].any()


def test_no_name_of_theirs_is_one_of_timms() -> None:
    assert [name for name in timm.list_models() if architectures.find(name)] == []


@pytest.mark.parametrize("name", ["resnet18", "resnet26", "resnet20w2", "resnet²20", "resnet20-w0", "resnet20-w02"])
def test_other_names_are_not_theirs(name: str) -> None:
    assert architectures.find(name) is None


@pytest.mark.parametrize("sizes", ["50_2", "101_2", "28_0", "28_17", "4_1", "106_1", "28"])
def test_other_wide_resnets_are_not_theirs(sizes: str) -> None:
    assert architectures.find(f"wide_resnet{sizes}") is None
