"""The files of onnxruntime-web that a page needs: taken from the user's own npm package, and shipped as they are.

Of its builds it is that for WebAssembly alone, whose script contains its glue code: two files, one thread, and so no
header that isolates the page.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from slt_compress.errors import MissingPackageError, UsageError

SCRIPT = "ort.wasm.bundle.min.mjs"
BINARY = "ort-wasm-simd-threaded.wasm"
DEFAULT = Path("node_modules", "onnxruntime-web", "dist")
OLDEST = (1, 24)  # that has been tested; older ones need a file more

_VERSION = re.compile(rb"ONNX Runtime Web v((\d+)\.(\d+)\.\d+[\w.-]*)")
_HEAD = 1_000  # bytes of the script in which its version is


@dataclass(frozen=True)
class Runtime:
    """A version of onnxruntime-web.

    Attributes:
        version: of the package, such as "1.30.0".
        files: its files that a page needs, by their names.
    """

    version: str
    files: Mapping[str, bytes]


def find(folder: str | Path | None) -> Path:
    """Return the folder of the package's files: this one, or that which npm makes in the current folder.

    Raises UsageError if one that was named lacks a file, MissingPackageError if none was and npm has made none.
    """
    place = DEFAULT if folder is None else Path(folder)
    missing = next((name for name in (SCRIPT, BINARY) if not (place / name).is_file()), None)
    if missing and folder is not None:
        raise UsageError(f"`runtime` must be the folder dist of onnxruntime-web, {folder} has no {missing}")
    if missing:
        raise MissingPackageError(
            f"`format=web` needs onnxruntime-web, and {DEFAULT} is not here: npm install onnxruntime-web, or name its "
            "folder dist with `runtime`"
        )
    return place


def read(folder: str | Path | None) -> Runtime:
    """Return the files of the package; `folder` as in `find`.

    Raises what `find` raises, and UsageError for files that cannot be read, are others, or are too old.
    """
    place = find(folder)
    try:
        files = {name: (place / name).read_bytes() for name in (SCRIPT, BINARY)}
    except OSError as error:
        raise UsageError(f"cannot read onnxruntime-web in {place}: {error.strerror or error}") from error
    found = _VERSION.search(files[SCRIPT][:_HEAD])
    if not found or not files[BINARY].startswith(b"\0asm"):
        wrong = BINARY if found else SCRIPT
        raise UsageError(f"`runtime` must be the folder dist of onnxruntime-web, {place / wrong} is another file")
    version = found[1].decode()
    if (int(found[2]), int(found[3])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise UsageError(
            f"onnxruntime-web must be {oldest} or newer, {place} has {version}: npm install onnxruntime-web"
        )
    return Runtime(version, files)
