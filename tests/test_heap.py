"""Freed memory that stays: what is taken again needs no new pages."""

import mmap
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from slt_compress.heap import keep_freed_memory
assert keep_freed_memory() if {keep} else True
for turn in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for size in (10, 40, 20):
        torch.ones(size << 18)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> int:
    command = [sys.executable, "-c", FAULTS.format(keep=keep)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_memory_that_was_freed_is_taken_again_without_new_pages() -> None:
    pages = 40 * 2**20 // mmap.PAGESIZE
    assert faults(keep=False) > pages / 2
    assert faults(keep=True) < pages / 10
