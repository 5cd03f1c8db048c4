"""Shares of the machine: how many jobs of a sweep run at once, and how many threads each may use.

Jobs that all take every core wait for one another: two trainings on two cores took ten times as long.
"""

import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0))


def jobs_at_once(n_jobs: int | None) -> int:
    """How many jobs run at once: `n_jobs`, or as many as there are cores where it is None or -1."""
    return cores() if n_jobs is None or n_jobs < 0 else n_jobs


def threads_per_job(launcher: DictConfig) -> int | None:
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
