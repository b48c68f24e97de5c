"""Networks by name, as bare architectures: nothing here decides the value of a weight.

Own models carry a BatchNorm without affine parameters after every gated layer. A frozen layer cannot learn the scale
of its output, and the normalisation gives it one that does not depend on how many of its weights are kept.

On small pictures (≤ 64 px) the stem that timm made for 224 px would throw most of the picture away before the first
block. It is replaced by a 3×3 convolution of stride 1 and no pooling, as the CIFAR papers do; `ModelSpec` records it.
"""

import difflib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from slt_compress.errors import TicketError, UsageError
from slt_compress.pictures import SMALL

# What a ticket may ask a builder for: name of the argument -> smallest and largest value.
_LIMITS = {"channels": (1, 64), "classes": (2, 100_000), "input_size": (1, 4096)}


@dataclass(frozen=True)
class ModelSpec:
    """Everything a network is built from. Square inputs of `input_size` px, `channels` planes, `classes` logits."""

    builder: str  # "slt" for the models of this module, "timm"
    name: str
    classes: int
    channels: int
    input_size: int
    small_input: bool = False

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def from_json(cls, fields: object) -> "ModelSpec":
        """Read what `to_json` wrote, refusing anything else: a ticket must not reach a library's other arguments."""
        if not isinstance(fields, dict) or set(fields) != set(cls.__dataclass_fields__):
            raise TicketError(f"model must have the fields {', '.join(cls.__dataclass_fields__)}, found {fields!r}")
        if fields["builder"] not in ("slt", "timm") or not isinstance(fields["name"], str):
            raise TicketError(f"unknown model builder or name: {fields['builder']!r}, {fields['name']!r}")
        if not isinstance(fields["small_input"], bool):
            raise TicketError(f"small_input must be true or false, found {fields['small_input']!r}")
        for key, (low, high) in _LIMITS.items():
            value = fields[key]
            if type(value) is not int or not low <= value <= high:
                raise TicketError(f"{key} must be a whole number from {low} to {high}, found {value!r}")
        return cls(**fields)


def resolve(name: str, *, classes: int, channels: int, input_size: int) -> ModelSpec:
    """Turn a name from the command line into a spec that `build` accepts.

    Raises UsageError for an unknown name, with the closest known ones.
    """
    if name in _OWN:
        size = max(input_size, _OWN[name].minimum_size)
        return ModelSpec("slt", name, classes, channels, size)
    _require_timm(name)
    return ModelSpec("timm", name, classes, channels, input_size, small_input=input_size <= SMALL)


def check_name(name: str) -> None:
    """Raise UsageError if no model has this name. Cheap for own models, so it can precede slow work."""
    if name not in _OWN:
        _require_timm(name)


def default_input_size(name: str) -> int:
    """Return the input size in px a model was made for; own models take any, so they name their customary one."""
    if name in _OWN:
        return 32
    import timm

    return int(timm.get_pretrained_cfg(name).input_size[-1])


def build(spec: ModelSpec) -> nn.Module:
    """Build the architecture in evaluation mode. Parameter values are whatever memory held: the caller sets them all.

    Raises UsageError for an unknown name.
    """
    with _SkipInitialisation():
        if spec.builder == "slt":
            if spec.name not in _OWN:
                raise UsageError(_unknown(spec.name, list(_OWN)))
            module = _OWN[spec.name].constructor(spec)
        else:
            module = _build_timm(spec)
    return module.eval()


def check_input(module: nn.Module, spec: ModelSpec) -> None:
    """Raise UsageError if the network cannot classify pictures of the spec's size and channels."""
    parameter = next(module.parameters())
    images = torch.zeros(2, spec.channels, spec.input_size, spec.input_size, device=parameter.device)
    try:
        with torch.no_grad():
            shape = tuple(module.eval()(images).shape)
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"{spec.name} cannot take pictures of {spec.input_size} px ({reason}); give an --input-size that it can, "
            f"such as {default_input_size(spec.name)}"
        ) from error
    if shape != (2, spec.classes):
        raise UsageError(f"{spec.name} is no classifier: expected logits (2, {spec.classes}), got {shape}")


def architecture_digest(module: nn.Module) -> str:
    """Return SHA-256 (hex) over the names and shapes of all parameters and persistent buffers, in order."""
    shapes = [[name, list(tensor.shape)] for name, tensor in module.state_dict().items()]
    return hashlib.sha256(json.dumps(shapes, separators=(",", ":")).encode()).hexdigest()


def library_version(spec: ModelSpec) -> str:
    """Return "library version" of what builds this spec, for the provenance in the ticket."""
    if spec.builder == "timm":
        import timm

        return f"timm {timm.__version__}"
    from slt_compress import __version__

    return f"slt-compress {__version__}"


class _SkipInitialisation(TorchFunctionMode):
    """Make every in-place change of a parameter do nothing: all are overwritten, and a library's random fills take
    longer than everything else on the way from a ticket to its network. Buffers are computed as usual.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        changes = name.endswith("_") and not name.startswith("__") and name != "requires_grad_"
        target = args[0] if args else (kwargs or {}).get("tensor")
        if changes and isinstance(target, nn.Parameter):
            return target
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class _Own:
    constructor: Callable[[ModelSpec], nn.Module]
    minimum_size: int = 1  # px: smaller pictures are enlarged to it


def _linear(features: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(features, outputs, bias=False), nn.BatchNorm1d(outputs, affine=False)]


def _conv(channels: int, outputs: int, kernel: int, padding: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, outputs, kernel, padding=padding, bias=False)
    return [conv, nn.BatchNorm2d(outputs, affine=False), nn.ReLU()]


def _lenet_300_100(spec: ModelSpec) -> nn.Module:
    """LeNet-300-100 of LeCun et al. 1998, with ReLU and BatchNorm."""
    return nn.Sequential(
        nn.Flatten(),
        *_linear(spec.channels * spec.input_size**2, 300),
        nn.ReLU(),
        *_linear(300, 100),
        nn.ReLU(),
        *_linear(100, spec.classes),
    )


def _lenet_5(spec: ModelSpec) -> nn.Module:
    """LeNet-5 of LeCun et al. 1998, with ReLU, max-pooling and BatchNorm."""
    side = (spec.input_size // 2 - 4) // 2
    return nn.Sequential(
        *_conv(spec.channels, 6, 5, padding=2),
        nn.MaxPool2d(2),
        *_conv(6, 16, 5, padding=0),
        nn.MaxPool2d(2),
        nn.Flatten(),
        *_linear(16 * side**2, 120),
        nn.ReLU(),
        *_linear(120, 84),
        nn.ReLU(),
        *_linear(84, spec.classes),
    )


def _conv_n(pairs: int) -> Callable[[ModelSpec], nn.Module]:
    """Conv-2/4/6 of Frankle & Carbin 2019 and Conv-8 of Ramanujan et al. 2020, with BatchNorm."""

    def construct(spec: ModelSpec) -> nn.Module:
        layers: list[nn.Module] = []
        channels, side = spec.channels, spec.input_size
        for width in (64, 128, 256, 512)[:pairs]:
            layers += [
                *_conv(channels, width, 3, padding=1),
                *_conv(width, width, 3, padding=1),
                nn.MaxPool2d(2),
            ]
            channels, side = width, side // 2
        layers += [nn.Flatten(), *_linear(channels * side**2, 256), nn.ReLU(), *_linear(256, 256), nn.ReLU()]
        return nn.Sequential(*layers, *_linear(256, spec.classes))

    return construct


_OWN = {
    "lenet-300-100": _Own(_lenet_300_100),
    "lenet-5": _Own(_lenet_5, minimum_size=12),
    "conv2": _Own(_conv_n(1), minimum_size=2),
    "conv4": _Own(_conv_n(2), minimum_size=4),
    "conv6": _Own(_conv_n(3), minimum_size=8),
    "conv8": _Own(_conv_n(4), minimum_size=16),
}


def _require_timm(name: str) -> None:
    import timm

    known = timm.list_models()
    # Only bare architecture names: a tag such as `.a1_in1k`, `hf-hub:` or `local-dir:` would name trained weights.
    if name not in known:
        raise UsageError(_unknown(name, [*_OWN, *known]))


def _unknown(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else f"own models: {', '.join(_OWN)}; or any timm CNN"
    return f"unknown model {name!r}: {hint}"


def _build_timm(spec: ModelSpec) -> nn.Module:
    import timm

    _require_timm(spec.name)
    module: nn.Module = timm.create_model(spec.name, pretrained=False, num_classes=spec.classes, in_chans=spec.channels)
    if spec.small_input:
        _adapt_stem(module)
    return module


def _adapt_stem(module: nn.Module) -> None:
    """Replace a strided first convolution by a 3×3 one of stride 1, and drop the pooling right behind it."""
    path = getattr(module, "pretrained_cfg", {}).get("first_conv")
    conv = module.get_submodule(path) if isinstance(path, str) else None
    if isinstance(path, str) and isinstance(conv, nn.Conv2d) and max(conv.stride) > 1:
        parent, _, child = path.rpartition(".")
        replacement = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=1, bias=conv.bias is not None)
        setattr(module.get_submodule(parent), child, replacement)
    for pool in ("maxpool", "features.pool0"):  # ResNets and their kin; DenseNets
        parent, _, child = pool.rpartition(".")
        try:
            module.get_submodule(pool)
        except AttributeError:
            continue
        setattr(module.get_submodule(parent), child, nn.Identity())
