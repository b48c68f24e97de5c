"""A file that does not compile, crashes or fails its own test is a fault of the export, with one line that says so."""

from pathlib import Path

import numpy as np
import pytest

from slt_compress.c_export.proof import Program, compiled
from slt_compress.c_export.text import Code
from slt_compress.errors import VerificationError
from tests.support.c_code import needs_compiler

pytestmark = needs_compiler
HEADER = """
#include <stdint.h>
#define SLT_INPUTS 2
#define SLT_OUTPUTS 1
void slt_run(const float *input, float *outputs);
int slt_selftest(void);
"""
SOURCE = """
#include "net.h"
void slt_run(const float *input, float *outputs) { $body }
int slt_selftest(void) { return $wrong; }
"""


def program(folder: Path, body: str, wrong: int = 0) -> Program:
    source = SOURCE.replace("$body", body).replace("$wrong", str(wrong))
    return compiled(Code(source, HEADER, 0, 0, 0), "net", "float", 1, folder)


def test_outputs_come_back(tmp_path: Path) -> None:
    found = program(tmp_path, "outputs[0] = input[0] + input[1];")
    assert np.array_equal(found.run(np.array([[1, 2], [3, 4]], np.float32)), np.array([[3], [7]], np.float32))
    found.selftest()


def test_a_warning_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match=r"does not compile the C file: .*unused"):
        program(tmp_path, "int i; outputs[0] = input[0];")


def test_a_crash_is_told(tmp_path: Path) -> None:
    found = program(tmp_path, "while (1) { outputs[0] = *input; outputs += 4096; }")
    with pytest.raises(VerificationError, match=r"the compiled C file ended with -?\d+: nothing was written"):
        found.run(np.zeros((1, 2), np.float32))


def test_a_failed_selftest_is_told(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="fails its own test with 2"):
        program(tmp_path, "outputs[0] = input[0];", wrong=2).selftest()
