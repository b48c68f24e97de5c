"""The JSON document of an assessment."""

import json

from slt_compress.assessment.results import Assessment


def test_an_assessment_has_all_its_parts(found: Assessment) -> None:
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["facts"]["gated_weights"] == 64 * 300 + 300 * 100 + 100 * 10
    assert document["search_seconds"]["asked"]["steps"] == 300
    assert document["search_seconds"]["default"]["steps"] == 1_000
    assert document["pilot"][0]["kind"] == "crbg"  # how many more there is time for depends on the machine
    choices = document["choices"]
    assert choices
    assert all(0 < choice["ticket_bytes"] < choice["onnx_bytes"] for choice in choices)
    assert document["recommendation"]["choice"] in choices
    assert document["fleet"]["years"][0]["moved_bytes"] == 20 * document["facts"]["dense_bytes"]["fp32"]
