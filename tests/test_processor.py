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


FLAGS = """
from pathlib import Path
from metaplast.processor import keep_freed_memory
assert keep_freed_memory()
_, *heap = Path("/proc/self/smaps").read_text().split("[heap]")  # in two parts, if only one is aligned
print(*(line for part in heap for line in part.splitlines()[:30] if line.startswith("VmFlags")))
"""


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").is_dir(), reason="no large pages to ask for")
def test_large_pages_are_asked_for_behind_the_kept_memory() -> None:
    assert "hg" in answer(FLAGS).split()


def test_a_limit_of_addresses_is_left_alone() -> None:
    code = "import resource; resource.setrlimit(resource.RLIMIT_DATA, (2**31, 2**31))" + FLAGS
    assert "hg" not in answer(code).split()
