"""What a network is built from, as a ticket records it. Needs no torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from slt_compress.errors import TicketError

SMALL_INPUT = 64  # px: networks made for ImageNet are adapted to images up to this size
MODEL_ARGUMENTS: frozenset[str] = frozenset()  # what else of a builder a ticket may set; a later release may add some

PYTHON = "python"
MAX_CHANNELS, MAX_INPUT_SIZE = 64, 4096

# What a ticket may ask a builder for: name of the argument -> smallest and largest value.
_LIMITS = {"channels": (1, MAX_CHANNELS), "classes": (2, 100_000), "input_size": (1, MAX_INPUT_SIZE)}
_FIELDS = ("builder", "name", "classes", "channels", "input_size", "small_input")


@dataclass(frozen=True)
class ModelSpec:
    """Everything a network is built from. Square inputs of `input_size` px, `channels` planes, `classes` logits."""

    builder: str  # "slt" for `architectures`, "timm", "torchvision"
    name: str  # as the builder knows it
    classes: int
    channels: int
    input_size: int
    small_input: bool = False
    arguments: Mapping[str, int] = field(default_factory=dict, hash=False)  # by names among `MODEL_ARGUMENTS`

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

    def to_json(self) -> dict[str, Any]:
        return {"builder": PYTHON, "name": self.name}


def read_model(fields: object) -> ModelSpec | PythonModel:
    """Read what either `to_json` wrote. Raises TicketError for anything else."""
    if isinstance(fields, dict) and fields.get("builder") == PYTHON:
        if set(fields) != {"builder", "name"}:
            raise TicketError(f"a model of your own must have the fields builder, name, found {fields!r}")
        return PythonModel(fields["name"])
    return ModelSpec.from_json(fields)


def _check_arguments(arguments: object) -> None:
    if not isinstance(arguments, dict):
        raise TicketError(f"arguments must be an object, found {arguments!r}")
    unknown = sorted(set(arguments) - MODEL_ARGUMENTS)
    if unknown:
        raise TicketError(
            f"its model needs the arguments {', '.join(map(repr, unknown[:3]))}, which this release does not know: "
            "upgrade slt-compress"
        )
    for name, value in arguments.items():
        if type(value) is not int or not -(2**31) <= value < 2**31:
            raise TicketError(f"the argument {name} must be a whole number below 2**31, found {value!r}")
