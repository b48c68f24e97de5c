"""Findings: whatever an attempt raises is one line of a report, without the user's home folder."""

from pathlib import Path
from typing import Any

import pytest

from slt_compress.diagnosis.report import Diagnosis, Finding, NotInstalledError, tried
from slt_compress.errors import MissingPackageError, TicketError


def raising(error: BaseException) -> Any:
    def run() -> str:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (NotInstalledError("get it"), "missing", "get it"),
        (MissingPackageError("needs x: pip install x"), "missing", "needs x: pip install x"),
        (ModuleNotFoundError("No module named 'x'", name="x"), "missing", "needs the package x"),
        (TicketError("damaged"), "failed", "damaged"),
        (ImportError("libx.so:\nmore"), "failed", "ImportError: libx.so"),
        (RuntimeError(), "failed", "RuntimeError"),
        (SystemExit(3), "failed", "it ended with 3"),
    ],
)
def test_what_is_raised_is_a_finding(error: BaseException, status: str, detail: str) -> None:
    assert tried("x", raising(error), required=False) == Finding("x", status, detail, required=False)  # type: ignore[arg-type]


def test_an_interrupt_is_none() -> None:
    with pytest.raises(KeyboardInterrupt):
        tried("x", raising(KeyboardInterrupt()), required=True)


def test_the_home_folder_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ada"))
    assert Finding("x", "failed", "/home/ada/x\nis bad").detail == "~/x\\nis bad"
    monkeypatch.setattr(Path, "home", raising(RuntimeError("no home")))
    assert Finding("x", "failed", "/home/ada/x").detail == "/home/ada/x"


def test_only_what_is_required_breaks_a_diagnosis() -> None:
    findings = (Finding("a", "ok", ""), Finding("b", "missing", "", required=False), Finding("c", "failed", ""))
    assert Diagnosis({}, findings[:2], ()).to_json()["ok"]
    assert Diagnosis({}, findings[:2], findings[2:]).broken == ["c"]
    assert Diagnosis({}, (Finding("d", "missing", ""),), findings).broken == ["d", "c"]
