"""Freed memory that stays: what is taken again needs no new pages."""

import mmap
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from slt_compress.training import malloc

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
LIBRARY, VERSION = platform.libc_ver()
MIB = 40  # more than glibc keeps of itself
FAULTS = f"""
import resource
from slt_compress.training.malloc import keep_freed_memory
keep_freed_memory()
for turn in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = bytearray({MIB} << 20)
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment: str) -> int:
    plain = {name: value for name, value in os.environ.items() if name not in malloc._OWN}
    command = [sys.executable, "-c", FAULTS]
    return int(subprocess.run(command, env={**plain, **environment}, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(LIBRARY != "glibc", reason="other C libraries are left alone")
@pytest.mark.skipif(LIBRARY == "glibc" and VERSION < "2.35", reason="this glibc keeps no block so large")
@pytest.mark.skipif(
    HUGE_PAGES.exists() and "[always]" in HUGE_PAGES.read_text(), reason="huge pages leave too few faults to count"
)
def test_memory_that_was_freed_is_taken_again_without_new_pages_unless_the_environment_objects() -> None:
    pages = (MIB << 20) // mmap.PAGESIZE
    assert faults() < 0.1 * pages
    assert faults(MALLOC_TRIM_THRESHOLD_="131072") > 0.9 * pages
