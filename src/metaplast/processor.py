"""What a training process asks of its machine: that freed memory is kept at hand, and comes in large pages."""

import ctypes
import mmap
import resource
import sys
from pathlib import Path

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
"""From malloc.h."""
KEPT_BYTES = 2**25
"""Arrays up to this size are taken from kept memory; the largest number that glibc admits."""
HEAP_BYTES = 2**28
"""By how much the kept memory grows at a time; what is not used of it is only an address."""
PAGE_BYTES = 2**21
"""A large page of x86-64 and, mostly, of ARM."""


def keep_freed_memory() -> bool:
    """Let the C library keep memory that is freed instead of handing it back; whether it could be asked.

    Every step frees its gradients and binary weights and asks for as much again. By default the pages go back to the
    system in between and have to be filled with zeros anew: 260 page faults a step of a 784-512-512-10 network, an
    eighth to a fifth of its time. Only glibc (Linux) is known to do so, and asked.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if getattr(libc, "mallopt", None) is None:
        return False
    kept = bool(libc.mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES) and libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
    _enlarge_pages(libc)
    return kept


def _enlarge_pages(libc: ctypes.CDLL) -> None:
    """Ask for large pages behind the kept memory: a step looks up thousands of small ones, a tenth of its time.

    They are asked for behind the first `HEAP_BYTES`. Where the system gives none, or limits addresses, all stays as it
    was.
    """
    limits = [resource.getrlimit(limit)[0] for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    if limits != 2 * [resource.RLIM_INFINITY]:
        return
    libc.mallopt(_M_TOP_PAD, HEAP_BYTES)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.free(libc.malloc(KEPT_BYTES - mmap.PAGESIZE))  # more than is at hand, so that the heap grows now
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return
    for line in maps.splitlines():
        if line.endswith("[heap]"):
            first, last = (int(address, 16) for address in line.split()[0].split("-"))
            start, length = -(-first // PAGE_BYTES) * PAGE_BYTES, last - first
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(max(0, length - PAGE_BYTES)), mmap.MADV_HUGEPAGE)
