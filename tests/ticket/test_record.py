"""What an exported file records of its network: taken from the ticket, and the same again after JSON."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from slt_compress.errors import TicketError
from slt_compress.ticket.held_out import Reference
from slt_compress.ticket.record import NORMALISED, PIXELS, NetworkRecord
from slt_compress.ticket.ticket import Ticket
from tests.support.documents import OWN, PROVENANCE, SEED, rich_ticket, small_ticket


@pytest.mark.parametrize("input_kind", [NORMALISED, PIXELS])
def test_a_record_is_what_the_ticket_says_and_survives_json(input_kind: str) -> None:
    ticket = small_ticket()
    record = NetworkRecord.of(ticket, input_kind)
    assert record == NetworkRecord(
        dataset="digits",
        classes=["a", "b"],
        preprocessing=PROVENANCE.preprocessing,
        model="x",
        seed=SEED,
        sparsity=ticket.sparsity,
        ticket=ticket.digest,
        input=input_kind,
    )
    assert NetworkRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_a_classifier_of_images_is_recorded_in_these_words() -> None:
    ticket = small_ticket()
    assert NetworkRecord.of(ticket).to_json() == {
        "dataset": "digits",
        "classes": ["a", "b"],
        "preprocessing": {"size": 8, "channels": 1, "mean": [0.5], "std": [0.5]},
        "model": "x",
        "seed": SEED,
        "sparsity": ticket.sparsity,
        "ticket": ticket.digest,
        "input": "normalised",
        "geometry": "scale-shorter-side-crop-centre",
    }


def test_a_reference_is_recorded_where_there_is_one() -> None:
    reference = Reference.of({"probability": np.linspace(0, 1, 50)}, np.arange(50) % 2, None, 2)
    record = replace(NetworkRecord.of(small_ticket()), held_out=reference)
    stored = json.loads(json.dumps(record.to_json()))
    assert len(stored["held_out"]) < 80
    assert NetworkRecord.from_json(stored) == record
    for wrong, words in (
        ("####", "is not base64"),
        (5, "is not base64"),
        ("AAAA", "reference is too short"),
        (stored["held_out"][:-8], "reference is too short"),
    ):
        with pytest.raises(TicketError, match=words):
            NetworkRecord.from_json({**stored, "held_out": wrong})
    with pytest.raises(TicketError, match="its reference has 2 groups of classes, the network 3 classes"):
        NetworkRecord.from_json({**stored, "classes": ["a", "b", "c"]})


def test_any_other_network_is_recorded_with_its_task_and_tensors() -> None:
    record = NetworkRecord.of(rich_ticket())
    assert (record.preprocessing, record.inputs, record.outputs, record.task) == (
        None,
        OWN.inputs,
        OWN.outputs,
        OWN.task,
    )
    stored = json.loads(json.dumps(record.to_json()))
    assert stored["inputs"] == [{"shape": [7], "dtype": "int64"}, {"shape": [], "dtype": "float32"}]
    assert stored["task"] == {"name": "regression", "loss": "smooth_l1", "metric": "größte Abweichung"}
    assert NetworkRecord.from_json(stored) == record
    change: dict[str, Any]
    for change in ({"inputs": []}, {"outputs": [{"shape": [0], "dtype": "float32"}]}, {"task": {"name": "x"}}):
        with pytest.raises(TicketError):
            NetworkRecord.from_json({**stored, **change})


def test_without_a_word_about_it_the_input_is_normalised(ticket: Ticket) -> None:
    record = NetworkRecord.of(ticket)
    assert record.input == NORMALISED
    stored = record.to_json()
    del stored["input"]
    assert NetworkRecord.from_json(stored) == record


def test_the_geometry_is_the_only_rule_there_is_or_refused(ticket: Ticket) -> None:
    record = NetworkRecord.of(ticket)
    stored = record.to_json()
    without = {name: value for name, value in stored.items() if name != "geometry"}
    assert NetworkRecord.from_json(without) == record  # from before it was recorded
    for other in ("squash", None, 1):
        with pytest.raises(TicketError, match="its images become squares by the rule"):
            NetworkRecord.from_json({**stored, "geometry": other})
    own = NetworkRecord.of(rich_ticket()).to_json()
    assert "geometry" not in own  # its inputs are no images of ours
    with pytest.raises(TicketError, match="it should not have 'geometry'"):
        NetworkRecord.from_json({**own, "geometry": stored["geometry"]})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"preprocessing": {}}, "its preprocessing should be size, channels, mean and std, found {}"),
        ({"preprocessing": {"size": 8}}, "its preprocessing should be size, channels"),
        ({"preprocessing": [8]}, "its preprocessing should be size, channels"),
        ({"more": 1}, "it should not have 'more'$"),
    ],
)
def test_other_fields_are_refused(change: dict[str, object], words: str) -> None:
    stored = NetworkRecord.of(small_ticket()).to_json()
    with pytest.raises(TicketError, match=words):
        NetworkRecord.from_json({**stored, **change})


@pytest.mark.parametrize("images", [True, False])
def test_a_missing_field_is_named(images: bool) -> None:
    stored = NetworkRecord.of(small_ticket() if images else rich_ticket()).to_json()
    for missing in set(stored) - {"input", "geometry"}:
        with pytest.raises(TicketError, match=f"^it lacks '{missing}'$"):
            NetworkRecord.from_json({name: value for name, value in stored.items() if name != missing})
