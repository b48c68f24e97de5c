"""A page loads from beside it alone, names its script and style by their digest, and only shows the names in it."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from typing import Any

import pytest

from slt_compress.html_export import page as one_file
from slt_compress.ticket.probes import OutputProbe, Probes
from slt_compress.web_export.folder import MARK
from slt_compress.web_export.page import write
from tests.support.markup import COLOUR, NASTY, RECORD, Reader

PROBES = Probes((OutputProbe(4.0, ((1.0, -2.0), (0.5, 4.0))),))


def network(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(re.findall(r"let NET=(\{.*?\}),\{size", text, re.DOTALL)[0])
    return found


def element(text: str, name: str) -> str:
    return str(re.findall(rf"<{name}[^>]*>(.*?)</{name}>", text, re.DOTALL)[0])


def test_the_policy_names_what_is_in_the_page_and_nothing_else() -> None:
    text = write(RECORD, PROBES, "Digits", "about")
    policy = re.findall(r'Content-Security-Policy content="([^"]*)"', text)[0]
    found = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    digests = {
        name: base64.b64encode(hashlib.sha256(element(text, name).encode()).digest()).decode()
        for name in ("script", "style")
    }
    assert found == {
        "default-src": "'none'",
        "script-src": f"'self' 'wasm-unsafe-eval' 'sha256-{digests['script']}'",
        "style-src": f"'sha256-{digests['style']}'",
        **dict.fromkeys(("connect-src", "worker-src"), "'self'"),
        **dict.fromkeys(("base-uri", "form-action"), "'none'"),
    }
    assert Reader(text).links == []
    assert MARK in text[:2000]


def test_it_knows_the_probes_of_the_graph() -> None:
    known = network(write(replace(RECORD, seed=2**40 + 7), PROBES, "t", "f"))
    assert known["seed"] == 7
    assert known["probes"] == [[1.0, -2.0], [0.5, 4.0]]
    assert known["limit"] == 4e-3
    assert network(write(RECORD, replace(PROBES, tolerance=0.05), "t", "f"))["limit"] == 0.2
    assert network(write(RECORD, None, "t", "f"))["probes"] == []


@pytest.mark.parametrize("record", [RECORD, replace(RECORD, preprocessing=COLOUR)])
def test_names_are_only_shown(record: Any) -> None:
    plain = Reader(write(record, PROBES, "Digits", "about"))
    text = write(replace(record, classes=[NASTY] * 10), PROBES, NASTY, NASTY)
    found = Reader(text)
    assert found.tags == plain.tags
    assert found.texts.count(NASTY) == 3  # title, heading and foot
    assert network(text)["classes"] == [NASTY] * 10


def test_it_has_all_parts_of_the_page_of_one_file() -> None:
    one, other = one_file.write(b"\0asm", RECORD, "t", "f"), write(RECORD, None, "t", "f")
    assert element(one, "style") == element(other, "style")
    assert element(one, "main") == element(other, "main")
    shared = [element(text, "script").partition("},{size")[2].partition("clear();try{")[0] for text in (one, other)]
    shared = [text.partition("button.onclick=clear;")[0] for text in shared]
    assert shared[0] == shared[1] != ""
