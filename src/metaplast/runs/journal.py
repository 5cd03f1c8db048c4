"""The journal of a sweep: the command's overrides and the status of each job, in the directory of the sweep.

`sweep.json` holds the overrides, `jobs/N.json` the entry of job N. Entries are replaced atomically, so that a killed
process cannot leave half of one. A job writes its own start and end; the launcher writes the end of a job that died.
"""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from metaplast.io import read_regular, write_status, write_text
from metaplast.runs.names import JOBS, SWEEP
from metaplast.runs.summary import RunStatus

ENTRY_BYTES = 1 << 20
ERROR_BYTES = 1024
"""What the line about an error mostly takes."""


@dataclass(frozen=True)
class Job:
    """The entry of one job."""

    number: int
    overrides: Sequence[str]
    """What the sweep sets for this job, as it would be typed."""
    directory: str
    """The directory of the run, relative to that of the sweep."""
    shown: str = ""
    """The overrides by which it differs from the other jobs."""
    status: RunStatus = RunStatus.QUEUED
    """Queued, running, completed, failed or killed."""
    error: str | None = None
    """Why it is not completed, in a line."""
    attempt: int = 0
    """How often it was started."""
    started: str | None = None
    """When the last attempt began (ISO 8601, UTC)."""
    ended: str | None = None
    host: str | None = None
    pid: int | None = None

    @property
    def words(self) -> str:
        """The name of the job in errors.

        >>> Job(3, ["strategy=meta", "m=1", "seed=0"], "3", "m=1 seed=0").words
        'job 3 (m=1 seed=0)'
        """
        return f"job {self.number} ({self.shown})" if self.shown else f"job {self.number}"

    def begun(self) -> "Job":
        """This job, started now in this process."""
        return replace(
            self, status=RunStatus.RUNNING, error=None, attempt=self.attempt + 1, started=now(), ended=None,
            host=socket.gethostname(), pid=os.getpid(),
        )  # fmt: skip

    def over(self, status: RunStatus, error: str | None = None) -> "Job":
        """This job, ended now."""
        return replace(self, status=status, error=error, ended=now())


def what_differs(jobs: Sequence[Sequence[str]]) -> list[str]:
    """For each job, the overrides that not all jobs have, in a line.

    >>> what_differs([["strategy=meta", "m=0"], ["strategy=meta", "m=1"]])
    ['m=0', 'm=1']
    """
    common = set.intersection(*map(set, jobs)) if len(jobs) > 1 else set()
    return [" ".join(override for override in job if override not in common) for job in jobs]


def queued(jobs: Mapping[str, Sequence[str]], first: int = 0) -> list[Job]:
    """Entries of jobs that have not started, numbered from `first`; `jobs` maps their directories to overrides."""
    shown = what_differs(list(jobs.values()))
    return [Job(first + n, list(jobs[name]), name, shown[n]) for n, name in enumerate(jobs)]


class Journal:
    """The journal in the directory of a sweep."""

    def __init__(self, sweep_dir: Path) -> None:
        self.sweep_dir = sweep_dir

    def begin(self, overrides: Sequence[str]) -> None:
        """Write the overrides of the command."""
        about = {"overrides": list(overrides), "started": now()}
        write_text(self.sweep_dir / SWEEP, json.dumps(about, indent=2, ensure_ascii=False) + "\n")

    def about(self) -> dict[str, Any]:
        """What `begin` wrote: `overrides` and `started`; empty if there is no readable journal."""
        return _read(self.sweep_dir / SWEEP) or {}

    def write(self, job: Job) -> None:
        """Replace the entry of `job`; that of a running one has room to say how it ends on a full disk."""
        text = json.dumps(asdict(job), indent=2, ensure_ascii=False) + "\n"
        write_status(self._file(job.number), text, ERROR_BYTES if job.status is RunStatus.RUNNING else 0)

    def job(self, number: int) -> Job | None:
        """The entry of a job; None where there is none."""
        return _job(self._file(number))

    def jobs(self) -> list[Job]:
        """All entries, by number."""
        entries = [_job(path) for path in (self.sweep_dir / JOBS).glob("[0-9]*.json")]
        return sorted((job for job in entries if job is not None), key=lambda job: job.number)

    def log(self, number: int) -> Path:
        """The file for the output of a job that has no terminal."""
        return self.sweep_dir / JOBS / f"{number}.log"

    def _file(self, number: int) -> Path:
        return self.sweep_dir / JOBS / f"{number}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(read_regular(path, ENTRY_BYTES, within=path.parent))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _job(path: Path) -> Job | None:
    content = _read(path)
    try:
        return None if content is None else Job(**{**content, "status": RunStatus(content["status"])})
    except (TypeError, KeyError, ValueError):  # not an entry of ours
        return None


def now() -> str:
    """The time as ISO 8601 in UTC, whose texts sort in order of time."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
