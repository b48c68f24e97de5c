"""C files compile for microcontrollers and pass their own test there, on emulated ones."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from slt_compress.c_export.export import CExportConfig, export
from slt_compress.c_export.proof import FLAGS
from slt_compress.data.splits import TensorSplit
from tests.support.c_code import needs_compiler
from tests.support.images import preprocessing_of
from tests.support.tickets import make_ticket

COMPILER, EMULATOR = "arm-none-eabi-gcc", "qemu-system-arm"
MISSING = [name for name in (COMPILER, EMULATOR) if not shutil.which(name)]
if not MISSING and not Path("/usr/lib/picolibc/arm-none-eabi").exists():
    MISSING.append("picolibc-arm-none-eabi")
# Processor -> machine of the emulator, with its flash and memory.
BOARDS = {
    "cortex-m0": ("microbit", {"flash": 0, "flash_size": 0x40000, "ram": 0x20000000, "ram_size": 0x4000}),
    "cortex-m4": ("mps2-an386", {"flash": 0, "flash_size": 0x400000, "ram": 0x20000000, "ram_size": 0x400000}),
}
PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include "t.h"

int main(void)
{
    printf("wrong: %d\\n", slt_selftest());
    exit(0);
}
"""

pytestmark = [needs_compiler, pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")]


def run(folder: Path, processor: str) -> str:
    """Return what the self-test of `t.c` prints on an emulated processor."""
    (folder / "main.c").write_text(PROGRAM)
    machine, memory = BOARDS[processor]
    layout = ",".join(f"--defsym=__{name}={value:#x}" for name, value in {**memory, "stack_size": 0x800}.items())
    command = [COMPILER, f"-mcpu={processor}", "-mthumb", *FLAGS, "-Os", "--specs=picolibc.specs", "--oslib=semihost"]
    command += [f"-Wl,{layout}", "t.c", "main.c", "-o", f"{processor}.elf"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    emulation = ["-M", machine, "-nographic", "-monitor", "none", "-serial", "none"]
    emulation += ["-semihosting-config", "enable=on,target=native", "-kernel", f"{processor}.elf"]
    done = subprocess.run([EMULATOR, *emulation], cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout + done.stderr


@pytest.mark.parametrize("arithmetic", ["float", "fixed"])
@pytest.mark.parametrize(("name", "layout"), [("lenet-300-100", "signs"), ("lenet-5", "rice")])
def test_microcontrollers_pass_the_self_test(tmp_path: Path, name: str, layout: str, arithmetic: str) -> None:
    """In 16 KB of memory, of which the stack takes 2."""
    ticket = make_ticket(name, 0.1, size=12 if name == "lenet-5" else 8)
    module = ticket.restore()
    preprocessing = preprocessing_of(ticket)
    shape = (16, preprocessing.channels, preprocessing.size, preprocessing.size)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = TensorSplit(images, torch.zeros(16, dtype=torch.int64))
    limit, calibration = (1.0, split) if arithmetic == "fixed" else (None, None)
    config = CExportConfig(layout, arithmetic=arithmetic, max_accuracy_drop=limit)
    export(module, ticket, tmp_path / "t.c", config, test=split, calibration=calibration)
    for processor in BOARDS:
        assert run(tmp_path, processor) == "wrong: 0\n"
