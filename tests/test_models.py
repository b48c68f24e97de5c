"""Models by name: shapes, stems on small pictures, nothing taken from a library's initialisation."""

import pytest
import torch
from torch import nn

from slt_compress import models
from slt_compress.errors import TicketError, UsageError


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
        {"builder": ["slt"]},
        {"small_input": 1},
        {"name": 3},
    ):
        with pytest.raises(TicketError):
            models.ModelSpec.from_json({**fields, **change})
    with pytest.raises(TicketError):
        models.ModelSpec.from_json([])


@pytest.mark.parametrize(
    ("name", "builder"),
    [
        ("resnet20-w2", "slt"),
        ("wide_resnet28_10", "slt"),
        ("wide_resnet50_2", "timm"),
        ("resnet18", "timm"),
        ("torchvision/resnet18", "torchvision"),
    ],
)
def test_a_name_leads_to_its_builder(name: str, builder: str) -> None:
    spec = models.resolve(name, classes=10, channels=3, input_size=32)
    assert spec.builder == builder
    assert models.ModelSpec.from_json(spec.to_json()) == spec
    assert models.library_version(spec).split()[0] == {"slt": "slt-compress"}.get(builder, builder)


@pytest.mark.parametrize("name", ["resnet18.a1_in1k", "hf-hub:timm/resnet18", "local-dir:/tmp/x", "resnet81", ""])
@pytest.mark.parametrize("library", ["", "torchvision/"])
def test_unknown_names_are_refused(name: str, library: str) -> None:
    with pytest.raises(UsageError, match="unknown model"):
        models.resolve(library + name, classes=10, channels=3, input_size=32)
    for builder in ("slt", "timm", "torchvision"):
        with pytest.raises(UsageError, match="unknown model"):
            models.build(models.ModelSpec(builder, name, 10, 3, 32))


@pytest.mark.parametrize(
    ("builder", "name"),
    [
        ("slt", "resnet18"),
        ("timm", "resnet20"),
        ("timm", "torchvision/resnet18"),
        ("torchvision", "resnet20"),
        ("torchvision", "vit_tiny_patch16_224"),
        ("torchvision", "fcn_resnet50"),
        ("torchvision", "raft_small"),
    ],
)
def test_a_builder_builds_its_own_names_only(builder: str, name: str) -> None:
    with pytest.raises(UsageError, match="unknown model"):
        models.build(models.ModelSpec(builder, name, 10, 3, 32))


@pytest.mark.parametrize(
    ("name", "size", "works"),
    [
        ("mixer_s32_224", 28, 224),  # smaller than its patch: a layer without weights
        ("torchvision/vit_b_16", 28, 224),
        ("torchvision/inception_v3", 32, 299),
        ("torchvision/maxvit_t", 32, 224),
    ],
)
def test_a_network_that_cannot_adapt_names_a_size_that_works(name: str, size: int, works: int) -> None:
    spec = models.resolve(name, classes=2, channels=1, input_size=size)
    with pytest.raises(UsageError, match=rf"{name} cannot take pictures of {size} px \(.+\).* such as {works}"):
        models.check_input(models.build(spec), spec)


def test_close_names_are_suggested() -> None:
    with pytest.raises(UsageError, match="did you mean lenet-300-100"):
        models.check_name("lenet300-100")
    with pytest.raises(UsageError, match="did you mean torchvision/resnet18"):
        models.check_name("torchvision/resnet-18")


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
