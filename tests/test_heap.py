"""Freed memory that stays: what is taken again needs no new pages."""

import mmap
import platform
import subprocess
import sys
from pathlib import Path

import pytest

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
FAULTS = """
import resource, torch
from slt_compress.heap import keep_freed_memory
assert keep_freed_memory() if {keep} else True
for turn in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(size << 18) for size in (30, 10, 20, 30, 30)]  # MiB
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> int:
    command = [sys.executable, "-c", FAULTS.format(keep=keep)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
@pytest.mark.skipif(
    HUGE_PAGES.exists() and "[always]" in HUGE_PAGES.read_text(), reason="huge pages leave too few faults to count"
)
def test_memory_that_was_freed_is_taken_again_without_new_pages() -> None:
    pages = 120 * 2**20 // mmap.PAGESIZE
    assert faults(keep=False) > pages / 4
    assert faults(keep=True) < pages / 10
