"""The journal of a sweep: what was asked, and how each job stands, in its directory and readable at any time.

`sweep.json` holds the command's overrides; `jobs/N.json` belongs to job N alone and is replaced whole, so that neither
a killed process nor a network file system can leave half an entry. The job writes its own start and end; whoever
launched it writes what a dead job cannot.
"""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from metaplast.io import read_regular, write_text

SWEEP, JOBS = "sweep.json", "jobs"
ENTRY_BYTES = 1 << 20


@dataclass(frozen=True)
class Job:
    """One job of a sweep, as the journal knows it."""

    number: int
    overrides: Sequence[str]
    """What the sweep sets for this job, as it would be typed."""
    directory: str
    """The run's directory, as seen from the sweep's."""
    shown: str = ""
    """Those overrides by which it differs from the other jobs."""
    status: str = "queued"
    """queued, running, completed, failed (it said why) or killed (ended from outside, or without a word)."""
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
        """The job as errors name it.

        >>> Job(3, ["strategy=meta", "m=1", "seed=0"], "3", "m=1 seed=0").words
        'job 3 (m=1 seed=0)'
        """
        return f"job {self.number} ({self.shown})" if self.shown else f"job {self.number}"

    def begun(self) -> "Job":
        """This job as it starts in this process."""
        return replace(
            self, status="running", error=None, attempt=self.attempt + 1, started=now(), ended=None,
            host=socket.gethostname(), pid=os.getpid(),
        )  # fmt: skip

    def over(self, status: str, error: str | None = None) -> "Job":
        """This job once it has ended."""
        return replace(self, status=status, error=error, ended=now())


def what_differs(jobs: Sequence[Sequence[str]]) -> list[str]:
    """For each job's overrides, those that not all the jobs have, in a line.

    >>> what_differs([["strategy=meta", "m=0"], ["strategy=meta", "m=1"]])
    ['m=0', 'm=1']
    """
    common = set.intersection(*map(set, jobs)) if len(jobs) > 1 else set()
    return [" ".join(override for override in job if override not in common) for job in jobs]


def queued(jobs: Mapping[str, Sequence[str]], first: int = 0) -> list[Job]:
    """The entries of jobs that are to start, numbered from `first` on; `jobs` has their overrides by directory."""
    shown = what_differs(list(jobs.values()))
    return [Job(first + n, list(jobs[name]), name, shown[n]) for n, name in enumerate(jobs)]


class Journal:
    """The journal in the directory of a sweep."""

    def __init__(self, sweep_dir: Path) -> None:
        self.sweep_dir = sweep_dir

    def begin(self, overrides: Sequence[str]) -> None:
        """Write what the command asked for."""
        about = {"overrides": list(overrides), "started": now()}
        write_text(self.sweep_dir / SWEEP, json.dumps(about, indent=2, ensure_ascii=False) + "\n")

    def about(self) -> dict[str, Any]:
        """What `begin` wrote: `overrides` and `started`; empty where there is no journal that can be read."""
        return _read(self.sweep_dir / SWEEP) or {}

    def write(self, job: Job) -> None:
        """Replace the entry of `job`."""
        write_text(self._file(job.number), json.dumps(asdict(job), indent=2, ensure_ascii=False) + "\n")

    def job(self, number: int) -> Job | None:
        """The entry of a job; None where there is none."""
        return _job(self._file(number))

    def jobs(self) -> list[Job]:
        """All entries, by number."""
        entries = [_job(path) for path in (self.sweep_dir / JOBS).glob("[0-9]*.json")]
        return sorted((job for job in entries if job is not None), key=lambda job: job.number)

    def log(self, number: int) -> Path:
        """Where a job's output goes, where it has no terminal."""
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
        return Job(**content) if content is not None else None
    except TypeError:  # not an entry of ours
        return None


def now() -> str:
    """The time as the journal has it: ISO 8601, UTC, so that texts sort as times do."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
