"""Networks by name, as bare architectures: nothing here decides the value of a weight.

A name leads to one of three builders: the package's own `architectures`, torchvision (`torchvision/NAME`), or timm.
"""

import difflib
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from slt_compress.errors import UnknownModelError, UsageError, first_line
from slt_compress.models import architectures, external
from slt_compress.models.spec import SMALL_INPUT, ModelSpec
from slt_compress.version import __version__

TORCHVISION = "torchvision/"  # ahead of a network's name


def resolve_model(
    name: str, *, classes: int, channels: int, input_size: int, arguments: Mapping[str, int] | None = None
) -> ModelSpec:
    """Turn a name from the command line into a spec that `build_model` accepts.

    Raises UnknownModelError, with the closest known names, if there is none of this one, and UsageError for arguments
    if it is none of timm's.
    """
    own = architectures.find(name)
    if arguments and (own or name.startswith(TORCHVISION)):
        raise UsageError(f"`model_arguments` are for networks of timm; {name} has none")
    if own:
        return ModelSpec("slt", name, classes, channels, max(input_size, own.minimum_size))
    check_model_name(name)
    builder = "torchvision" if name.startswith(TORCHVISION) else "timm"
    return ModelSpec(
        builder,
        name.removeprefix(TORCHVISION),
        classes,
        channels,
        input_size,
        small_input=input_size <= SMALL_INPUT,
        arguments=dict(arguments or {}),
    )


def model_names() -> list[str]:
    """Return all names there are; of the own networks with widths, those that the documentation shows."""
    torchvision = [f"{TORCHVISION}{name}" for name in external.torchvision_names()]
    return [*architectures.NAMES, *torchvision, *external.timm_names()]


def closest_names(name: str) -> list[str]:
    """Return at most three known names that look like this one, the likeliest first."""
    return difflib.get_close_matches(name, model_names(), n=3, cutoff=0.5)


def check_model_name(name: str) -> None:
    """Raise UnknownModelError if no model has this name. Cheap for own models, so it can precede slow work."""
    if not architectures.find(name) and name not in model_names():
        raise _unknown(name)


def default_input_size(name: str) -> int:
    """Return the input size in px a model was made for; own models take any, so they name their customary one."""
    if architectures.find(name):
        return architectures.CUSTOMARY_SIZE
    if name.startswith(TORCHVISION):
        return external.torchvision_input_size(name.removeprefix(TORCHVISION))
    return external.timm_input_size(name)


def build_model(spec: ModelSpec) -> nn.Module:
    """Build the architecture in evaluation mode, without dropout. Parameter values are whatever memory held: the caller
    sets them all.

    Raises UnknownModelError for an unknown name, UsageError for a size or an argument that the network cannot be built
    for.
    """
    own = architectures.find(spec.name) if spec.builder == "slt" else None
    if not own and (spec.builder == "slt" or spec.name not in external.NAMES[spec.builder]()):
        raise _unknown(full_name(spec))
    with _SkipInitialisation():
        if own:
            return own.constructor(spec).eval()
        try:
            module = external.BUILDERS[spec.builder](spec)
            if not all(parameter.numel() for parameter in module.parameters()):
                raise ValueError("not one patch of the network fits into them")
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            raise UsageError(_misfit(spec, error)) from error
    external.silence(module)
    return module.eval()


def check_model_input(module: nn.Module, spec: ModelSpec) -> None:
    """Raise UsageError if the network cannot classify images of the spec's size and channels."""
    parameter = next(module.parameters())
    images = torch.zeros(2, spec.channels, spec.input_size, spec.input_size, device=parameter.device)
    try:
        with torch.no_grad():
            shape = tuple(module.eval()(images).shape)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UsageError(_misfit(spec, error)) from error
    if shape != (2, spec.classes):
        raise UsageError(f"{spec.title} is no classifier: expected logits (2, {spec.classes}), got {shape}")


def architecture_digest(module: nn.Module) -> str:
    """Return SHA-256 (hex) over the names and shapes of all parameters and persistent buffers, in order."""
    shapes = [[name, list(tensor.shape)] for name, tensor in module.state_dict().items()]
    return hashlib.sha256(json.dumps(shapes, separators=(",", ":")).encode()).hexdigest()


def library_version(spec: ModelSpec) -> str:
    """Return "library version" of what builds this spec, for the provenance in the ticket."""
    version = __version__ if spec.builder == "slt" else external.version(spec.builder)
    return f"{'slt-compress' if spec.builder == 'slt' else spec.builder} {version}"


def full_name(spec: ModelSpec) -> str:
    """Return the name that leads to this spec, and its arguments, for people."""
    return f"{TORCHVISION}{spec.title}" if spec.builder == "torchvision" else spec.title


def known_name(spec: ModelSpec) -> str:
    """Return the name by which `resolve_model` finds this network, without its arguments."""
    return f"{TORCHVISION}{spec.name}" if spec.builder == "torchvision" else spec.name


def _unknown(name: str) -> UnknownModelError:
    close = closest_names(name)
    return UnknownModelError(f"unknown model {name!r}" + (f": did you mean {', '.join(close)}?" if close else ""))


def _misfit(spec: ModelSpec, error: Exception) -> str:
    name = full_name(spec)
    reason = first_line(error) or type(error).__name__
    if spec.arguments:
        return f"{name} cannot be built for images of {spec.input_size} px: {reason}"
    return (
        f"{name} cannot take images of {spec.input_size} px ({reason}); give an `input_size` that it can, "
        f"such as {default_input_size(name)}"
    )


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
