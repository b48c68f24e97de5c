"""The packages of a report are those of pyproject.toml, in whatever state they are."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from slt_compress.diagnosis import packages as room
from slt_compress.diagnosis.packages import OPTIONAL, REQUIRED, packages, release
from slt_compress.diagnosis.report import Finding

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def found() -> dict[str, Finding]:
    return {one.name: one for one in packages()}


def test_they_are_those_that_the_project_names() -> None:
    assert set(REQUIRED) == {re.split("[>=]", line)[0] for line in PROJECT["dependencies"]}
    extras = {name: lines for name, lines in PROJECT["optional-dependencies"].items() if name != "dev"}
    assert set(OPTIONAL) == {re.split("[>=]", line)[0] for lines in extras.values() for line in lines}


def test_all_are_here_with_their_versions() -> None:
    assert {one.status for one in found().values()} == {"ok"}
    assert found()["torch"].detail == metadata.version("torch")
    assert [name for name, one in found().items() if not one.required] == list(OPTIONAL)


def test_every_state_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "brokenpackage.py").write_text("raise RuntimeError('libx.so is bad')")
    (tmp_path / "strangepackage.py").write_text("__version__ = '0.5'")
    (tmp_path / "incompletepackage.py").write_text("import nosuchpackage")
    monkeypatch.syspath_prepend(tmp_path)
    names = ("nosuchpackage", "brokenpackage", "strangepackage", "incompletepackage", "numpy")
    monkeypatch.setattr(room, "REQUIRED", {name: name for name in names})
    monkeypatch.setattr(room, "OPTIONAL", {"nosuch-extra": ("nosuchextra", "dreams")})
    asked = ["nosuchpackage>=2.0", "numpy>=99; extra == 'x'", "rich"]
    monkeypatch.setattr(metadata, "requires", lambda _: asked)
    shown = {name: (one.status, one.detail) for name, one in found().items() if name not in ("python", "slt-compress")}
    assert shown == {
        "nosuchpackage": ("missing", 'pip install "nosuchpackage>=2.0"'),
        "brokenpackage": ("failed", "RuntimeError: libx.so is bad"),
        "strangepackage": ("ok", "0.5"),
        "incompletepackage": ("missing", "needs the package nosuchpackage"),
        "numpy": ("missing", f'{metadata.version("numpy")} is too old: pip install "numpy>=99"'),
        "nosuch-extra": ("missing", "pip install nosuch-extra, for dreams"),
    }


def test_versions_are_compared_by_their_numbers() -> None:
    assert release("2.10.1+cu128") == (2, 10, 1) > release("2.9")
    assert release("3.0rc1") == (3, 0)
    assert release("unknown") == ()
