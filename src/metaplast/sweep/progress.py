"""The progress of a sweep: a bar on a terminal, a line for each finished job elsewhere.

━━━━━━━━━━━ 2 running · 9/12 done · 1 failed · 0:00:41 left
"""

import sys
from datetime import timedelta
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from metaplast.private_api import result_or_error
from metaplast.runs.journal import Job


class SweepProgress:
    """Shows how many jobs run, are completed and failed, and the time left.

    Args:
        total: the number of jobs to run.
        n_jobs: the number of jobs at once.
    """

    def __init__(self, total: int, n_jobs: int) -> None:
        self.total, self.n_jobs = total, n_jobs
        self.running = self.done = self.failed = 0
        self._console = Console(highlight=False, markup=False, soft_wrap=True)
        self._dot = "·" if not self._console.options.ascii_only else "|"
        self._first_start: float | None = None
        self._bar: Progress | None = None

    def __enter__(self) -> "SweepProgress":
        if self.total and self._console.is_terminal and not self._console.is_dumb_terminal:
            columns = (
                BarColumn(bar_width=None, complete_style="cyan", finished_style="green"),
                TextColumn("{task.description}", markup=False),
            )
            self._bar = Progress(*columns, console=self._console, auto_refresh=False, expand=True)
            self._bar.add_task("imports, once for all jobs", total=self.total)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self.refresh()
            self._bar.stop()

    def job_started(self) -> None:
        """Count a started job."""
        self.running += 1
        self._first_start = self._first_start or monotonic()

    def job_ended(self, job: Job, returned: JobReturn, log: Path) -> None:
        """Count an ended job and print a line about it; above a bar, only about a failed one."""
        self.running -= 1
        completed = returned.status == JobStatus.COMPLETED
        self.done += completed
        self.failed += not completed
        if completed and self._bar is not None:
            return
        outcome = _score(result_or_error(returned)) if completed else f"{job.error} (see {log})"
        self._console.print(
            self._joined([f"{job.words} {job.status}", outcome, *([] if self._bar else self._counts())])
        )
        sys.stdout.flush()

    def refresh(self) -> None:
        """Redraw the bar."""
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0], completed=self.done + self.failed, description=self._joined(self._counts())
            )
            self._bar.refresh()

    def _counts(self) -> list[str]:
        counts = [f"{self.running} running", f"{self.done}/{self.total} done"]
        return [*counts, *([f"{self.failed} failed"] if self.failed else []), *self._time_left()]

    def _time_left(self) -> list[str]:
        ended = self.done + self.failed
        if not ended or self._first_start is None or ended == self.total:
            return []
        left = (monotonic() - self._first_start) / ended * (self.total - ended)
        return [f"{timedelta(seconds=round(left))} left"]

    def _joined(self, parts: list[str]) -> str:
        return f" {self._dot} ".join(part for part in parts if part)


def _score(result: Any) -> str:
    score = result.get("average_accuracy") if isinstance(result, dict) else None
    return f"average accuracy {100 * score:.1f} %" if isinstance(score, float) else ""
