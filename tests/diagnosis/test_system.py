"""What a report says of the machine, and that a question without an answer does not end it."""

import getpass
import json
import os
import socket
from typing import Any

import pytest

from slt_compress.diagnosis import system as room
from slt_compress.diagnosis.system import memory, system

MEMINFO = "MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    600 kB\n"


def test_it_tells_what_it_computes_with_and_nothing_personal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada-lovelace")
    monkeypatch.setenv("A_TOKEN", "secret-of-mine")
    found = system()
    assert found["cores"] == os.cpu_count()
    assert found["threads"] >= 1
    assert 0 < found["free_memory_bytes"] < found["memory_bytes"]
    assert found["free_disk_bytes"] > 0
    assert found["c_compiler"] is None or " version " in found["c_compiler"]
    assert found["data_folder"] == "~/.cache/slt-compress"
    text = json.dumps(found)
    assert not {word for word in ("ada-lovelace", "secret-of-mine", socket.gethostname()) if word in text}
    assert getpass.getuser() == "root" or getpass.getuser() not in text


@pytest.mark.parametrize(
    ("limit", "used", "expected"),
    [
        ("", "", (1_024_000, 614_400)),
        ("max\n", "5\n", (1_024_000, 614_400)),
        ("1000000000000\n", "5\n", (1_024_000, 614_400)),
        ("500000\n", "450000\n", (500_000, 50_000)),
        ("900000\n", "1\n", (900_000, 614_400)),
        ("500000\n", "600000\n", (500_000, 0)),
    ],
)
def test_a_container_may_have_less_memory(limit: str, used: str, expected: tuple[int, int]) -> None:
    assert memory(MEMINFO, limit, used) == expected


def test_what_cannot_be_told_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(error: Exception) -> Any:
        raise error

    questions = {
        "missing": lambda: fail(ModuleNotFoundError("torch")),
        "broken": lambda: fail(RuntimeError("CUDA error\nmore")),
        "fine": lambda: 3,
    }
    monkeypatch.setattr(room, "_QUESTIONS", questions)
    assert system() == {"missing": None, "broken": "unknown (RuntimeError: CUDA error)", "fine": 3}
