"""What a network is built from: the same again after JSON, and nothing else is read."""

import json
from dataclasses import replace
from typing import Any

import pytest

from slt_compress.errors import TicketError
from slt_compress.models.spec import MODEL_ARGUMENTS, ModelSpec, PythonModel, read_model

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


def test_arguments_are_those_of_an_allow_list() -> None:
    """A ticket must not reach a library's other arguments."""
    assert "arguments" not in SPEC.to_json()
    assert read_model({**SPEC.to_json(), "arguments": {}}) == SPEC
    assert hash(ModelSpec(**vars(SPEC))) == hash(SPEC)
    for name, (low, high) in MODEL_ARGUMENTS.items():
        for value in (low, high):
            spec = replace(SPEC, arguments={name: value})
            assert read_model(json.loads(json.dumps(spec.to_json()))) == spec != SPEC
        for wrong in (low - 1, high + 1, float(low), True, str(low), None):
            with pytest.raises(TicketError, match=rf"the model's {name} must be a whole number from {low} to {high}"):
                read_model({**SPEC.to_json(), "arguments": {name: wrong}})
    for arguments, words in (
        ({"drop": 3}, "its model needs the arguments 'drop', which this release does not know: upgrade slt-compress"),
        ({"pretrained": True}, "'pretrained'"),
        ([], "arguments must be an object"),
        (None, "arguments must be an object"),
    ):
        with pytest.raises(TicketError, match=words):
            read_model({**SPEC.to_json(), "arguments": arguments})


def test_a_users_own_network_has_a_name_for_people() -> None:
    model = PythonModel("nets:Net.<locals>.make-2")
    assert model.to_json() == {"builder": "python", "name": "nets:Net.<locals>.make-2"}
    assert read_model(json.loads(json.dumps(model.to_json()))) == model
    assert model.builder == "python"


@pytest.mark.parametrize("name", ["", "a" * 201, "a/b", "a b", "größe", "a\n", "a\\b", None, 3, ["a"]])
def test_other_names_are_refused(name: Any) -> None:
    with pytest.raises(TicketError, match="a model of your own has an impossible name"):
        read_model({"builder": "python", "name": name})


@pytest.mark.parametrize("fields", [{"builder": "python"}, {"builder": "python", "name": "x", "classes": 2}])
def test_a_users_own_network_has_no_other_fields(fields: Any) -> None:
    with pytest.raises(TicketError, match="a model of your own must have the fields builder, name"):
        read_model(fields)


def test_a_title_shows_the_arguments() -> None:
    assert SPEC.title == "lenet-5"
    assert replace(SPEC, arguments={"embed_dim": 96, "depth": 3}).title == "lenet-5 (depth=3, embed_dim=96)"
    assert PythonModel("mine:Net").title == "mine:Net"
