"""The document of a ticket: what `Ticket.to_bytes` would not have written is refused, with what was found."""

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_compress.errors import SltError, TicketError
from slt_compress.ticket import container
from slt_compress.ticket.schema import Layer, Provenance, check_document, few, read_layer
from slt_compress.ticket.ticket import Ticket
from tests.support.documents import PROVENANCE, STATISTICS, layer_rows, rewritten, small_ticket

MODEL, PREPROCESSING = PROVENANCE.model.to_json(), PROVENANCE.preprocessing.to_json()


def test_the_provenance_survives_json() -> None:
    measured = replace(PROVENANCE, metrics={"accuracy": 0.5})
    stored = json.loads(json.dumps(measured.to_json()))
    assert Provenance.from_json(stored) == measured
    assert stored["model"] == MODEL
    assert stored["preprocessing"] == PREPROCESSING
    assert stored["method"] == {"name": "random", "steps": 0, "batch_size": 256, "settings": {}}


def test_a_layer_is_read_with_its_scale_in_float32() -> None:
    found = read_layer(["a.weight", [7, 5], 0.1, "raw", 3, 5])
    assert found == Layer("a.weight", (7, 5), float(np.float32(0.1)), "raw", kept=3, code_bytes=5)
    assert found.size == 35


def test_a_document_of_ours_passes() -> None:
    document, _, _ = container.unpack(small_ticket().to_bytes())
    check_document(document)


def test_few_names_are_shown() -> None:
    assert few(["a", "b"]) == "a, b"
    assert few(["a", "b", "c", "d"]) == "a, b, c, d"
    assert few(["a", "b", "c", "d", "e"]) == "a, b, c, d, …"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": -1}, "its seed"),
        ({"seed": 2**64}, "its seed"),
        ({"seed": 1.0}, "a int as 'seed'"),
        ({"seed": True}, "a int as 'seed'"),
        ({"granularity": "head"}, "expected the granularity"),
        ({"freeze": None}, "a list as 'freeze'"),
        ({"freeze": [0.1]}, "its freeze"),
        ({"freeze": [0.1, 0.2]}, "its freeze"),
        ({"freeze": [2.0, 0.0]}, "its freeze"),
        ({"freeze": [1, 0]}, "its freeze"),
        ({"generator": "mt19937"}, "expected the generator 'hash32x2'"),
        ({"initialiser": "zeros"}, "expected the initialiser"),
        ({"classes": "ab"}, "a list as 'classes'"),
        ({"classes": [1]}, "class names"),
        ({"metrics": None}, "a dict as 'metrics'"),
        ({"metrics": {"accuracy": "all"}}, "its metrics should be finite"),
        ({"metrics": {"accuracy": 10**400}}, "its metrics should be finite"),
        ({"model": {}}, "its model lacks"),
        ({"model": {**MODEL, "pretrained": True}}, "'pretrained'"),
        ({"model": {**MODEL, "name": None}}, "a str as 'name'"),
        ({"model": {**MODEL, "builder": "hub"}}, "unknown model builder"),
        ({"model": {**MODEL, "input_size": 2**63}}, "input_size must be a whole number from 1 to 4096"),
        ({"method": {"name": "x"}}, "its method lacks"),
        ({"preprocessing": {"size": 8}}, "its preprocessing lacks"),
        ({"preprocessing": {**PREPROCESSING, "mean": ["x"]}}, "its mean should be finite"),
        ({"preprocessing": {**PREPROCESSING, "channels": 2}}, "a value for each channel"),
        ({"surprise": 1}, "'surprise'"),
        ({"layers": [[]]}, "a layer should be"),
        ({"layers": layer_rows(name="../x")}, "impossible name"),
        ({"layers": layer_rows(shape=[2**63, 5])}, "impossible shape"),
        ({"layers": layer_rows(shape=[2**39, 2**39])}, "more than a mask could describe"),
        ({"layers": layer_rows(shape=[2**62, 5])}, "impossible shape"),
        ({"layers": layer_rows(shape=[7, -5])}, "impossible shape"),
        ({"layers": layer_rows(shape=[35])}, "impossible shape"),
        ({"layers": layer_rows(codec="zip")}, "unknown codec"),
        ({"layers": layer_rows(codec=["raw"])}, "unknown codec"),
        ({"layers": layer_rows(kept=36)}, "cannot keep"),
        ({"layers": layer_rows(bytes=2**63)}, "cannot keep"),
        ({"layers": layer_rows(bytes=6)}, "do not fit"),
        ({"layers": layer_rows(scale=0)}, "impossible scale"),
        ({"layers": layer_rows(scale=1e300)}, "impossible scale"),
        ({"layers": layer_rows()[:1]}, "do not fit"),
        ({"layers": layer_rows()[1:] * 2}, "do not fit"),
        ({"statistics": []}, "its statistics"),
        ({"statistics": [["n", 3]]}, "its statistics"),
        ({"statistics": [["n", 1], ["n", 1]]}, "its statistics"),
        ({"statistics": [["n", -2], ["m", 4]]}, "a statistic should be"),
        ({"statistics": [3]}, "a statistic should be"),
    ],
)
def test_edited_documents_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(TicketError, match=re.escape(words)):
        Ticket.from_bytes(rewritten(**changes))


def test_a_missing_field_is_named() -> None:
    document, masks, statistics = container.unpack(small_ticket().to_bytes())
    del document["seed"]
    with pytest.raises(TicketError, match="'seed'"):
        Ticket.from_bytes(container.pack(document, masks, statistics)[0])


def test_statistics_must_be_finite() -> None:
    broken = {**STATISTICS, "n.running_var": np.array([np.nan, 1], np.float32)}
    with pytest.raises(TicketError, match="not finite"):
        Ticket.from_bytes(small_ticket(statistics=broken).to_bytes())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.data(), json_values)
def test_any_value_in_any_field_is_read_or_refused(data: st.DataObject, value: Any) -> None:
    """With a correct digest: whoever edits a document and signs it anew can still not crash a reader."""
    document, masks, statistics = container.unpack(small_ticket().to_bytes())
    holder: Any = document
    key: Any = data.draw(st.sampled_from(sorted(document)))
    if isinstance(document[key], dict) and document[key] and data.draw(st.booleans()):
        holder, key = document[key], data.draw(st.sampled_from(sorted(document[key])))
    elif key == "layers":
        holder, key = document["layers"][0], data.draw(st.integers(0, 5))
    holder[key] = value
    try:
        content, _ = container.pack(document, masks, statistics)
    except ValueError:  # NaN and infinity are no JSON: nobody could have written them
        return
    try:
        ticket = Ticket.from_bytes(content)
        ticket.check()
        ticket.restore()
    except SltError:
        pass
