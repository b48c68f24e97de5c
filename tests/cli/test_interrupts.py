"""Ctrl-C: 130 and one line, whenever it comes and whatever is made of it; who imports the package sees nothing of that.

The moments are counted in imported modules, not in seconds: they are as far into a command on a slow machine.
"""

import contextlib
import fcntl
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from slt_compress.training import batchnorm
from tests.support.commands import Searched
from tests.support.process import Run, run_here

INTERRUPTED = 130
CACHES = {"torchinductor_root", ".ses"}  # what libraries leave in the folder for temporary files in any case
SEARCH = ("search", "lenet-300-100", "--output", "o.safetensors")
COMPARE = ("compare", "lenet-300-100", "--methods", "random", "--sparsities", "0.9", "--seeds", "1", "--no-dense")
COMMANDS = {  # what runs, the moments it is interrupted at, and a number of modules that it imports at least
    "inspect": (("inspect", "{ticket}"), 22, 100),
    "verify": (("verify", "{ticket}"), 8, 1000),
    "evaluate": (("evaluate", "{ticket}"), 2, 1300),
    "evaluate-onnx": (("evaluate", "{onnx}"), 1, 1300),
    "bench": (("bench", "{onnx}"), 1, 2200),
    "export": (("export", "{ticket}", "--output", "o.onnx"), 2, 3000),
    "search": ((*SEARCH, "--epochs", "100000"), 3, 2100),
    "compare": ((*COMPARE, "--output", "grid"), 1, 1500),
    "models": (("models", "resnet18"), 1, 2200),
}
PIPE_BYTES = 4096  # the least that Linux allows: a command must not run far ahead of who reads its standard error
MOMENTS = [
    (name, random.Random(f"{name} {index}").randrange(modules))
    for name, (_, count, modules) in COMMANDS.items()
    for index in range(count)
]


@pytest.fixture(scope="module")
def files(searched: Searched, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("exported")
    assert run_here("export", searched[0], "--output", "t.onnx", cwd=folder).returncode == 0
    return {"ticket": str(searched[0]), "onnx": str(folder / "t.onnx")}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start a command in an empty folder, `work`, with a folder of its own for temporary files, `temporary`."""
    (tmp_path / "work").mkdir()
    (tmp_path / "temporary").mkdir()
    started = []

    def run(*arguments: object, python: tuple[str, ...] = ("-m", "slt_compress")) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, *python, *map(str, arguments)],
            cwd=tmp_path / "work",
            env={**os.environ, "COLUMNS": "200", "TMPDIR": str(tmp_path / "temporary")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            assert process.stderr
            fcntl.fcntl(process.stderr, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def read_until(stream: IO[str] | None, words: str, more: int = 0) -> None:
    """Read to the line with these words, and so many lines more. The process is to live until then."""
    assert stream
    for line in stream:
        if words in line:
            break
    else:
        pytest.fail(f"the command has ended without {words!r}")
    for _ in range(more):
        assert stream.readline()


def interrupted(process: "subprocess.Popen[str]", folder: Path) -> str:
    """Check how an interrupted command has ended: 130, one message, which is returned, and nothing left behind."""
    assert process.stdout
    assert process.stderr
    hung = threading.Timer(120, process.kill)
    hung.start()
    err, out = process.stderr.read(), process.stdout.read()  # `communicate` would miss what has been read ahead
    process.wait()
    hung.cancel()
    assert process.returncode == INTERRUPTED, err
    lines = [line for line in err.splitlines() if not line.startswith("import time:")]
    messages = [line for line in lines if line.startswith("error: interrupted")]
    assert len(messages) == 1, lines
    assert lines[-1] == messages[0]
    assert "Traceback" not in err
    assert out == ""
    left = [path.name for path in (folder / "work").rglob("*") if path.is_file() and path.name != "grid.json"]
    assert [name for name in left if not name.endswith(".lock")] == []
    assert {path.name for path in (folder / "temporary").iterdir()} <= CACHES
    return messages[0]


@pytest.mark.parametrize(("name", "modules"), MOMENTS)
def test_any_moment_will_do(
    files: dict[str, str], start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path, name: str, modules: int
) -> None:
    words = [word.format(**files) for word in COMMANDS[name][0]]
    process = start(*words, python=("-X", "importtime", "-m", "slt_compress"))
    read_until(process.stderr, "typer", modules)  # the first library that the command line imports
    process.send_signal(signal.SIGINT)
    interrupted(process, tmp_path)


@pytest.mark.parametrize("pause", [0.0, 0.7])
def test_a_search_at_work_stops(start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path, pause: float) -> None:
    process = start(*SEARCH, "--epochs", 100_000)
    read_until(process.stderr, "gated weights")
    time.sleep(pause)
    process.send_signal(signal.SIGINT)
    assert "nothing was written (--checkpoint-every STEPS would" in interrupted(process, tmp_path)


@pytest.mark.parametrize("pause", [0.0, 0.7])
def test_a_measurement_stops_with_its_process(
    files: dict[str, str], start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path, pause: float
) -> None:
    process = start("bench", files["onnx"], "--rounds", 1, "--runs", 100_000, "--batch", "512")
    read_until(process.stderr, "measuring")
    time.sleep(pause)
    process.send_signal(signal.SIGINT)
    interrupted(process, tmp_path)
    patience = time.monotonic() + 10  # a process that has only just begun learns of its parent's end a little later
    while any(str(tmp_path) in line for line in children()):
        assert time.monotonic() < patience
        time.sleep(0.1)


def children() -> list[str]:
    """Return the command lines of all processes, where the system lists them."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(entry.read_text(errors="replace"))
    return found


NETWORKS = {
    "swallowed": """
def make():
    try:
        wait()
    except KeyboardInterrupt:
        wait()
""",
    "turned into another error": """
def make():
    try:
        wait()
    except KeyboardInterrupt:
        raise ImportError("a library is broken")
""",
    "through compiled text": """
def make():
    exec("wait()")
""",
    "in a finaliser": """
class Net:
    def __del__(self):
        wait()
def make():
    Net()
    wait()
""",
    "followed by an exit": """
def make():
    try:
        wait()
    except KeyboardInterrupt:
        sys.exit(0)
""",
}
WAIT = """
import sys, time
def wait():
    print("waiting", file=sys.stderr, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("kind", NETWORKS)
def test_whatever_code_makes_of_it(start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path, kind: str) -> None:
    (tmp_path / "nets.py").write_text(WAIT + NETWORKS[kind])
    process = start("search", f"{tmp_path / 'nets.py'}:make", "--output", "o.safetensors")
    read_until(process.stderr, "waiting")
    process.send_signal(signal.SIGINT)
    interrupted(process, tmp_path)


SLOW = """
import sys, time
print("importing", file=sys.stderr, flush=True)
until = time.monotonic() + {seconds}
while time.monotonic() < until:
    time.sleep(0.01)
print("imported", file=sys.stderr, flush=True)
"""


def test_an_import_is_finished_first(start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW.format(seconds=0.5))
    (tmp_path / "nets.py").write_text("def make():\n    import slow\n    while True: pass\n")
    process = start("search", f"{tmp_path / 'nets.py'}:make", "--output", "o.safetensors")
    read_until(process.stderr, "importing")
    process.send_signal(signal.SIGINT)
    read_until(process.stderr, "imported")
    interrupted(process, tmp_path)


def test_the_second_ends_an_import_too(start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW.format(seconds=600))
    (tmp_path / "nets.py").write_text("def make():\n    import slow\n")
    process = start("search", f"{tmp_path / 'nets.py'}:make", "--output", "o.safetensors")
    read_until(process.stderr, "importing")
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    interrupted(process, tmp_path)


def test_what_has_been_written_is_named(start: Callable[..., "subprocess.Popen[str]"]) -> None:
    """An interrupt between the file and the report on it."""
    code = (
        "import os\nfrom slt_compress import __main__\n"
        "from slt_compress.cli import search\n"
        "def wait(*_):\n    os.write(2, b'written\\n')\n    while True: pass\n"
        "search._render = wait\n__main__.main()\n"
    )
    process = start(*SEARCH, "--max-steps", 2, python=("-c", code))
    read_until(process.stderr, "written")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert err == "error: interrupted; o.safetensors is written\n"


def test_after_the_last_step_nothing_is_lost(invoke: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nobody has asked for checkpoints."""
    words = ("search", "lenet-300-100", "--max-steps", 3)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(batchnorm, "_measure", interrupt)
        done = invoke(*words, "--output", "o.safetensors")
    assert done.returncode == INTERRUPTED
    assert done.stderr.endswith(
        "error: interrupted; the same command with --resume continues from the checkpoint in o.safetensors.ckpt\n"
    )
    assert invoke(*words, "--output", "o.safetensors", "--resume").returncode == 0
    assert invoke(*words, "--output", "whole.safetensors").returncode == 0
    assert (tmp_path / "o.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert not (tmp_path / "o.safetensors.ckpt").exists()


def test_the_second_has_a_message_too_while_something_is_saved(start: Callable[..., "subprocess.Popen[str]"]) -> None:
    code = (
        "import os, time\nfrom slt_compress import __main__\n"
        "from slt_compress.cli import search\n"
        "def save(*_, **__):\n    os.write(2, b'saving\\n')\n    time.sleep(600)\n"
        "search.rescued = save\n__main__.main()\n"
    )
    process = start(*SEARCH, "--epochs", 100_000, python=("-c", code))
    read_until(process.stderr, "gated weights")
    process.send_signal(signal.SIGINT)
    read_until(process.stderr, "saving")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (INTERRUPTED, "error: interrupted\n")


def test_the_code_of_an_ended_command_stands(start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path) -> None:
    """While functions run that are to be called at the end of the process."""
    source = "import slow_end, torch\ndef make():\n    return torch.nn.Sequential("
    (tmp_path / "nets.py").write_text(f"{source}torch.nn.Flatten(), torch.nn.Linear(64, 10))\n")
    (tmp_path / "slow_end.py").write_text(
        "import atexit, sys, time\n@atexit.register\ndef end():\n"
        "    print('ending', file=sys.stderr, flush=True)\n    time.sleep(0.5)\n"
    )
    network = f"{tmp_path / 'nets.py'}:make"
    process = start("search", network, "--max-steps", 2, "--output", "o.safetensors", "--json")
    read_until(process.stderr, "ending")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "interrupted" not in err
    assert '"artifact": "o.safetensors"' in out


def test_the_code_of_a_bug_stands_too(start: Callable[..., "subprocess.Popen[str]"]) -> None:
    """What Python takes down after its traceback is left to the system: an interrupt then would end by the signal."""
    code = (
        "import os, sys\nfrom slt_compress import __main__\n"
        "from slt_compress.cli import models\n"
        "class Late:\n    def __del__(self, write=os.write):\n        write(2, b'late')\n"
        "sys.late = Late()\nmodels.exit_codes = None\n__main__.main()\n"
    )
    process = start("models", python=("-c", code))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "TypeError" in err
    assert not err.endswith("late")


def test_who_wants_interrupts_ignored_has_them_ignored(start: Callable[..., "subprocess.Popen[str]"]) -> None:
    """As `nohup` and shells do for commands in the background."""
    code = (
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nfrom slt_compress.__main__ import main\nmain()\n"
    )
    process = start(*SEARCH, "--max-steps", 40, python=("-c", code))
    read_until(process.stderr, "gated weights")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "o.safetensors" in out


def test_python_keeps_its_handler(searched: Searched) -> None:
    code = (
        "import signal, sys, slt_compress\nfrom slt_compress.cli.main import app\n"
        "slt_compress.evaluate(sys.argv[1])\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
        "assert sys.unraisablehook is sys.__unraisablehook__\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(searched[0])], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
