"""Models by name: shapes, stems on small images, nothing taken from a library's initialisation."""

import pytest
import torch
from torch import nn

from slt_compress.errors import UnknownModelError, UsageError
from slt_compress.models.registry import (
    architecture_digest,
    build_model,
    check_model_input,
    check_model_name,
    closest_names,
    default_input_size,
    known_name,
    library_version,
    model_names,
    resolve_model,
)
from slt_compress.models.spec import ModelSpec


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
    spec = resolve_model(name, classes=10, channels=3, input_size=32)
    assert spec.builder == builder
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert known_name(spec) == name
    assert library_version(spec).split()[0] == {"slt": "slt-compress"}.get(builder, builder)


@pytest.mark.parametrize("name", ["resnet18.a1_in1k", "hf-hub:timm/resnet18", "local-dir:/tmp/x", "resnet81", ""])
@pytest.mark.parametrize("library", ["", "torchvision/"])
def test_unknown_names_are_refused(name: str, library: str) -> None:
    with pytest.raises(UnknownModelError, match="unknown model"):
        resolve_model(library + name, classes=10, channels=3, input_size=32)
    for builder in ("slt", "timm", "torchvision"):
        with pytest.raises(UnknownModelError, match="unknown model"):
            build_model(ModelSpec(builder, name, 10, 3, 32))


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
    with pytest.raises(UnknownModelError, match="unknown model"):
        build_model(ModelSpec(builder, name, 10, 3, 32))


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
    spec = resolve_model(name, classes=2, channels=1, input_size=size)
    with pytest.raises(
        UsageError, match=rf"{name} cannot take images of {size} px \(.+\); give an `input_size`.* such as {works}"
    ):
        check_model_input(build_model(spec), spec)


def test_a_network_that_does_not_classify_is_refused() -> None:
    spec = resolve_model("lenet-5", classes=10, channels=1, input_size=28)
    with pytest.raises(UsageError, match=r"lenet-5 is no classifier: expected logits \(2, 10\), got \(2, 1, 28, 28\)"):
        check_model_input(nn.Conv2d(1, 1, 1), spec)


def test_close_names_are_suggested() -> None:
    assert closest_names("lenet300-100")[0] == "lenet-300-100"
    assert closest_names("!!!") == []
    with pytest.raises(UnknownModelError, match=r"unknown model '!!!'$"):
        check_model_name("!!!")
    with pytest.raises(UnknownModelError, match="did you mean lenet-300-100"):
        check_model_name("lenet300-100")
    with pytest.raises(UnknownModelError, match="did you mean torchvision/resnet18"):
        check_model_name("torchvision/resnet-18")


def test_building_draws_no_random_numbers_and_keeps_no_initial_value() -> None:
    before = torch.random.get_rng_state()
    module = build_model(resolve_model("resnet18", classes=10, channels=3, input_size=32))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert len(architecture_digest(module)) == 64


def test_architecture_digest_sees_names_and_shapes() -> None:
    digests = {
        architecture_digest(module)
        for module in (nn.Linear(3, 4), nn.Linear(4, 3), nn.Sequential(nn.Linear(3, 4)), nn.Linear(3, 4, bias=False))
    }
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet20", 32), ("resnet18", 224), ("torchvision/inception_v3", 299), ("vit_base_patch16_384", 384)],
)
def test_the_customary_size_is_that_of_the_weights(name: str, size: int) -> None:
    assert default_input_size(name) == size


def test_every_listed_name_is_known() -> None:
    names = model_names()
    assert len(set(names)) == len(names)
    assert {"lenet-5", "resnet18", "torchvision/resnet18"} <= set(names)
