"""What a training process asks of its machine: that freed memory is kept at hand."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""From malloc.h."""
KEPT_BYTES = 2**25
"""Arrays up to this size are taken from kept memory; the largest number that glibc admits."""


def keep_freed_memory() -> bool:
    """Let the C library keep memory that is freed instead of handing it back; whether it could be asked.

    Every step frees its gradients and binary weights and asks for as much again. By default the pages go back to the
    system in between and have to be filled with zeros anew: 260 page faults a step of a 784-512-512-10 network, an
    eighth to a fifth of its time. Only glibc (Linux) is known to do so, and asked.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
