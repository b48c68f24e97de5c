"""The files of onnxruntime-web are of a known kind and a version that has been tried; else a line says what to do."""

from pathlib import Path

import pytest

from slt_compress.errors import MissingPackageError, UsageError
from slt_compress.web_export.runtime import BINARY, DEFAULT, SCRIPT, find, read
from tests.support.pages import RUNTIME, fake_runtime, needs_runtime


def test_the_files_are_read_as_they_are(tmp_path: Path) -> None:
    for version in ("1.24.0", "1.30.0", "1.31.0-dev.20260901-ab12", "2.0.0"):
        place = fake_runtime(tmp_path, version)
        found = read(place)
        assert found.version == version
        assert found.files == {name: (place / name).read_bytes() for name in (SCRIPT, BINARY)}


def test_npm_puts_them_into_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingPackageError, match="is not here: npm install onnxruntime-web, or name its folder dist"):
        find(None)
    fake_runtime(tmp_path / DEFAULT)
    assert find(None) == DEFAULT
    assert read(None).version == "1.30.0"


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"`runtime` must be the folder dist of onnxruntime-web, .* has no {SCRIPT}"):
        read(tmp_path)
    place = fake_runtime(tmp_path, "1.23.2")
    with pytest.raises(UsageError, match=r"must be 1\.24 or newer, .* has 1\.23\.2: npm install onnxruntime-web"):
        read(place)
    fake_runtime(tmp_path, "new")
    with pytest.raises(UsageError, match=f"{SCRIPT} is another file"):
        read(place)
    (fake_runtime(tmp_path) / BINARY).write_bytes(b"text")
    with pytest.raises(UsageError, match=f"{BINARY} is another file"):
        read(place)


@needs_runtime
def test_the_package_is_known() -> None:
    assert RUNTIME
    found = read(Path(RUNTIME))
    assert int(found.version.split(".")[1]) >= 24
