"""What tests of HTML pages need of the machine."""

import contextlib
import functools
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slt_compress.errors import MissingPackageError
from slt_compress.html_export import wasm
from slt_compress.web_export import runtime


def _compiles() -> bool:
    try:
        wasm.toolchain()
    except MissingPackageError:
        return False
    return True


RUNTIME = os.environ.get("SLT_COMPRESS_ONNXRUNTIME_WEB")
needs_runtime = pytest.mark.skipif(
    RUNTIME is None, reason="SLT_COMPRESS_ONNXRUNTIME_WEB names no folder dist of onnxruntime-web"
)


def fake_runtime(folder: Path, version: str = "1.30.0") -> Path:
    """Write files that look like those of onnxruntime-web, and run nowhere; return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / runtime.SCRIPT).write_text(f"/*!\n * ONNX Runtime Web v{version}\n * Copyright\n */\nthrow 1;\n")
    (folder / runtime.BINARY).write_bytes(b"\0asm\1\0\0\0")
    return folder


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Give the address of a folder under Python's own web server."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


needs_wasm = pytest.mark.skipif(
    not _compiles(), reason="there is no compiler for WebAssembly (ziglang, or clang and lld)"
)
needs_node = pytest.mark.skipif(wasm.node() is None, reason="Node.js is not installed")
