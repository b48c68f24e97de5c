"""What a network is built from: the same again after JSON, and nothing else is read."""

import json
from typing import Any

import pytest

from slt_compress.errors import TicketError
from slt_compress.models.spec import ModelSpec

SPEC = ModelSpec("slt", "lenet-5", classes=10, channels=1, input_size=28)


def test_a_spec_survives_json() -> None:
    for spec in (SPEC, ModelSpec("timm", "resnet18", 2, 3, 64, small_input=True)):
        assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pretrained": True}, "model must have the fields builder, name, classes"),
        ({"classes": 2**63}, "classes must be a whole number from 2 to 100000, found 9223372036854775808"),
        ({"classes": True}, "classes must be a whole number"),
        ({"classes": 1}, "classes must be a whole number"),
        ({"channels": 0}, "channels must be a whole number from 1 to 64, found 0"),
        ({"input_size": 5000}, "input_size must be a whole number from 1 to 4096, found 5000"),
        ({"input_size": 28.0}, "input_size must be a whole number"),
        ({"builder": "hub"}, "unknown model builder or name: 'hub'"),
        ({"builder": ["slt"]}, "unknown model builder or name"),
        ({"small_input": 1}, "small_input must be true or false, found 1"),
        ({"name": 3}, "unknown model builder or name: 'slt', 3"),
    ],
)
def test_anything_else_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(TicketError, match=words):
        ModelSpec.from_json({**SPEC.to_json(), **change})


@pytest.mark.parametrize("fields", [[], None, {}, {"builder": "slt"}])
def test_fields_must_be_complete(fields: object) -> None:
    with pytest.raises(TicketError, match="model must have the fields"):
        ModelSpec.from_json(fields)
