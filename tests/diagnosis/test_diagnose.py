"""A whole diagnosis, with a few features: it tells how far it is, is silent, and leaves nothing."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import slt_compress
from slt_compress.diagnosis import diagnose
from slt_compress.diagnosis.features import Feature, Workshop
from slt_compress.progress import ReportCount


class Listener:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def note(self, text: str) -> None: ...

    def training_progress(self) -> contextlib.nullcontext[None]:
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def counter(self, what: str) -> Iterator[ReportCount]:
        assert what == "trying"
        yield lambda done, total: self.told.append((done, total))


def good(shop: Workshop) -> str:
    print("a library talks")
    (shop.folder / "file").write_text("x")
    return "fine"


def bad(shop: Workshop) -> str:
    raise ValueError(f"no {shop.folder.name[:4]}")


def test_a_diagnosis(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(diagnose, "features", lambda: [Feature("good", good), Feature("bad", bad, required=False)])
    monkeypatch.setattr(diagnose, "gpu", lambda name: Feature(name, good))
    machine = {"gpus": [], "mps": False}
    monkeypatch.setattr(diagnose, "system", lambda: machine)
    listener = Listener()
    found = slt_compress.doctor(listener)
    assert [(one.name, one.status, one.detail) for one in found.features] == [
        ("good", "ok", "fine"),
        ("bad", "failed", "ValueError: no slt-"),
    ]
    assert listener.told == [(1, 2), (2, 2)]
    assert found.broken == []
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.glob("slt-compress-*")) == []
    for machine["gpus"], machine["mps"], more in (
        ([{"name": "x"}], True, ["cuda", "mps"]),
        ("unknown (x)", "unknown", []),
    ):
        assert [one.name for one in slt_compress.doctor().features[2:]] == more


def test_without_a_folder_to_try_things_in_that_is_the_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnose, "packages", tuple)
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    found = slt_compress.doctor()
    assert found.broken == ["temporary folder"]
    assert "No such file or directory" in found.features[0].detail
