"""Architectures of timm and torchvision, without their trained weights, and how they are fitted to small images.

ImageNet networks throw most of a small image away before their first block. For images of at most 64 px

- convolutional networks get a first convolution of 3×3 and stride 1, and no pooling behind it, as the CIFAR papers do;
- timm's Vision and Swin Transformers get the patch size that cuts the image into about 8×8 or 16×16 patches, and
  Swin a window that divides them without a rest;
- every other network of a fixed input size is told the size, and nothing else.

All of it follows from name, size and `small_input`, so a ticket needs to record no more.
"""

import importlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn

from slt_compress.errors import UsageError
from slt_compress.models.spec import MODEL_ARGUMENTS

if TYPE_CHECKING:
    from slt_compress.models.spec import ModelSpec

_VIT_GRID, _SWIN_GRID = 8, 16  # patches a side of a small image
_SMALLEST_WINDOW = 3  # patches a side; below it attention would see next to nothing


def timm_names() -> list[str]:
    """Return all bare architecture names: a tag such as `.a1_in1k`, `hf-hub:` or `local-dir:` names trained weights."""
    import timm

    return list(timm.list_models())


def timm_input_size(name: str) -> int:
    """Return the input size in px a network was made for."""
    import timm

    return int(timm.get_pretrained_cfg(name).input_size[-1])


def build_timm(spec: "ModelSpec") -> nn.Module:
    """Build a network of timm, fitted to the size of the spec."""
    import timm

    def create(**changes: object) -> nn.Module:
        module: nn.Module = timm.create_model(
            spec.name, pretrained=False, num_classes=spec.classes, in_chans=spec.channels, **changes
        )
        return module

    module = create()
    _check_arguments(module, spec)
    if getattr(module, "pretrained_cfg", {}).get("fixed_input_size"):
        changes = {**_timm_sizes(module, spec), **spec.arguments}
        return create(**changes) if changes else module
    if spec.arguments:
        module = create(**spec.arguments)
    if spec.small_input:
        _adapt_stem(module, getattr(module, "pretrained_cfg", {}).get("first_conv"))
    return module


def torchvision_names() -> list[str]:
    """Return the names of all classifiers of still images."""
    import torchvision

    return list(torchvision.models.list_models(module=torchvision.models))


def torchvision_input_size(name: str) -> int:
    """Return the input size in px of the network's published weights."""
    import torchvision

    return int(torchvision.models.get_model_weights(name).DEFAULT.transforms().crop_size[0])


def build_torchvision(spec: "ModelSpec") -> nn.Module:
    """Build a network of torchvision, fitted to the size and the channels of the spec."""
    import torchvision

    arguments: dict[str, Any] = {"weights": None, "num_classes": spec.classes}
    if spec.name in ("googlenet", "inception_v3"):
        arguments |= {"aux_logits": False, "init_weights": False}  # one output, no scipy
    elif spec.name.startswith("vit_"):
        arguments["image_size"] = spec.input_size
    elif spec.name.startswith("maxvit_"):
        arguments["input_size"] = (spec.input_size, spec.input_size)
    module: nn.Module = torchvision.models.get_model(spec.name, **arguments)
    path, first = next((path, layer) for path, layer in module.named_modules() if isinstance(layer, nn.Conv2d))
    if spec.channels != first.in_channels:
        _replace(
            module,
            path,
            nn.Conv2d(
                spec.channels,
                first.out_channels,
                first.kernel_size,  # type: ignore[arg-type]
                first.stride,  # type: ignore[arg-type]
                first.padding,  # type: ignore[arg-type]
                bias=first.bias is not None,
            ),
        )
    if spec.small_input and not spec.name.startswith(("vit_", "swin_", "maxvit_")):
        _adapt_stem(module, path)
    return module


def silence(module: nn.Module) -> None:
    """Switch dropout and stochastic depth off. Gates bring their own noise, and these draw theirs from torch's global
    generator, so that the same search would not find the same mask twice.
    """
    for layer in module.modules():
        if isinstance(layer, nn.modules.dropout._DropoutNd) or type(layer).__name__ == "StochasticDepth":
            layer.p = 0.0  # type: ignore[assignment]
        for attribute in ("drop_prob", "drop_rate", "dropout"):
            if isinstance(getattr(layer, attribute, None), float):
                setattr(layer, attribute, 0.0)


def version(builder: str) -> str:
    """Return the installed version of a library."""
    return str(importlib.import_module(builder).__version__)


def _check_arguments(module: nn.Module, spec: "ModelSpec") -> None:
    """Raise UsageError for an argument that the network's class does not have: some builders ignore it silently."""
    own = inspect.signature(type(module)).parameters
    taken = [name for name in MODEL_ARGUMENTS if name in own and isinstance(own[name].default, int | float)]
    if wrong := sorted(set(spec.arguments) - set(taken)):
        raise UsageError(
            f"{spec.name} has no argument {wrong[0]} that is a number"
            + (f"; it has {', '.join(taken)}" if taken else ", nor any other of `model_arguments`")
        )


def _timm_sizes(module: nn.Module, spec: "ModelSpec") -> dict[str, Any]:
    """Return the constructor's arguments that fit a network of fixed input size to the spec."""
    from timm.layers import PatchEmbed
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.vision_transformer import VisionTransformer

    changes: dict[str, Any] = {}
    accepted = inspect.signature(type(module)).parameters
    if spec.input_size != timm_input_size(spec.name) and "img_size" in accepted:
        changes["img_size"] = spec.input_size
    if spec.small_input and isinstance(getattr(module, "patch_embed", None), PatchEmbed):
        if isinstance(module, SwinTransformer):
            patch = spec.arguments.get("patch_size") or spec.input_size // _grid(spec.input_size, _SWIN_GRID)
            changes |= {"patch_size": patch, "window_size": _window(spec.input_size // patch, module)}
        elif isinstance(module, VisionTransformer):
            changes["patch_size"] = spec.input_size // _grid(spec.input_size, _VIT_GRID)
    return changes


def _grid(size: int, wanted: int) -> int:
    """Return the number of patches a side that divides `size` px and is, as a ratio, closest to `wanted`."""
    divisors = [grid for grid in range(1, size + 1) if size % grid == 0]
    return min(divisors, key=lambda grid: (max(grid, wanted) / min(grid, wanted), -grid))


def _window(grid: int, module: nn.Module) -> int:
    """Return the largest window that divides the grid and is no larger than the network's own; that one if none is of
    a sensible size, and the network then pads.
    """
    own: int = module.get_submodule("layers.0.blocks.0").window_size[0]  # type: ignore[index, assignment]
    return max((size for size in range(_SMALLEST_WINDOW, own + 1) if grid % size == 0), default=own)


def _adapt_stem(module: nn.Module, path: object) -> None:
    """Replace a strided first convolution by a 3×3 one of stride 1, and drop the pooling right behind it."""
    conv = module.get_submodule(path) if isinstance(path, str) else None
    if isinstance(path, str) and isinstance(conv, nn.Conv2d) and max(conv.stride) > 1:
        replacement = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=1, bias=conv.bias is not None)
        _replace(module, path, replacement)
    for pool in ("maxpool", "features.pool0"):  # ResNets and their kin; DenseNets
        try:
            module.get_submodule(pool)
        except AttributeError:
            continue
        _replace(module, pool, nn.Identity())


def _replace(module: nn.Module, path: str, replacement: nn.Module) -> None:
    parent, _, child = path.rpartition(".")
    setattr(module.get_submodule(parent), child, replacement)


NAMES: dict[str, Callable[[], list[str]]] = {"timm": timm_names, "torchvision": torchvision_names}
BUILDERS: "dict[str, Callable[[ModelSpec], nn.Module]]" = {"timm": build_timm, "torchvision": build_torchvision}
