"""The name of a processor, from wherever the system tells it."""

import platform
from pathlib import Path

import pytest

from slt_compress import machine


def test_the_processor_is_that_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = iter(["flags: a\nmodel name\t: Brand 9 \nmodel name\t: Brand 9\n", "nothing: of it\n"])
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: next(texts))
    assert machine.processor() == "Brand 9"
    monkeypatch.setattr(platform, "processor", lambda: "other")
    assert machine.processor() == "other"

    def fail(*_: object, **__: object) -> str:
        raise OSError

    monkeypatch.setattr(Path, "read_text", fail)
    monkeypatch.setattr(platform, "processor", str)
    assert machine.processor() == platform.machine()
