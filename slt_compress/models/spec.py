"""What a network is built from, as a ticket records it. Needs no torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from slt_compress.errors import TicketError

SMALL_INPUT = 64  # px: networks made for ImageNet are adapted to images up to this size
PYTHON = "python"
MAX_CHANNELS, MAX_INPUT_SIZE = 64, 4096

# What a ticket may ask a builder for: name of the argument -> smallest and largest value.
_LIMITS = {"channels": (1, MAX_CHANNELS), "classes": (2, 100_000), "input_size": (1, MAX_INPUT_SIZE)}
# What else it may ask for. Weights are memory that is never touched before a ticket fits them. The largest tables that
# a network computes, Swin's masks for images of 4096 px, take 4 GB.
MODEL_ARGUMENTS = {
    "depth": (1, 256),
    "embed_dim": (1, 8_192),
    "mlp_ratio": (1, 16),
    "num_heads": (1, 256),
    "patch_size": (1, 512),
    "window_size": (1, 16),
}
_FIELDS = ("builder", "name", "classes", "channels", "input_size", "small_input")


@dataclass(frozen=True)
class ModelSpec:
    """Everything a network is built from. Square inputs of `input_size` px, `channels` planes, `classes` logits.

    Attributes:
        builder: "slt" for `architectures`, "timm", "torchvision".
        name: as the builder knows it.
        small_input: whether a network made for ImageNet is fitted to small images.
        arguments: what differs from the named network, by names among `MODEL_ARGUMENTS`.
    """

    builder: str
    name: str
    classes: int
    channels: int
    input_size: int
    small_input: bool = False
    arguments: Mapping[str, int] = field(default_factory=dict, hash=False)

    @property
    def title(self) -> str:
        """The name with its arguments, for people."""
        return with_arguments(self.name, self.arguments)

    def to_json(self) -> dict[str, Any]:
        """Return the fields; `arguments` only if there are any, as version 1 of the ticket has no place for them."""
        arguments = {"arguments": dict(self.arguments)} if self.arguments else {}
        return {name: getattr(self, name) for name in _FIELDS} | arguments

    @classmethod
    def from_json(cls, fields: object) -> "ModelSpec":
        """Read what `to_json` wrote, refusing anything else: a ticket must not reach a library's other arguments."""
        if not isinstance(fields, dict) or set(fields) - {"arguments"} != set(_FIELDS):
            raise TicketError(f"model must have the fields {', '.join(_FIELDS)}, found {fields!r}")
        if fields["builder"] not in ("slt", "timm", "torchvision") or not isinstance(fields["name"], str):
            raise TicketError(f"unknown model builder or name: {fields['builder']!r}, {fields['name']!r}")
        if not isinstance(fields["small_input"], bool):
            raise TicketError(f"small_input must be true or false, found {fields['small_input']!r}")
        for key, (low, high) in _LIMITS.items():
            value = fields[key]
            if type(value) is not int or not low <= value <= high:
                raise TicketError(f"{key} must be a whole number from {low} to {high}, found {value!r}")
        _check_arguments(fields.get("arguments", {}))
        return cls(**fields)


@dataclass(frozen=True)
class PythonModel:
    """A network that only its user's own code builds. A ticket never leads to that code: `name` is for people.

    Raises TicketError for a name that is not 1 to 200 ASCII letters, digits and `_ . : < > -`.
    """

    name: str
    builder: ClassVar[str] = PYTHON

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[\w.:<>-]{1,200}", self.name, re.ASCII):
            raise TicketError(f"a model of your own has an impossible name: {self.name!r}")

    @property
    def title(self) -> str:
        """The name, for people."""
        return self.name

    def to_json(self) -> dict[str, Any]:
        return {"builder": PYTHON, "name": self.name}


def read_model(fields: object) -> ModelSpec | PythonModel:
    """Read what either `to_json` wrote. Raises TicketError for anything else."""
    if isinstance(fields, dict) and fields.get("builder") == PYTHON:
        if set(fields) != {"builder", "name"}:
            raise TicketError(f"a model of your own must have the fields builder, name, found {fields!r}")
        return PythonModel(fields["name"])
    return ModelSpec.from_json(fields)


def argument_problem(name: str, value: object) -> str | None:
    """Return what is wrong with an argument of `MODEL_ARGUMENTS`, None if nothing is."""
    low, high = MODEL_ARGUMENTS[name]
    if type(value) is int and low <= value <= high:
        return None
    return f"the model's {name} must be a whole number from {low} to {high}, found {value!r}"


def with_arguments(name: str, arguments: Mapping[str, int]) -> str:
    """Return the name of a network with its arguments, for people: vit_tiny_patch16_224 (depth=6)."""
    changed = ", ".join(f"{key}={value}" for key, value in sorted(arguments.items()))
    return f"{name} ({changed})" if changed else name


def _check_arguments(arguments: object) -> None:
    if not isinstance(arguments, dict):
        raise TicketError(f"arguments must be an object, found {arguments!r}")
    unknown = sorted(set(arguments) - set(MODEL_ARGUMENTS))
    if unknown:
        raise TicketError(
            f"its model needs the arguments {', '.join(map(repr, unknown[:3]))}, which this release does not know: "
            "upgrade slt-compress"
        )
    for name, value in arguments.items():
        if problem := argument_problem(name, value):
            raise TicketError(problem)
