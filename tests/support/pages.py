"""What tests of HTML pages need of the machine."""

import pytest

from slt_compress.errors import MissingPackageError
from slt_compress.html_export import wasm


def _compiles() -> bool:
    try:
        wasm.toolchain()
    except MissingPackageError:
        return False
    return True


needs_wasm = pytest.mark.skipif(
    not _compiles(), reason="there is no compiler for WebAssembly (ziglang, or clang and lld)"
)
needs_node = pytest.mark.skipif(wasm.node() is None, reason="Node.js is not installed")
