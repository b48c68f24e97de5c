"""Atomic writes: the old file or the new one, nothing else, and clear words when neither is possible."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slt_compress import files
from slt_compress.errors import OutputError


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "t.bin"
    files.write_atomically(path, b"old")
    files.write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_a_system_without_fchmod_writes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has it from Python 3.13 on."""
    monkeypatch.delattr(os, "fchmod", raising=False)
    files.write_atomically(tmp_path / "t.bin", b"new")
    assert (tmp_path / "t.bin").read_bytes() == b"new"


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.bin"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("name", "words"), [("missing/t.bin", "does not exist"), (".", "is a folder")])
def test_an_impossible_place_is_named(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(OutputError, match=words):
        files.check_writable(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="no permission"):
        files.check_writable(tmp_path / "t.bin")


def test_a_name_that_is_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"^cannot write .*x\.bin: "):
        files.check_writable(tmp_path / f"{'x' * 300}.bin")


def test_a_folder_is_made_with_those_above_it_or_the_obstacle_named(tmp_path: Path) -> None:
    files.make_folder(tmp_path / "a" / "b")
    files.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_bytes(b"")
    for name in ("file", "file/folder"):
        with pytest.raises(OutputError, match="file is a file, expected a folder"):
            files.make_folder(tmp_path / name)
    with pytest.raises(OutputError, match="cannot make the folder"):
        files.make_folder(tmp_path / ("x" * 300))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_takes_no_files_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    for place in (tmp_path, tmp_path / "a" / "b"):
        with pytest.raises(OutputError, match="no permission"):
            files.check_folder(place)


_SAVER = """
import sys
from pathlib import Path
from slt_compress.files import write_atomically
print("ready", flush=True)
while True:
    for byte in (b"a", b"b"):
        write_atomically(Path(sys.argv[1]), byte * 3_000_000)
"""


def test_a_killed_save_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "t.bin"
    path.write_bytes(b"a" * 3_000_000)
    for milliseconds in range(0, 40, 4):
        with subprocess.Popen([sys.executable, "-c", _SAVER, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(milliseconds / 1000)
            process.kill()
        assert path.read_bytes() in (b"a" * 3_000_000, b"b" * 3_000_000)
