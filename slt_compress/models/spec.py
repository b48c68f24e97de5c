"""What a network is built from, as a ticket records it. Needs no torch."""

from dataclasses import dataclass
from typing import Any

from slt_compress.errors import TicketError

SMALL_INPUT = 64  # px: networks made for ImageNet are adapted to images up to this size

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
