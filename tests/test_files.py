"""Atomic writes: the old file or the new one, nothing else, and clear words when neither is possible."""

import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slt_compress import files
from slt_compress.errors import OutputError, UsageError


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


def test_what_is_to_be_read_is_a_regular_file(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    files.check_readable(tmp_path / "there", "a file")
    for name, words in (
        ("none", "does not exist"),
        ("there/none", "does not exist"),
        (".", "is a folder"),
        ("pipe", "is no regular file"),
        ("x" * 300, "cannot be read (File name too long)"),
    ):
        with pytest.raises(UsageError, match=re.escape(f"{tmp_path / name} {words}, expected a file")):
            files.check_readable(tmp_path / name, "a file")


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


def special(folder: Path) -> dict[str, Path]:
    """Return what is no regular file, by its kind."""
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "sock"))
    (folder / "to-fifo").symlink_to("fifo")
    (folder / "to-null").symlink_to("/dev/null")
    return {
        "a pipe": folder / "fifo",
        "a socket": folder / "sock",
        "a device": Path("/dev/null"),
        "it is a pipe": folder / "to-fifo",
        "it is a device": folder / "to-null",
    }


def test_what_is_no_regular_file_is_refused_and_stays(tmp_path: Path) -> None:
    for kind, path in special(tmp_path).items():
        mode = path.lstat().st_mode
        for refuse in (files.check_writable, lambda path: files.write_atomically(path, b"new")):
            with pytest.raises(OutputError, match=f"{kind}, expected a regular file or a new name"):
                refuse(path)
        with pytest.raises(OutputError, match="expected a folder"):
            files.check_folder(path)
        assert path.lstat().st_mode == mode


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path, there: bool) -> None:
    (tmp_path / "a").mkdir()
    target = tmp_path / "a" / "t.bin"
    if there:
        target.write_bytes(b"old")
    (tmp_path / "first").symlink_to("second")
    (tmp_path / "second").symlink_to("a/t.bin")
    files.check_writable(tmp_path / "first")
    files.write_atomically(tmp_path / "first", b"new")
    assert (tmp_path / "first").is_symlink()
    assert (tmp_path / "second").is_symlink()
    assert target.read_bytes() == b"new"
    assert not target.is_symlink()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["t.bin"]


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "lost").symlink_to("none/t.bin")
    for name in ("loop", "lost"):
        with pytest.raises(OutputError, match=f"^cannot write .*{name}: "):
            files.check_writable(tmp_path / name)
    with pytest.raises(OutputError, match="lost is a link that leads nowhere, expected a folder"):
        files.check_folder(tmp_path / "lost" / "deeper")


def test_the_longest_names_are_written(tmp_path: Path) -> None:
    """The temporary file must not have a longer one."""
    for name in ("x" * 255, "é" * 127, f"{'y' * 250}.bin"):
        files.check_writable(tmp_path / name)
        files.write_atomically(tmp_path / name, b"new")
        assert (tmp_path / name).read_bytes() == b"new"
    for name in ("x" * 256, "é" * 128):
        with pytest.raises(OutputError, match="too long"):
            files.check_writable(tmp_path / name)
    with pytest.raises(OutputError, match=r"^cannot write "):
        files.check_writable(Path("zero\0byte"))


def spellings(path: Path) -> list[Path]:
    """Return other names of a file, some of them of the same inode."""
    folder = path.parent
    (folder / "link").symlink_to(path.name)
    (folder / "round").symlink_to(folder)
    found = [path, folder / "link", folder / "round" / path.name, folder / "." / ".." / folder.name / path.name]
    if path.exists():
        os.link(path, folder / "hard")
        found.append(folder / "hard")
    return [*found, Path(os.path.relpath(path))]


@pytest.mark.parametrize("there", [True, False])
def test_a_file_is_known_under_other_names(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "t.safetensors"
    if there:
        path.write_bytes(b"ticket")
    for other in spellings(path):
        with pytest.raises(UsageError, match=r"^the ticket and `output` are the same file, "):
            files.check_apart({"`output`": other}, {"the ticket": path})
        with pytest.raises(UsageError, match=r"^`log` and `output` are the same file, "):
            files.check_apart({"`log`": path, "`output`": other}, {})
    files.check_apart({"`log`": None, "`output`": tmp_path / "other"}, {"the ticket": path, "`source`": None})


def test_the_files_of_a_data_set_are_not_replaced(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "train" / "cat").mkdir(parents=True)
    for name in ("train/cat/0.png", "list.csv", "old.safetensors", "train/old.safetensors"):
        (data / name).write_bytes(b"there")
    (tmp_path / "link").symlink_to(data / "train" / "cat" / "0.png")
    for output in (data / "train" / "cat" / "0.png", data / "list.csv", tmp_path / "link"):
        with pytest.raises(UsageError, match=r"^`output` would replace .*, one of the files in `data_dir`"):
            files.check_apart({"`output`": output}, {"`data_dir`": data})
    for output in (data / "old.safetensors", data / "train" / "old.safetensors", data / "new", tmp_path / "x.csv"):
        files.check_apart({"`output`": output}, {"`data_dir`": data})


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("t.safetensors", "t.onnx"),
        ("run-0.9", "run-0.9.onnx"),
        ("run-0.95", "run-0.95.onnx"),
        ("run-0.9.safetensors", "run-0.9.onnx"),
        ("t.onnx", "t.onnx.onnx"),
        (".safetensors", ".onnx"),
    ],
)
def test_what_is_made_of_a_ticket_has_its_name(name: str, made: str) -> None:
    assert files.named_after(Path("folder.d") / name, ".onnx") == Path("folder.d") / made


def test_a_name_is_free_or_gets_a_number(tmp_path: Path) -> None:
    path = tmp_path / "t-0.9-0.safetensors"
    assert files.unused(path, b"a") == path
    path.write_bytes(b"a")
    assert files.unused(path, b"a") == path
    second = files.unused(path, b"b")
    assert second.name == "t-0.9-0-2.safetensors"
    second.write_bytes(b"b")
    assert files.unused(path, b"b") == second
    (tmp_path / "t-0.9-0-3.safetensors").mkdir()
    assert files.unused(path, b"c").name == "t-0.9-0-4.safetensors"


def test_what_cannot_be_written_is_saved_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first of three places that takes it, and under a name that is free there."""
    places = [tmp_path / name for name in ("here", "temporary", "home")]
    for place in places:
        place.mkdir()
    (places[0] / "t.bin").write_bytes(b"another")
    monkeypatch.chdir(places[0])
    monkeypatch.setattr("tempfile.tempdir", str(places[1]))
    monkeypatch.setenv("HOME", str(places[2]))
    for expected in (places[0] / "t-2.bin", places[1] / "t.bin", places[2] / "t.bin"):
        with pytest.raises(OutputError) as caught:
            files.write_or_rescue(tmp_path / "gone" / "t.bin", b"new")
        assert str(caught.value) == (
            f"cannot write {tmp_path}/gone/t.bin: the folder {tmp_path}/gone does not exist; so that it is not lost, "
            f"it is saved as {expected}"
        )
        assert expected.read_bytes() == b"new"
        shutil.rmtree(expected.parent)
    with pytest.raises(OutputError, match=r"gone does not exist$"):
        files.write_or_rescue(tmp_path / "gone" / "t.bin", b"new")
    files.write_or_rescue(tmp_path / "t.bin", b"new")
    assert (tmp_path / "t.bin").read_bytes() == b"new"


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
