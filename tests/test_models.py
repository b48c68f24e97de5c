"""Models by name: shapes, stems on small pictures, nothing taken from a library's initialisation."""

import pytest
import torch
from torch import nn

from slt_compress import models
from slt_compress.errors import TicketError, UsageError
from slt_compress.network import FlatNetwork, freeze_ungated, gated_names

OWN = ["lenet-300-100", "lenet-5", "conv2", "conv4", "conv6", "conv8"]


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (1, 28), (3, 32)])
def test_own_models_take_every_data_set(name: str, channels: int, size: int) -> None:
    spec = models.resolve(name, classes=7, channels=channels, input_size=size)
    module = models.build(spec)
    freeze_ungated(module, 0)
    assert module(torch.zeros(2, channels, spec.input_size, spec.input_size)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "weights"),
    [("lenet-300-100", 266_200), ("lenet-5", 61_470), ("conv2", 4_300_992), ("conv8", 5_275_840)],
)
def test_own_models_have_the_published_sizes(name: str, weights: int) -> None:
    """LeNets on 28 px grey, Conv-n on 32 px colour: Frankle & Carbin 2019, Ramanujan et al. 2020."""
    grey = name.startswith("lenet")
    spec = models.resolve(name, classes=10, channels=1 if grey else 3, input_size=28 if grey else 32)
    module = models.build(spec)
    assert sum(module.get_parameter(gated).numel() for gated in gated_names(module)) == weights


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_050", "efficientnet_b0", "densenet121", "vgg11_bn"])
def test_timm_networks_work_on_small_pictures(name: str) -> None:
    spec = models.resolve(name, classes=10, channels=1, input_size=32)
    assert spec.small_input
    flat = FlatNetwork(models.build(spec), 0, 0.5, torch.device("cpu"))
    flat.module.train()
    loss = flat.module(torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))).square().mean()
    loss.backward()
    dead = [slot.name for slot, part in zip(flat.slots, flat.split(flat.grad), strict=True) if not part.any()]
    assert dead == []


def test_the_stem_is_adapted_at_64_px_and_kept_above() -> None:
    small = models.build(models.resolve("resnet18", classes=10, channels=3, input_size=64))
    large = models.build(models.resolve("resnet18", classes=10, channels=3, input_size=224))
    conv = small.get_submodule("conv1")
    assert isinstance(conv, nn.Conv2d)
    assert (conv.kernel_size, conv.stride) == ((3, 3), (1, 1))
    assert isinstance(small.get_submodule("maxpool"), nn.Identity)
    conv = large.get_submodule("conv1")
    assert isinstance(conv, nn.Conv2d)
    assert conv.stride == (2, 2)


def test_a_spec_survives_json_and_refuses_anything_else() -> None:
    spec = models.resolve("lenet-5", classes=10, channels=1, input_size=28)
    fields = spec.to_json()
    assert models.ModelSpec.from_json(fields) == spec
    for change in (
        {"pretrained": True},
        {"classes": 2**63},
        {"classes": True},
        {"channels": 0},
        {"input_size": 5000},
        {"builder": "hub"},
        {"small_input": 1},
        {"name": 3},
    ):
        with pytest.raises(TicketError):
            models.ModelSpec.from_json({**fields, **change})
    with pytest.raises(TicketError):
        models.ModelSpec.from_json([])


@pytest.mark.parametrize("name", ["resnet18.a1_in1k", "hf-hub:timm/resnet18", "local-dir:/tmp/x", "resnet81", ""])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="unknown model"):
        models.resolve(name, classes=10, channels=3, input_size=32)
    spec = models.ModelSpec("timm", name, 10, 3, 32)
    with pytest.raises(UsageError, match="unknown model"):
        models.build(spec)


def test_close_names_are_suggested() -> None:
    with pytest.raises(UsageError, match="did you mean lenet-300-100"):
        models.resolve("lenet300-100", classes=10, channels=1, input_size=28)


def test_building_draws_no_random_numbers_and_keeps_no_initial_value() -> None:
    before = torch.random.get_rng_state()
    module = models.build(models.resolve("resnet18", classes=10, channels=3, input_size=32))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert len(models.architecture_digest(module)) == 64


def test_architecture_digest_sees_names_and_shapes() -> None:
    digests = {
        models.architecture_digest(module)
        for module in (nn.Linear(3, 4), nn.Linear(4, 3), nn.Sequential(nn.Linear(3, 4)), nn.Linear(3, 4, bias=False))
    }
    assert len(digests) == 4
