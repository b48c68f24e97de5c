"""Features, each by itself: what works says so, what is missing is noticed. The README's test runs all of them."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slt_compress.c_export import proof
from slt_compress.diagnosis.features import FORMS, Feature, Workshop, features, gpu
from slt_compress.diagnosis.report import Finding, tried
from slt_compress.masking.codecs import CODECS

ALL = {feature.name: feature for feature in features()}


def attempt(feature: Feature, shop: Workshop) -> Finding:
    return tried(feature.name, lambda: feature.run(shop), required=feature.required)


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_the_road_of_a_ticket(shop: Workshop) -> None:
    names = ["search", "save and verify", "restore", "evaluate", "images", "plots", "hf data sets", "tensorboard"]
    found = [attempt(ALL[name], shop) for name in names]
    assert [one.status for one in found] == ["ok"] * len(names), found
    assert found[1].detail.startswith(f"{shop.ticket.stat().st_size:,} bytes, digest ")
    content = bytearray(shop.ticket.read_bytes())
    content[-1] ^= 1
    shop.ticket.write_bytes(content)
    damaged = [attempt(ALL[name], shop) for name in names[1:4]]
    assert all(one.status == "failed" and "the file is damaged" in one.detail for one in damaged)


def test_every_form_of_onnx_is_tried() -> None:
    from slt_compress.onnx_export.forms import FORMS as KNOWN

    assert set(FORMS) == set(KNOWN)
    assert [name for name in ALL if name.startswith("export ")] == [*(f"export {form}" for form in FORMS), "export c"]


def test_without_a_ticket_the_rest_is_not_tried(shop: Workshop) -> None:
    for name in ("save and verify", "restore", "export compact", "export c"):
        found = attempt(ALL[name], shop)
        assert (found.status, found.detail) == ("failed", "not tried: there is no ticket to try it with")


def test_a_compiler_is_missed(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt(ALL["search"], shop)
    monkeypatch.setattr(proof, "compiler", lambda: None)
    found = attempt(ALL["export c"], shop)
    assert (found.status, found.required) == ("missing", False)
    assert found.detail.startswith("a C compiler (cc, gcc or clang)")


@pytest.mark.parametrize(
    ("name", "package"), [("hf data sets", "datasets"), ("tensorboard", "torch.utils.tensorboard")]
)
def test_a_package_is_missed(shop: Workshop, monkeypatch: pytest.MonkeyPatch, name: str, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert attempt(ALL[name], shop).status == "missing"


def test_a_device_that_is_not_there_fails(shop: Workshop) -> None:
    import torch

    found = attempt(gpu("mps" if torch.cuda.is_available() else "cuda"), shop)
    assert found.status == "failed"
    assert "torch finds none on this machine" in found.detail


def test_a_codec_that_loses_bits_is_noticed(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert attempt(ALL["search"], shop).status == "ok"
    for name, codec in list(CODECS.items()):
        monkeypatch.setitem(CODECS, name, replace(codec, decode=lambda *_: np.zeros(1, bool)))
    assert attempt(ALL["save and verify"], shop).status == "failed"
