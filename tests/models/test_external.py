"""Networks of timm and torchvision: fitted to small images, without noise of their own, and alive when frozen."""

import re

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from slt_compress.errors import UsageError
from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.masking.parameters import gated_names
from slt_compress.models import external
from slt_compress.models.catalogue import SELECTION
from slt_compress.models.registry import build_model, check_model_input, resolve_model
from slt_compress.models.spec import ModelSpec
from slt_compress.ticket.ticket import Ticket
from tests.support.tickets import make_ticket

CPU = torch.device("cpu")
# Of a kind with a listed one, or with zeroed branches or layer scales of their own.
OTHERS = ("densenet121", "cait_xxs24_224", "mobilenetv2_050", "mixer_s32_224", "torchvision/googlenet")


def build(name: str, size: int, channels: int = 3) -> nn.Module:
    return build_model(resolve_model(name, classes=10, channels=channels, input_size=size))


@pytest.mark.parametrize("name", [*SELECTION, *OTHERS])
def test_a_frozen_network_is_alive(name: str) -> None:
    """Every gated tensor gets a gradient at the initial gates; logits keep their scale, whatever share is kept."""
    size = 8 if "resnet" in name else 16 if name.startswith("vit") else 32
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, size, size, generator=generator)
    flat = FlatNetwork(build(name, size), 0, 0.1, CPU)
    flat.module.train()
    flat.set_gate(torch.full_like(flat.effective, 0.5))
    flat.backward(F.cross_entropy(flat.module(images), torch.arange(4)))
    assert flat.grad.isfinite().all()
    assert [slot.name for slot, part in zip(flat.slots, flat.split(flat.grad), strict=True) if not part.any()] == []
    for density in (0.1, 1.0):
        if density == 1 and flat.size > 40e6:
            continue  # a smaller network of its kind is tested
        if density == 1:
            flat = FlatNetwork(build(name, size), 0, density, CPU)
            flat.module.train()
        with torch.no_grad():
            flat.set_gate((torch.rand(flat.weights.shape, generator=generator) < density).float())
            logits = flat.module(images)
        assert 0.1 < logits.std() < 10, density
        told_apart = 0.002 if flat.has_branches else 0.05  # a class token begins with little of the image
        assert (logits - logits.mean(0)).std() > told_apart, density


@pytest.mark.parametrize(
    "name",
    [
        "resnet20-w2",
        "wide_resnet16_4",
        "test_vit",
        "swin_tiny_patch4_window7_224",
        "convnext_atto",
        "mobilenetv3_small_050",
        "torchvision/mobilenet_v3_small",
        "torchvision/convnext_tiny",
    ],
)
def test_a_ticket_brings_the_network_back(name: str) -> None:
    made = make_ticket(name, 0.1)
    ticket = Ticket.from_bytes(made.to_bytes())
    module = ticket.restore()
    spec = made.provenance.model
    assert isinstance(spec, ModelSpec)
    flat = FlatNetwork(build_model(spec), 0, 0.1, CPU)
    gate = torch.zeros_like(flat.effective)
    for slot, part in zip(flat.slots, flat.split(gate), strict=True):
        part.copy_(torch.from_numpy(ticket.mask(slot.name).ravel()))
    flat.set_gate(gate)
    for key, values in ticket.statistics.items():
        flat.module.get_buffer(key).copy_(torch.from_numpy(values.copy()))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(module(images), flat.module.eval()(images))
    buffers = dict(flat.module.named_buffers())  # those of no state dict included: Swin's indices and masks
    assert all(torch.equal(buffer, buffers[key]) for key, buffer in module.named_buffers())


def test_skipped_initialisation_leaves_the_buffers_as_they_are() -> None:
    ours = build("swin_tiny_patch4_window7_224", 32)
    theirs = timm.create_model("swin_tiny_patch4_window7_224", img_size=32, patch_size=2, window_size=4, num_classes=10)
    expected = dict(theirs.named_buffers())
    assert len(expected) >= 14
    assert all(torch.equal(buffer, expected[name]) for name, buffer in ours.named_buffers())


@pytest.mark.parametrize("name", ["resnet18", "torchvision/resnet18"])
def test_the_stem_is_adapted_at_64_px_and_kept_above(name: str) -> None:
    small, large = build(name, 64), build(name, 224)
    conv = small.get_submodule("conv1")
    assert isinstance(conv, nn.Conv2d)
    assert (conv.kernel_size, conv.stride) == ((3, 3), (1, 1))
    assert isinstance(small.get_submodule("maxpool"), nn.Identity)
    conv = large.get_submodule("conv1")
    assert isinstance(conv, nn.Conv2d)
    assert conv.stride == (2, 2)


@pytest.mark.parametrize(
    "name", ["resnet18", "densenet121", "vgg11", "mobilenet_v2", "vit_b_32", "swin_t", "googlenet"]
)
def test_torchvision_takes_grey_images(name: str) -> None:
    module = build(f"torchvision/{name}", 32, channels=1)
    first = next(layer for layer in module.modules() if isinstance(layer, nn.Conv2d))
    assert first.in_channels == 1
    with torch.no_grad():
        assert module(torch.zeros(2, 1, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("size", "patch"), [(8, 1), (16, 2), (28, 4), (29, 1), (32, 4), (48, 6), (64, 8), (96, 16), (224, 16)]
)
def test_vit_patches_fit_the_image(size: int, patch: int) -> None:
    module = build("test_vit", size)
    embedding = module.get_submodule("patch_embed.proj")
    assert isinstance(embedding, nn.Conv2d)
    assert embedding.stride == (patch, patch)
    with torch.no_grad():
        assert module(torch.zeros(2, 3, size, size)).shape == (2, 10)


@pytest.mark.parametrize(
    ("size", "patch", "window"), [(8, 1, 4), (28, 2, 7), (32, 2, 4), (37, 1, 7), (64, 4, 4), (96, 4, 7), (224, 4, 7)]
)
def test_swin_windows_fit_the_grid(size: int, patch: int, window: int) -> None:
    module = build("swin_tiny_patch4_window7_224", size)
    assert module.get_submodule("patch_embed.proj").stride == (patch, patch)
    assert module.get_submodule("layers.0.blocks.0").window_size == (window, window)
    if size < 224:
        with torch.no_grad():
            assert module(torch.zeros(2, 3, size, size)).shape == (2, 10)


def resolved(name: str, size: int, **arguments: int) -> ModelSpec:
    return resolve_model(name, classes=10, channels=3, input_size=size, arguments=arguments)


def check(name: str, arguments: dict[str, int]) -> None:
    spec = resolved(name, 32, **arguments)
    check_model_input(build_model(spec), spec)


def test_arguments_change_the_network() -> None:
    module = build_model(resolved("vit_tiny_patch16_224", 28, depth=2, embed_dim=48, num_heads=4, patch_size=7))
    blocks = [name for name, _ in module.named_modules() if re.fullmatch(r"blocks\.\d+", name)]
    assert len(blocks) == 2
    assert module.get_submodule("patch_embed.proj").stride == (7, 7)
    assert module.get_submodule("blocks.0.attn").num_heads == 4
    with torch.no_grad():
        assert module(torch.zeros(2, 3, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize(("patch", "window"), [(1, 7), (2, 7), (4, 7), (7, 4)])
def test_the_window_of_a_swin_fits_the_patches_that_were_asked_for(patch: int, window: int) -> None:
    if patch >= 4 and tuple(int(part) for part in timm.__version__.split(".")[:3]) < (1, 0, 31):
        pytest.skip("timm before 1.0.31 makes windows of 0 of the last stages' few patches")
    module = build_model(resolved("swin_tiny_patch4_window7_224", 28, patch_size=patch, embed_dim=24))
    assert module.get_submodule("layers.0.blocks.0").window_size == (window, window)
    with torch.no_grad():
        assert module(torch.zeros(2, 3, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("lenet-5", {"depth": 3}, "`model_arguments` are for networks of timm; lenet-5 has none"),
        ("torchvision/vit_b_16", {"depth": 3}, "`model_arguments` are for networks of timm; torchvision/vit_b_16 has"),
        ("resnet18", {"depth": 3}, "resnet18 has no argument depth that is a number, nor any other"),
        ("swin_tiny_patch4_window7_224", {"depth": 3}, "has no argument depth that is a number; it has embed_dim, mlp"),
        ("swin_tiny_patch4_window7_224", {"num_heads": 3}, "no argument num_heads that is a number"),  # one a stage
        (
            "vit_tiny_patch16_224",
            {"num_heads": 5},
            r"vit_tiny_patch16_224 \(num_heads=5\) cannot be built for images of",
        ),
        ("vit_tiny_patch16_224", {"patch_size": 64}, r"\(patch_size=64\) cannot be built for images of 32 px"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(name: str, arguments: dict[str, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check(name, arguments)


@pytest.mark.parametrize("name", ["mixer_s32_224", "torchvision/vit_b_32"])
def test_where_the_patch_is_fixed_only_the_image_size_is_set(name: str) -> None:
    module = build(name, 64)
    first = next(layer for layer in module.modules() if isinstance(layer, nn.Conv2d))
    assert first.stride == (32, 32)
    with torch.no_grad():
        assert module(torch.zeros(2, 3, 64, 64)).shape == (2, 10)


@pytest.mark.parametrize(
    "name", ["swin_tiny_patch4_window7_224", "torchvision/vgg11", "torchvision/swin_t", "torchvision/efficientnet_b0"]
)
def test_no_network_draws_random_numbers_while_it_trains(name: str) -> None:
    """These have dropout or stochastic depth, from torch's global generator: a search would not repeat itself."""
    module = build(name, 32).train()
    for parameter in module.parameters():
        nn.init.constant_(parameter, 0.01)
    before = torch.random.get_rng_state()
    module(torch.ones(2, 3, 32, 32))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_names_are_bare_architectures_that_classify() -> None:
    assert {"resnet18", "vit_b_16", "swin_t", "convnext_tiny"} <= set(external.torchvision_names())
    assert not {"fcn_resnet50", "fasterrcnn_resnet50_fpn", "raft_small", "r3d_18"} & set(external.torchvision_names())
    assert not [name for name in external.timm_names() if "." in name or ":" in name or "/" in name]


def test_the_packed_projection_of_attention_is_gated() -> None:
    names = gated_names(build("torchvision/vit_b_32", 32))
    assert "encoder.layers.encoder_layer_0.self_attention.in_proj_weight" in names
    assert "encoder.layers.encoder_layer_0.self_attention.out_proj.weight" in names
    assert not [name for name in names if name.endswith(("bias", "class_token", "pos_embedding"))]
