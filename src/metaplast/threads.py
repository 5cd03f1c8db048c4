"""How CPU threads wait for each other, and how long they wait for others to leave them a core."""

import os
from pathlib import Path

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
