"""How CPU threads wait for each other, and how long they wait for others to leave them a core.

What a training process asks of its machine: that freed memory is kept at hand, and comes in large pages.

Shares of the machine: how many jobs of a sweep run at once, and how many threads each may use.

Jobs that all take every core wait for one another: two trainings on two cores took ten times as long.
"""

import ctypes
import mmap
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

_OWN_THREADS = Path("/proc/self/task")
_chosen: str | None = None
"""What this process has set itself."""


def yield_cores() -> None:
    """Let idle OpenMP threads sleep soon, unless the environment says otherwise.

    Those of this process if torch is not imported yet, and of the processes that it starts.

    Spinning threads are torch's default. Beside any other busy process on two cores they made a 3 ms step of a
    784-512-512-10 network take 200 ms; with a short spin it takes 5 to 7.
    """
    _spin(1_000)


def hold_cores() -> None:
    """Let idle OpenMP threads spin for about a millisecond, in a process that gives way (`waited_for_cores`).

    A step has some thirty parallel parts; waking a sleeping thread for each costs a 784-512-512-10 network a third of
    its speed. Where the system does not tell who waits, and where the environment says otherwise, as `yield_cores`.
    """
    _spin(1_000 if waited_for_cores() is None else 100_000)


def _spin(count: int) -> None:
    global _chosen
    if "OMP_WAIT_POLICY" not in os.environ and os.environ.get("GOMP_SPINCOUNT") in (None, _chosen):
        _chosen = os.environ["GOMP_SPINCOUNT"] = str(count)


def waited_for_cores() -> float | None:
    """Seconds that the threads of this process have been ready to run while others had their cores, summed over them.

    None where the system does not count them. Linux does, in `schedstat`: time run and time waited, in ns, and how
    often a thread was given a core; all 0 where counting is switched off.
    """
    try:
        counts = [_counts(thread / "schedstat") for thread in _OWN_THREADS.iterdir()]
        waited = [int(waited) for _, waited, times in counts if int(times)]
    except (OSError, ValueError):
        return None
    return sum(waited) / 1e9 if waited else None


def _counts(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except (FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
        return ["0", "0", "0"]


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


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0))


def jobs_at_once(n_jobs: int | None) -> int:
    """How many jobs run at once: `n_jobs`, or as many as there are cores where it is None or -1."""
    return cores() if n_jobs is None or n_jobs < 0 else n_jobs


def threads_per_job(launcher: "DictConfig") -> int | None:
    """Threads of each job under `hydra/launcher`; None for launchers that are not known to run jobs side by side.

    Where jobs are spread over machines, a job has the cores that are asked for it, one unless the launcher says more.
    """
    if "n_jobs" in launcher:
        return max(1, cores() // jobs_at_once(launcher.n_jobs))
    if "ray" in launcher:
        return _at_least_one(launcher.ray.get("remote", {}).get("num_cpus"))
    if "cpus_per_task" in launcher:
        return _at_least_one(launcher.cpus_per_task)
    return None


def _at_least_one(asked: Any) -> int:
    return max(1, int(asked or 1))


def gpus() -> list[str]:
    """The GPUs this process may use, by the names that CUDA_VISIBLE_DEVICES takes; asked without starting CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    driver = Path("/proc/driver/nvidia/gpus")
    return [str(number) for number in range(len(list(driver.iterdir())))] if driver.is_dir() else []


def flush_stdout() -> None:
    """Flush what was printed while a closed pipe can still be forgiven; at exit Python would complain."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
