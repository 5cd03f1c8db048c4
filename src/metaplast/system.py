"""What a process may use of its machine: CPU threads and how they wait, memory that is kept, CPUs and GPUs for jobs.

Jobs that all use every CPU slow each other down: two trainings on two CPUs took ten times as long as one.
"""

import atexit
import ctypes
import getpass
import mmap
import os
import resource
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

_OWN_THREADS = Path("/proc/self/task")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")
_chosen: str | None = None
"""The value of GOMP_SPINCOUNT that this process has set itself."""


def yield_cores() -> None:
    """Let idle OpenMP threads sleep after a short spin, unless the environment says otherwise.

    This holds for this process if torch is not imported yet, and for the processes that it starts. By default torch's
    threads spin: beside another busy process on two CPUs they made a 3 ms step of a 784-512-512-10 network take 200 ms;
    with a short spin it takes 5 to 7 ms.
    """
    _spin(1_000)


def hold_cores() -> None:
    """Let idle OpenMP threads spin for about a millisecond, in a process that uses fewer threads under load.

    A step has some thirty parallel parts; waking a sleeping thread for each costs a 784-512-512-10 network a third of
    its speed. Where the system does not report the load (`waited_for_cores`), the threads sleep as in `yield_cores`.
    """
    _spin(1_000 if waited_for_cores() is None else 100_000)


def _spin(count: int) -> None:
    global _chosen
    if "OMP_WAIT_POLICY" not in os.environ and os.environ.get("GOMP_SPINCOUNT") in (None, _chosen):
        _chosen = os.environ["GOMP_SPINCOUNT"] = str(count)


def waited_for_cores() -> float | None:
    """Seconds that the threads of this process were ready to run while others had their CPUs, summed over threads.

    None where the system does not count them. Linux does, in `schedstat`: time run and time waited, in ns, and the
    number of times that a thread was given a CPU; all are 0 where counting is switched off.
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
    except (FileNotFoundError, ProcessLookupError):  # the thread has ended
        return ["0", "0", "0"]


_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
"""From malloc.h."""
KEPT_BYTES = 2**25
"""Arrays up to this size are allocated from kept memory; the largest size that glibc accepts."""
HEAP_BYTES = 2**28
"""The kept memory grows by this at a time; unused parts of it cost addresses only."""
PAGE_BYTES = 2**21
"""A large page of x86-64 and, mostly, of ARM."""


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory instead of returning it to the system; return whether it does.

    Every step frees its gradients and binary weights and allocates as much again. By default the pages go back to the
    system in between and are filled with zeros again: 260 page faults a step of a 784-512-512-10 network, an eighth to
    a fifth of its time. Does nothing without glibc.
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
    """Ask for large pages in the kept memory: looking up thousands of small ones takes a tenth of a step.

    Nothing changes where the system has no large pages, or where the addresses of a process are limited.
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


def available_cpus() -> int:
    """CPUs that this process may use, at least 1: those it is bound to, within the CPU quota of its container."""
    quota = _cpu_quota()
    bound = len(os.sched_getaffinity(0))
    return bound if quota is None else max(1, min(bound, int(quota)))


def _cpu_quota() -> float | None:
    """CPUs that the control groups of this process are limited to; None without a limit.

    Version 2 has one hierarchy with `cpu.max` ("QUOTA PERIOD" or "max PERIOD") in each group, version 1 one for CPUs
    with `cpu.cfs_quota_us` (-1 for no limit) and `cpu.cfs_period_us`. A limit of a group holds for those inside it.
    """
    try:
        groups = [line.split(":", 2)[1:] for line in _OWN_CGROUPS.read_text().splitlines()]
    except OSError:
        return None
    quotas = []
    for controllers, path in (group for group in groups if len(group) == 2):
        if controllers and "cpu" not in controllers.split(","):
            continue
        inside = Path(path.lstrip("/"))
        # The last parent is the root, which may be all that a container sees.
        quotas += [_quota_of(_CGROUPS / controllers / group) for group in (inside, *inside.parents)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_of(group: Path) -> float | None:
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
        return None


def default_threads() -> int:
    """Threads of a run whose number is not given: OMP_NUM_THREADS where it is set, else all available CPUs.

    OpenMP takes a list there, one number for each nested level; the first counts.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(asked) if asked.isdecimal() and int(asked) else available_cpus()


def jobs_at_once(n_jobs: int | None) -> int:
    """The number of jobs that run at once: `n_jobs`, or the number of available CPUs where it is None or -1."""
    return available_cpus() if n_jobs is None or n_jobs < 0 else n_jobs


def threads_per_job(launcher: "DictConfig") -> int | None:
    """Threads of each job under `hydra/launcher`; None for launchers that are not known to run jobs side by side.

    On a cluster, a job has the CPUs that are requested for it, one unless the launcher's settings say more.
    """
    if "n_jobs" in launcher:
        return min(default_threads(), max(1, available_cpus() // jobs_at_once(launcher.n_jobs)))
    if "ray" in launcher:
        return _at_least_one(launcher.ray.get("remote", {}).get("num_cpus"))
    if "cpus_per_task" in launcher:
        return _at_least_one(launcher.cpus_per_task)
    return None


def _at_least_one(asked: Any) -> int:
    return max(1, int(asked or 1))


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by their names in CUDA_VISIBLE_DEVICES; found without starting CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    driver = Path("/proc/driver/nvidia/gpus")
    return [str(number) for number in range(len(list(driver.iterdir())))] if driver.is_dir() else []


def train_command() -> str:
    """What this process's user types to train: the installed command, or the script where it was started by one.

    Jobs of a sweep, and what a page of results is made by, see the `sys.argv` of the command that started them.
    """
    return "metaplast train" if Path(sys.argv[0]).name.startswith("metaplast") else "python src/train.py"


def ensure_home() -> None:
    """Give the libraries a home folder and a user name where the system has none that works.

    Avalanche and W&B write below the home folder when they are imported, torch's compiler names its cache after the
    user. A home that is missing or not writable is replaced by a temporary one, removed at exit; W&B's key in its
    `.netrc` stays known.
    """
    home: Path | None = None
    try:
        home = Path.home()
        with tempfile.TemporaryFile(dir=home):
            pass
    except (OSError, RuntimeError):  # RuntimeError: the system has no home for this user
        replacement = tempfile.mkdtemp(prefix="metaplast-home-")
        os.environ["HOME"] = replacement
        if home is not None and os.access(home / ".netrc", os.R_OK):
            os.environ.setdefault("NETRC", str(home / ".netrc"))
        atexit.register(_remove_home, replacement, os.getpid())
        print(f"WARNING: the home folder {home or ''} is not writable; this run uses {replacement}", file=sys.stderr)
    try:
        getpass.getuser()
    except (KeyError, OSError):  # no entry in the user database
        os.environ["LOGNAME"] = str(os.getuid())


def _remove_home(folder: str, pid: int) -> None:
    if os.getpid() == pid:  # not a fork
        shutil.rmtree(folder, ignore_errors=True)


def flush_stdout() -> None:
    """Flush standard output, and ignore a closed pipe or a full disk, of which Python would complain at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
