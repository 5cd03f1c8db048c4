"""What a training process asks of its machine does happen, in a process of its own, since it stays."""

import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = """
import resource, sys, torch
from metaplast.processor import keep_freed_memory
assert keep_freed_memory()
def some_steps(n):
    for _ in range(n):
        arrays = [torch.ones(400_000) for _ in range(8)]; del arrays
some_steps(5)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
some_steps(50)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def answer(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_memory_that_is_freed_is_kept_and_costs_no_page_faults() -> None:
    # Without it they cost nothing or 150,000, as the heap happens to lie.
    assert int(answer(FAULTS)) < 5_000


HUGE = """
import torch
from pathlib import Path
from metaplast.processor import keep_freed_memory
assert keep_freed_memory()
arrays = [torch.ones(400_000) for _ in range(40)]
lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
print(*(line.split()[1] for line in lines if line.startswith("AnonHugePages")))
"""
PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(not PAGES.is_file() or "[madvise]" not in PAGES.read_text(), reason="no large pages to ask for")
def test_arrays_lie_in_large_pages() -> None:
    assert int(answer(HUGE)) > 30_000  # kB, of the 64,000 that the arrays take
