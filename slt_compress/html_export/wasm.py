"""C code as a WebAssembly module: compiled with clang and lld, and run with Node.js where that is installed.

The compiler is that of the package `ziglang`, which holds clang and lld for every common machine, or else `clang` and
`wasm-ld` in PATH. The module needs nothing of its host: no import, no library, no heap. It exports

    memory                      all that it reads and writes
    slt_in, slt_out             where in it an image is put, and the outputs appear
    slt_page()                  computes the outputs of the image
    slt_selftest()              0 if the module computes what it should
"""

import importlib.util
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from slt_compress.c_export.proof import Program, called
from slt_compress.c_export.text import Code
from slt_compress.errors import MissingPackageError, VerificationError

_PACKAGE = "ziglang"
_COMPILE = (
    *("--target=wasm32-unknown-unknown", "-std=c99", "-Oz", "-ffreestanding", "-fno-builtin", "-mbulk-memory"),
    *("-mllvm", "-disable-lsr"),  # loop strength reduction costs bytes here
)
_EXPORTS = ("slt_in", "slt_out", "slt_page", "slt_selftest")
_STACK = 32_768  # bytes, and room for the outputs; below all else in memory, so that an overflow is an error

_PAGE = """
#include "{name}.c"
uint8_t slt_in[SLT_INPUTS];
float slt_out[SLT_OUTPUTS];
void slt_page(void) {{ slt_run(slt_in, slt_out); }}
"""

_DRIVER = """
import { readFileSync, writeFileSync } from "node:fs";
const [file, source, target] = process.argv.slice(2);
const net = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(file))).exports;
if (!source) process.exit(net.slt_selftest());
const [count, size] = [COUNT, SIZE];
const pixels = new Uint8Array(net.memory.buffer, net.slt_in.value, size);
const found = new Uint8Array(net.memory.buffer, net.slt_out.value, 4 * count);
const inputs = readFileSync(source), outputs = [];
for (let at = 0; at < inputs.length; at += size) {
  pixels.set(inputs.subarray(at, at + size));
  net.slt_page();
  outputs.push(Buffer.from(found));
}
writeFileSync(target, Buffer.concat(outputs));
"""


@dataclass(frozen=True)
class Toolchain:
    """What compiles and links for WebAssembly.

    Attributes:
        name: for a person.
        clang, linker: commands.
    """

    name: str
    clang: tuple[str, ...]
    linker: tuple[str, ...]


def toolchain() -> Toolchain:
    """Return a compiler and a linker of this machine. Raises MissingPackageError if there are none."""
    found = importlib.util.find_spec(_PACKAGE)
    if found and found.submodule_search_locations:
        run = (sys.executable, "-m", _PACKAGE)
        headers = Path(found.submodule_search_locations[0], "lib", "include")
        return Toolchain(_PACKAGE, (*run, "clang", "-isystem", str(headers)), (*run, "wasm-ld"))
    clang, linker = shutil.which("clang"), shutil.which("wasm-ld")
    if clang and linker:
        return Toolchain(clang, (clang,), (linker,))
    raise MissingPackageError(
        "`format=html` needs a compiler for WebAssembly: pip install ziglang, or put clang and wasm-ld in PATH"
    )


def node() -> str | None:
    """Return the path of Node.js, None if it is not installed."""
    return shutil.which("node")


def module(code: Code, name: str, outputs: int, folder: Path) -> bytes:
    """Return C code as a module; `folder` holds what is made on the way.

    Raises MissingPackageError without a compiler, VerificationError if the code does not compile.
    """
    tools = toolchain()
    (folder / f"{name}.c").write_text(code.source)
    (folder / f"{name}.h").write_text(code.header)
    (folder / "page.c").write_text(_PAGE.format(name=name))
    _make([*tools.clang, *_COMPILE, "-c", "page.c", "-o", "page.o"], folder, tools)
    stack = (_STACK + 4 * outputs + 15) // 16 * 16
    layout = ("--stack-first", "-z", f"stack-size={stack}")
    options = ("--no-entry", "--strip-all", "--gc-sections", *layout, *(f"--export={one}" for one in _EXPORTS))
    _make([*tools.linker, *options, "-o", "network.wasm", "page.o"], folder, tools)
    return (folder / "network.wasm").read_bytes()


def runnable(code: Code, name: str, kind: str, outputs: int, folder: Path) -> Program:
    """Return C code, compiled for WebAssembly, as Node.js runs it; see `proof.Build`."""
    assert kind == "uint8_t"
    found = node()
    assert found
    module(code, name, outputs, folder)
    inputs = code.header.partition("#define SLT_INPUTS ")[2].split()[0]
    (folder / "run.mjs").write_text(_DRIVER.replace("COUNT", str(outputs)).replace("SIZE", inputs))
    return Program((found, folder / "run.mjs", folder / "network.wasm"), folder, outputs)


def _make(command: list[str], folder: Path, tools: Toolchain) -> None:
    done = called(command, folder)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or [
            f"it ended with {done.returncode}"
        ]
        reason = next((line for line in lines if "error" in line), lines[0])
        raise VerificationError(f"{tools.name} does not compile for WebAssembly: {reason}; nothing was written")
