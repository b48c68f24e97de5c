"""Modules need nothing of their host, compute what torch does, and what goes wrong in a compiler is told in a line."""

import sys
from pathlib import Path

import numpy as np
import pytest

from slt_compress.c_export.text import Code
from slt_compress.errors import MissingPackageError, VerificationError
from slt_compress.html_export import wasm
from tests.support.pages import needs_node, needs_wasm

HEADER = """
#include <stdint.h>
#define SLT_INPUTS 2
#define SLT_OUTPUTS 3
void slt_run(const uint8_t *input, float *outputs);
int slt_selftest(void);
"""
SOURCE = """
#include "net.h"
void slt_run(const uint8_t *input, float *outputs) { $body }
int slt_selftest(void) { return 5; }
"""
SUM = "for (int i = 0; i < 3; i++) outputs[i] = (float)(input[0] + input[1] + i);"


def code(body: str = SUM) -> Code:
    return Code(SOURCE.replace("$body", body), HEADER, 0, 0, 0)


def sections(module: bytes) -> set[int]:
    """Return the kinds of sections of a module: 2 are imports, 0 names and other remarks."""
    assert module[:8] == b"\0asm\1\0\0\0"
    found, at = set(), 8
    while at < len(module):
        found.add(module[at])
        size = shift = 0
        at += 1
        while True:
            byte = module[at]
            size |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                break
        at += size
    return found


@needs_wasm
def test_a_module_imports_nothing_and_is_the_same_every_time(tmp_path: Path) -> None:
    module = wasm.module(code(), "net", 3, tmp_path)
    assert not sections(module) & {0, 2}
    (tmp_path / "again").mkdir()
    assert wasm.module(code(), "net", 3, tmp_path / "again") == module


@needs_wasm
@needs_node
def test_node_runs_the_module(tmp_path: Path) -> None:
    program = wasm.runnable(code(), "net", "uint8_t", 3, tmp_path)
    found = program.run(np.array([[1, 2], [200, 100]], np.uint8))
    assert np.array_equal(found, np.array([[3, 4, 5], [300, 301, 302]], np.float32))
    with pytest.raises(VerificationError, match="fails its own test with 5"):
        program.selftest()


@needs_wasm
@needs_node
def test_an_overflow_of_the_stack_is_an_error(tmp_path: Path) -> None:
    deep = "volatile uint8_t a[70000]; for (int i = 0; i < 70000; i++) a[i] = *input; outputs[0] = a[*input];"
    program = wasm.runnable(code(deep), "net", "uint8_t", 3, tmp_path)
    with pytest.raises(VerificationError, match="ended with 1: nothing was written"):
        program.run(np.zeros((1, 2), np.uint8))


@needs_wasm
def test_what_does_not_compile_or_link_is_told(tmp_path: Path) -> None:
    for body, words in (("none;", "undeclared identifier 'none'"), ("void g(void); g();", "undefined symbol: g")):
        with pytest.raises(
            VerificationError, match=rf"does not compile for WebAssembly: .*{words}; nothing was written"
        ):
            wasm.module(code(body), "net", 3, tmp_path)


def test_clang_and_its_linker_are_found_in_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wasm, "_PACKAGE", "no_such_package")
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("clang", "wasm-ld"):
        with pytest.raises(MissingPackageError, match="needs a compiler for WebAssembly: pip install"):
            wasm.toolchain()
        (tmp_path / name).write_text(f"#!{sys.executable}\nimport sys\nsys.exit('error: no wasm32 here')\n")
        (tmp_path / name).chmod(0o755)
    assert wasm.toolchain().name == str(tmp_path / "clang")
    with pytest.raises(VerificationError, match=r"clang does not compile for WebAssembly: error: no wasm32 here"):
        wasm.module(code(), "net", 3, tmp_path)
