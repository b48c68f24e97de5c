"""Networks by name, as bare architectures: nothing here decides the value of a weight.

A name leads to one of three builders: the package's own `architectures`, torchvision (`torchvision/NAME`), or timm.
"""

import difflib
import hashlib
import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from slt_compress import architectures, libraries
from slt_compress.errors import TicketError, UsageError
from slt_compress.pictures import SMALL

TORCHVISION = "torchvision/"  # ahead of a network's name

# What a ticket may ask a builder for: name of the argument -> smallest and largest value.
_LIMITS = {"channels": (1, 64), "classes": (2, 100_000), "input_size": (1, 4096)}


@dataclass(frozen=True)
class ModelSpec:
    """Everything a network is built from. Square inputs of `input_size` px, `channels` planes, `classes` logits."""

    builder: str  # "slt" for `architectures`, "timm", "torchvision"
    name: str  # as the builder knows it
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
        if fields["builder"] not in ("slt", "timm", "torchvision") or not isinstance(fields["name"], str):
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
    own = architectures.find(name)
    if own:
        return ModelSpec("slt", name, classes, channels, max(input_size, own.minimum_size))
    check_name(name)
    builder = "torchvision" if name.startswith(TORCHVISION) else "timm"
    return ModelSpec(
        builder, name.removeprefix(TORCHVISION), classes, channels, input_size, small_input=input_size <= SMALL
    )


def names() -> list[str]:
    """Return all names there are; of the own networks with widths, those that the documentation shows."""
    torchvision = [f"{TORCHVISION}{name}" for name in libraries.torchvision_names()]
    return [*architectures.NAMES, *torchvision, *libraries.timm_names()]


def closest(name: str) -> list[str]:
    """Return at most three known names that look like this one, the likeliest first."""
    return difflib.get_close_matches(name, names(), n=3, cutoff=0.5)


def check_name(name: str) -> None:
    """Raise UsageError if no model has this name. Cheap for own models, so it can precede slow work."""
    if not architectures.find(name) and name not in names():
        raise UsageError(_unknown(name))


def default_input_size(name: str) -> int:
    """Return the input size in px a model was made for; own models take any, so they name their customary one."""
    if architectures.find(name):
        return architectures.CUSTOMARY_SIZE
    if name.startswith(TORCHVISION):
        return libraries.torchvision_input_size(name.removeprefix(TORCHVISION))
    return libraries.timm_input_size(name)


def build(spec: ModelSpec) -> nn.Module:
    """Build the architecture in evaluation mode, without dropout. Parameter values are whatever memory held: the caller
    sets them all.

    Raises UsageError for an unknown name, and for a size that the network cannot be built for.
    """
    own = architectures.find(spec.name) if spec.builder == "slt" else None
    if not own and (spec.builder == "slt" or spec.name not in libraries.NAMES[spec.builder]()):
        raise UsageError(_unknown(_full_name(spec)))
    with _SkipInitialisation():
        if own:
            return own.constructor(spec).eval()
        try:
            module = libraries.BUILDERS[spec.builder](spec)
            if not all(parameter.numel() for parameter in module.parameters()):
                raise ValueError("not one patch of the network fits into them")
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            raise UsageError(_misfit(spec, error)) from error
    libraries.silence(module)
    return module.eval()


def check_input(module: nn.Module, spec: ModelSpec) -> None:
    """Raise UsageError if the network cannot classify pictures of the spec's size and channels."""
    parameter = next(module.parameters())
    images = torch.zeros(2, spec.channels, spec.input_size, spec.input_size, device=parameter.device)
    try:
        with torch.no_grad():
            shape = tuple(module.eval()(images).shape)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UsageError(_misfit(spec, error)) from error
    if shape != (2, spec.classes):
        raise UsageError(f"{spec.name} is no classifier: expected logits (2, {spec.classes}), got {shape}")


def architecture_digest(module: nn.Module) -> str:
    """Return SHA-256 (hex) over the names and shapes of all parameters and persistent buffers, in order."""
    shapes = [[name, list(tensor.shape)] for name, tensor in module.state_dict().items()]
    return hashlib.sha256(json.dumps(shapes, separators=(",", ":")).encode()).hexdigest()


def library_version(spec: ModelSpec) -> str:
    """Return "library version" of what builds this spec, for the provenance in the ticket."""
    from slt_compress import __version__

    version = __version__ if spec.builder == "slt" else libraries.version(spec.builder)
    return f"{'slt-compress' if spec.builder == 'slt' else spec.builder} {version}"


def _full_name(spec: ModelSpec) -> str:
    return f"{TORCHVISION}{spec.name}" if spec.builder == "torchvision" else spec.name


def _unknown(name: str) -> str:
    close = closest(name)
    hint = f"did you mean {', '.join(close)}?" if close else "slt-compress models lists what there is"
    return f"unknown model {name!r}: {hint}"


def _misfit(spec: ModelSpec, error: Exception) -> str:
    name = _full_name(spec)
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return (
        f"{name} cannot take pictures of {spec.input_size} px ({reason}); give an --input-size that it can, "
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
