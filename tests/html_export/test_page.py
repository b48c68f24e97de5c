"""A page holds the module as it is, asks for nothing from elsewhere, and is not changed by what names are in it."""

import base64
import json
import re
import zlib
from dataclasses import replace
from typing import Any

import pytest

from slt_compress.data.preprocessing import Preprocessing
from slt_compress.html_export import page
from tests.support.markup import COLOUR, GREY, NASTY, RECORD, Reader

MODULE = b"\0asm" + bytes(range(256)) * 4


def network(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(re.findall(r"let NET=(\{.*?\}),\{size", text, re.DOTALL)[0])
    return found


def test_the_module_is_in_the_page() -> None:
    text = page.write(MODULE, RECORD, "Digits", "about")
    packed = base64.b64decode(network(text)["module"])
    assert zlib.decompress(packed, -15) == MODULE
    assert network(text)["classes"] == RECORD.classes
    assert Reader(text).links == []


@pytest.mark.parametrize("pixels", [GREY, COLOUR])
def test_names_are_only_shown(pixels: Preprocessing) -> None:
    record = replace(RECORD, preprocessing=pixels)
    plain = Reader(page.write(MODULE, record, "Digits", "about"))
    text = page.write(MODULE, replace(record, classes=[NASTY] * 10), NASTY, NASTY)
    found = Reader(text)
    assert found.tags == plain.tags
    assert found.texts.count(NASTY) == 3  # title, heading and foot
    assert network(text)["classes"] == [NASTY] * 10


def test_the_pen_follows_the_data() -> None:
    light = replace(RECORD, preprocessing=replace(GREY, mean=(0.9,)))
    assert "dark" not in network(page.write(MODULE, RECORD, "t", "a"))
    assert network(page.write(MODULE, light, "t", "a"))["dark"]
    drawn = network(page.write(MODULE, RECORD, "t", "a"))
    assert (drawn["pen"], round(drawn["fit"] * 28), drawn["mass"]) == (2.4, 20, True)
    assert "getUserMedia" not in page.write(MODULE, RECORD, "t", "a")
    assert "getUserMedia" in page.write(MODULE, replace(RECORD, preprocessing=COLOUR), "t", "a")


def test_a_script_is_short_and_means_the_same() -> None:
    script = 'if (a) {\n  b = [1, "x ; const y"];\n}\nfor (const c of d) e();\n'
    assert page._squeezed(script, page._SCRIPT) == 'if(a){b=[1,"x ; const y"]}for(let c of d)e();'
    style = "a > b, c { margin: 0 auto; color: red; }\n"
    assert page._squeezed(style, page._STYLE) == "a > b,c{margin:0 auto;color:red}"
    assert page._part("page.js").count("//") == 0
