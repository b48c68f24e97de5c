"""A Chromium without a window, led through the pipe of its DevTools protocol: no driver and no package is needed.

`SLT_COMPRESS_CHROMIUM` names its program; else `chromium`, `chromium-browser` or `google-chrome` in PATH is taken.
"""

import contextlib
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    *("--headless", "--no-sandbox", "--no-zygote", "--single-process", "--in-process-gpu", "--no-first-run"),
    *("--disable-dev-shm-usage", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    "--remote-debugging-pipe",
)
PROGRAM = os.environ.get("SLT_COMPRESS_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
needs_browser = pytest.mark.skipif(
    PROGRAM is None, reason="there is no Chromium in PATH, and SLT_COMPRESS_CHROMIUM names none"
)


class Page:
    """A tab that shows a file."""

    def __init__(self, commands: BinaryIO, answers: io.BufferedReader) -> None:
        self._commands, self._answers = commands, answers
        self._numbers, self._session, self._rest = itertools.count(1), "", b""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.requests: list[str] = []
        self.send("Network.enable")
        self.send("Page.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the answer to a command."""
        number = next(self._numbers)
        command: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        self._commands.write(json.dumps(command).encode() + b"\0")
        self._commands.flush()
        while True:
            message = self._read()
            if message.get("method") == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            if message.get("id") == number:
                assert "error" not in message, message
                answer: dict[str, Any] = message["result"]
                return answer

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            read = self._answers.read1(1 << 20)
            assert read, "Chromium has ended"
            self._rest += read
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def show(self, file: Path | str, *, width: int = 1000) -> None:
        """Open a file or an address and wait until its network can answer, or says that it cannot."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        self.send("Page.navigate", url=file if isinstance(file, str) else file.as_uri())
        said = "document.querySelector('#hint')?.textContent"
        self.wait(f"document.body?.dataset.ready || ({said} && !{said}.startsWith('Loading'))")

    def value(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        answer = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + 60
        while not self.value(expression):
            assert time.monotonic() < end, expression
            time.sleep(0.02)

    def stroke(self, *points: tuple[float, float]) -> None:
        """Draw a line on the pad with the mouse, through points in shares of its sides."""
        x, y, side = self.value("(b => [b.x, b.y, b.width])(document.querySelector('#pad').getBoundingClientRect())")
        places = [{"x": x + side * across, "y": y + side * down, "button": "left"} for across, down in points]
        self.send("Input.dispatchMouseEvent", type="mousePressed", clickCount=1, **places[0])
        for place in places[1:]:
            self.send("Input.dispatchMouseEvent", type="mouseMoved", buttons=1, **place)
        self.send("Input.dispatchMouseEvent", type="mouseReleased", clickCount=1, **places[-1])

    def choose(self, image: Path) -> None:
        """Choose an image in the page's picker of files."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(image)])


@contextlib.contextmanager
def browser() -> Iterator[Page]:
    """Give a tab of a new Chromium."""
    assert PROGRAM
    from_us, to_us = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [PROGRAM, *_FLAGS, f"--user-data-dir={profile}"]
        moved = f"import os, sys; os.dup2({from_us[0]}, 3); os.dup2({to_us[1]}, 4); os.execv(sys.argv[1], sys.argv[1:])"
        started = [sys.executable, "-c", moved, *command]
        process = subprocess.Popen(started, pass_fds=(from_us[0], to_us[1]), stderr=subprocess.DEVNULL)
        os.close(from_us[0])
        os.close(to_us[1])
        try:
            with os.fdopen(from_us[1], "wb") as commands, os.fdopen(to_us[0], "rb") as answers:
                yield Page(commands, answers)
        finally:
            process.kill()
            process.wait()
