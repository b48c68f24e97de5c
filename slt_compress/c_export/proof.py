"""A C file, compiled here and run on examples: what it computes is what torch does, or it is not written.

The program runs in a process of its own. It reads inputs from a file and writes outputs to another, so that a fault in
it is a fault of the export and not of Python.

Left out: other machines than this one; there, `slt_selftest` says whether the file computes what it should.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from slt_compress.c_export.text import Code
from slt_compress.errors import VerificationError

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2")
_SECONDS = 600

_DRIVER = """
#include <stdio.h>
#include "{name}.h"

int main(int argc, char **argv)
{{
    static {kind} input[SLT_INPUTS];
    float outputs[SLT_OUTPUTS];
    if (argc != 3)
        return slt_selftest();
    FILE *from = fopen(argv[1], "rb"), *to = fopen(argv[2], "wb");
    if (!from || !to)
        return 100;
    while (fread(input, sizeof input, 1, from) == 1) {{
        slt_run(input, outputs);
        if (fwrite(outputs, sizeof outputs, 1, to) != 1)
            return 100;
    }}
    return fclose(to) ? 100 : 0;
}}
"""


def compiler() -> str | None:
    """Return the path of a C compiler, None if there is none."""
    return next((found for name in COMPILERS if (found := shutil.which(name))), None)


@dataclass(frozen=True)
class Program:
    """A compiled network.

    Attributes:
        command: that runs it.
        folder: where its inputs and outputs may lie.
        outputs: of the network.
    """

    command: tuple[str | Path, ...]
    folder: Path
    outputs: int

    def run(self, inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the outputs, float32 (n, outputs), for inputs (n, …) as `slt_run` takes them.

        Raises VerificationError if the program fails.
        """
        source, target = self.folder / "inputs", self.folder / "outputs"
        source.write_bytes(np.ascontiguousarray(inputs).tobytes())
        self._call(source, target)
        return np.fromfile(target, np.float32).reshape(len(inputs), self.outputs)

    def selftest(self) -> None:
        """Raise VerificationError if the file does not pass its own test."""
        self._call()

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the outputs of a batch."""
        return torch.from_numpy(self.run(inputs.numpy()))

    def _call(self, *arguments: Path) -> None:
        done = called([*self.command, *arguments])
        if done.returncode:
            raise VerificationError(
                f"the compiled C file {'ended' if arguments else 'fails its own test'} with {done.returncode}: "
                "nothing was written"
            )


# Text, its name, the C type of the inputs, number of outputs, folder -> what can be run.
Build = Callable[[Code, str, str, int, Path], Program]


def compiled(code: Code, name: str, kind: str, outputs: int, folder: Path, flags: Sequence[str] = FLAGS) -> Program:
    """Return a network compiled with the compiler of this machine, in a folder. `kind` is the C type of its inputs.

    Raises VerificationError if it does not compile.
    """
    found = compiler()
    assert found
    (folder / f"{name}.c").write_text(code.source)
    (folder / f"{name}.h").write_text(code.header)
    (folder / "driver.c").write_text(_DRIVER.format(name=name, kind=kind))
    program = folder / "program"
    done = called([found, *flags, "-Dmain=slt_main", "-c", f"{name}.c", "-o", "network.o"], folder)
    if not done.returncode:
        done = called([found, *flags, "driver.c", "network.o", "-o", program], folder)
    if done.returncode:
        lines = done.stderr.splitlines()
        reason = next((line for line in lines if "error" in line), f"it ended with {done.returncode}")
        raise VerificationError(f"{found} does not compile the C file: {reason}; nothing was written")
    return Program((program,), folder, outputs)


def called(command: Sequence[str | Path], folder: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Return what became of a command. Raises VerificationError if it cannot be run, or does not end."""
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VerificationError(f"cannot run {command[0]}: {error}") from error


def work_folder() -> "tempfile.TemporaryDirectory[str]":
    """Return a folder that goes when it is left."""
    return tempfile.TemporaryDirectory(prefix="slt-compress-")
