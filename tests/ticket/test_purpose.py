"""Task, inputs, outputs and reference: the same again after JSON, and nothing else is read."""

import json
from typing import Any

import pytest

from slt_compress.errors import TicketError
from slt_compress.tasks.record import TASK_NAMES, TaskRecord, TensorRecord
from slt_compress.ticket import purpose
from slt_compress.ticket.schema import Histogram

HISTOGRAM = {"name": "x", "edges": [0.0, 1.0, 2.0], "counts": [3, 4]}


@pytest.mark.parametrize("name", TASK_NAMES)
def test_a_task_survives_json(name: str) -> None:
    task = TaskRecord(name, "größter Fehler", "")
    assert purpose.read_task(json.loads(json.dumps(purpose.task_json(task)))) == task


def test_tensors_survive_json() -> None:
    tensors = (TensorRecord((), "bool"), TensorRecord((2**31,)), TensorRecord((1,) * 8, "bfloat16"))
    assert purpose.read_tensors(json.loads(json.dumps(purpose.tensors_json(tensors))), "inputs") == tensors


def test_a_reference_survives_json() -> None:
    reference = (Histogram("x", (0.0, 1.0, 2.0), (3, 2**53)), Histogram("", (-1e300, 1e300), (0,)))
    assert purpose.read_reference(json.loads(json.dumps(purpose.reference_json(reference)))) == reference
    assert purpose.reference_json(()) is None
    assert purpose.read_reference(None) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "detection"}, "its task should be one of classification, multi-label, .*, found 'detection'"),
        ({"name": ["other"]}, "a str as 'name'"),
        ({"loss": "x" * 101}, "its loss should be at most 100 characters"),
        ({"loss": "a\nb"}, "its loss should be at most 100 characters without control characters"),
        ({"metric": "\x1b[2J"}, "its metric should be"),
        ({"metric": "\x9b"}, "its metric should be"),
        ({"metric": "\ud800"}, "its metric should be"),
        ({"metric": None}, "a str as 'metric'"),
        ({"more": 1}, "'more'"),
    ],
)
def test_other_tasks_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(TicketError, match=words):
        purpose.read_task({**purpose.task_json(TaskRecord()), **change})


@pytest.mark.parametrize("row", [[], None, "x"])
def test_objects_are_expected(row: Any) -> None:
    with pytest.raises(TicketError, match="its task should be an object"):
        purpose.read_task(row)
    with pytest.raises(TicketError, match="its inputs should be"):
        purpose.read_tensors([row], "inputs")
    with pytest.raises(TicketError, match="its reference should be objects"):
        purpose.read_reference([row])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": [0]}, "its outputs have an impossible shape"),
        ({"shape": [1.0]}, "its outputs have an impossible shape"),
        ({"shape": [True]}, "its outputs have an impossible shape"),
        ({"shape": [2**31 + 1]}, "its outputs have an impossible shape"),
        ({"shape": [1] * 9}, "its outputs have an impossible shape"),
        ({"shape": [2**16, 2**16]}, "its outputs cannot have the shape"),
        ({"shape": None}, "a list as 'shape'"),
        ({"dtype": "complex64"}, "its outputs cannot have the shape .* and the dtype 'complex64'"),
        ({"dtype": 3}, "a str as 'dtype'"),
        ({"more": 1}, "'more'"),
    ],
)
def test_other_tensors_are_refused(change: dict[str, Any], words: str) -> None:
    (row,) = purpose.tensors_json((TensorRecord((3,)),))
    with pytest.raises(TicketError, match=words):
        purpose.read_tensors([{**row, **change}], "outputs")


@pytest.mark.parametrize("rows", [[], None, {}, purpose.tensors_json((TensorRecord((3,)),)) * 17])
def test_there_are_1_to_16_tensors(rows: Any) -> None:
    with pytest.raises(TicketError, match="its inputs should be 1 to 16 tensors"):
        purpose.read_tensors(rows, "inputs")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "x" * 101}, "at most 100 characters"),
        ({"edges": [0.0, 1.0]}, "1 to 256 counts and an edge more"),
        ({"edges": [0.0], "counts": []}, "1 to 256 counts"),
        ({"edges": [float(i) for i in range(258)], "counts": [0] * 257}, "1 to 256 counts"),
        ({"edges": [0.0, 1.0, 1.0]}, "should ascend"),
        ({"edges": [0.0, 1, 2.0]}, "finite floating-point numbers"),
        ({"edges": [0.0, 1.0, float("inf")]}, "finite floating-point numbers"),
        ({"counts": [0, -1]}, "from 0 to 2"),
        ({"counts": [0, 1.0]}, "from 0 to 2"),
        ({"counts": [0, 2**53 + 1]}, "from 0 to 2"),
        ({"counts": None}, "a list as 'counts'"),
    ],
)
def test_other_histograms_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(TicketError, match=words):
        purpose.read_reference([{**HISTOGRAM, **change}])


def test_histograms_have_names_of_their_own() -> None:
    with pytest.raises(TicketError, match="two histograms of its reference have the same name"):
        purpose.read_reference([HISTOGRAM, {**HISTOGRAM, "name": "y"}, HISTOGRAM])


@pytest.mark.parametrize("rows", [[], [HISTOGRAM] * 65])
def test_there_are_1_to_64_histograms(rows: Any) -> None:
    with pytest.raises(TicketError, match="1 to 64 histograms"):
        purpose.read_reference(rows)
